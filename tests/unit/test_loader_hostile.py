"""Batches drawn from damaged and hostile sets: samples are replaced or a DataError says why, in little time and memory, and
nothing is written but in the run's folder."""

import copy
import io
import json
import os
import random
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

sys.path.append(str(Path(__file__).parent))
from loader_toy import Rig, convert
from test_loader_fuzz import ROUNDS, damage

from drivetrain.plugins.loaders.webdataset.archive import Archive
from drivetrain.plugins.loaders.webdataset.reader import ShardFile

SECONDS, MEGABYTES = 10, 300  # of one set; above what the sound one took
PER_SHARD = 4
Parts = dict[str, bytes]


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return Path(convert(Rig(8), tmp_path_factory.mktemp("hostile") / "sound-lidar").path)


class Drawing:
    """The process that draws, in a folder of its own."""

    def __init__(self, run: Path, sound: Path):
        run.mkdir()
        self.run, script = run, Path(__file__).with_name("loader_drawing.py")
        places = {name: str(run) for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME")}
        self._process = subprocess.Popen([sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=run,
                                         text=True, env={**os.environ, **places, "OMP_NUM_THREADS": "1"})  # fmt: skip
        whole = self.draw(sound)
        assert (whole["said"], whole["crash"], whole["replaced"], whole["missing"]) == (None, None, 0, 0)
        self._peak = whole["peak"]

    def draw(self, folder: Path) -> dict:
        self._process.stdin.write(f"{folder}\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, f"{folder.name}: the process ended, by a crash or since it took too long"
        return json.loads(line)

    def check(self, folder: Path, what: str) -> dict:
        before = files(folder)
        answer = self.draw(folder)
        assert answer["crash"] is None, f"{what}: {answer['crash']}"
        assert answer["seconds"] < SECONDS, what
        assert answer["peak"] - self._peak < MEGABYTES, what
        assert files(folder) == before, f"{what}: reading writes nothing"
        assert {path.name for path in self.run.iterdir()} <= {"quarantine.jsonl"}, what
        return answer

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait(30)


@pytest.fixture(scope="module")
def drawing(sound, tmp_path_factory):
    process = Drawing(tmp_path_factory.mktemp("drawing") / "run", sound)
    yield process
    process.close()


def files(folder: Path) -> dict[str, int]:
    return {path.name: zlib.crc32(path.read_bytes()) for path in folder.iterdir()}


def rewritten(sound: Path, out: Path, number: int, change: Callable[[Parts], Parts]) -> Path:
    """The set with another sample ``number``, whose checksums are right."""
    shutil.copytree(sound, out)
    name = f"shard-{number // PER_SHARD:06d}"
    shard = ShardFile(sound / name)
    with Archive(out / name) as tar:
        for place in range(PER_SHARD):
            parts = {suffix: bytes(part) for suffix, part in shard.parts(place).items()}
            key = json.loads(parts["json"])["key"]
            tar.add(key, change(parts) if place == number % PER_SHARD else parts)
        table = tar.publish()
    listed = pq.read_table(out / "shards.parquet")
    checksums = listed.column("checksum").to_pylist()
    checksums[number // PER_SHARD] = table.checksum
    place = listed.schema.get_field_index("checksum")
    pq.write_table(listed.set_column(place, "checksum", pa.array(checksums, pa.uint64())), out / "shards.parquet")
    return out


# ---------------------------------------------------------------- damage by chance


@pytest.mark.parametrize("start", range(0, ROUNDS // 2, 10))
def test_batches_of_a_damaged_set(sound, drawing, tmp_path, start):
    for seed in range(start, start + 10):
        folder = tmp_path / f"{seed}-lidar"
        shutil.copytree(sound, folder)
        what = damage(folder, random.Random(seed))
        answer = drawing.check(folder, what)
        if what.split()[0] in ("truncate", "empty") and what.endswith(".idx"):
            assert answer["said"] or answer["replaced"], what


@pytest.mark.parametrize("endings", [["tar"], ["idx"], ["tar", "idx"]], ids="+".join)
def test_batches_of_swapped_shards(sound, drawing, tmp_path, endings):
    folder = tmp_path / "set-lidar"
    shutil.copytree(sound, folder)
    for ending in endings:
        for number in (0, 1):
            shutil.copy(sound / f"shard-{number:06d}.{ending}", folder / f"shard-{1 - number:06d}.{ending}")
    assert "in a row are damaged" in drawing.check(folder, "swapped")["said"]


# ---------------------------------------------------------------- right checksums, wrong contents


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width: int, height: int, more: bytes = b"") -> bytes:
    """A whole PNG of zeros, one bit a pixel: a thousand times larger in memory."""
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(1 + -(-width // 8)) * 64) for _ in range(-(-height // 64))) + rows.flush()
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + more + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def text_bomb() -> bytes:
    return png_bomb(64, 48, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(400 << 20), 1)))


def with_size(jpg: bytes, width: int, height: int, progressive: bool = False) -> bytes:
    """A JPEG whose header states another size."""
    at = jpg.index(b"\xff\xc0")
    kind = b"\xff\xc2" if progressive else b"\xff\xc0"
    return jpg[:at] + kind + jpg[at + 2 : at + 5] + struct.pack(">HH", height, width) + jpg[at + 9 :]


def npy(header: str, content: bytes = bytes(64)) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode() + content


def stated(width: int, height: int) -> Callable[[Parts], Parts]:
    def change(parts: Parts) -> Parts:
        meta = json.loads(parts["json"])
        meta["cameras"]["cam_front"] |= {"width": width, "height": height}
        image = with_size(parts["cam_front.jpg"], width, height, progressive=True)
        return parts | {"json": json.dumps(meta).encode(), "cam_front.jpg": image}

    return change


def as_png(data: bytes) -> Callable[[Parts], Parts]:
    return lambda parts: {n: p for n, p in parts.items() if n != "cam_front.jpg"} | {"cam_front.png": data}


def jpg_of(width: int, height: int, progressive: bool = False) -> Callable[[Parts], Parts]:
    return lambda parts: parts | {"cam_front.jpg": with_size(parts["cam_front.jpg"], width, height, progressive)}


def points(header: str) -> Callable[[Parts], Parts]:
    return lambda parts: parts | {"lidar_top.npy": npy(header)}


def shape(shape: str, descr: str = "'<f4'") -> Callable[[Parts], Parts]:
    return points(f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}}}")


HOSTILE = {
    "a jpg of 65000 x 65000": jpg_of(65000, 65000),
    "a progressive jpg of 65000 x 65000": jpg_of(65000, 65000, True),
    "a jpg of 128 x 96": jpg_of(128, 96),
    "a jpg of no size": jpg_of(0, 0),
    "a frame of 65000 x 65000": stated(65000, 65000),
    "a png of 20000 x 20000": as_png(png_bomb(20000, 20000)),
    "a png of 2^31": as_png(png_bomb(64, 48).replace(struct.pack(">II", 64, 48), struct.pack(">II", 2**31 - 1, 2**31 - 1))),
    "a mask of 20000 x 20000": lambda parts: parts | {"cam_front.semantic.png": png_bomb(20000, 20000)},
    "points without end": shape("(4611686018427387904, 4)"),
    "points of no columns": shape("(4611686018427387904, 0)"),
    "points below zero": shape("(-5, -4)"),
    "points of text": shape("(4, 4)", "'<U1'"),
    "points of objects": shape("(2, 4)", "'|O'"),
    "points of huge items": shape("(1, 4)", "'<V2000000000'"),
    "points of columns": shape("(2, 4)", "[('a', '<f4')]"),
    "points of brackets": points("(" * 3000),
    "points of minus signs": points("-" * 9000 + "1"),
    "points of nothing": points(""),
    "points that are a number": lambda parts: parts | {"lidar_top.npy": b"7"},
    "no points": lambda parts: {name: part for name, part in parts.items() if name != "lidar_top.npy"},
    "no picture": lambda parts: {name: part for name, part in parts.items() if name != "cam_front.jpg"},
    "no json": lambda parts: {name: part for name, part in parts.items() if name != "json"},
}


@pytest.mark.parametrize("what", HOSTILE)
def test_batches_of_a_set_with_a_hostile_sample(sound, drawing, tmp_path, what):
    folder = rewritten(sound, tmp_path / "set-lidar", 5, HOSTILE[what])
    answer = drawing.check(folder, what)
    assert answer["said"] or (answer["replaced"] and answer["missing"] == 1), "it is not passed over in silence"


def test_a_text_that_unpacks_to_much_takes_no_memory(sound, drawing, tmp_path):
    drawing.check(rewritten(sound, tmp_path / "set-lidar", 5, as_png(text_bomb())), "a text of 400 MB in a png")


VALUES = [None, True, -1, 0, 3, 2**31, 10**30, 1e308, -0.5, "", "x", "../x", [], {}, [[]], [1], {"a": 1}, [None], [[1, 2], [3]]]
VALUES += [float("nan"), float("inf"), "\ud800"]


def mutated(value, rng: random.Random):
    """``value`` with one part of it, anywhere inside, replaced, removed or doubled."""
    value = copy.deepcopy(value)
    at, places = value, []
    stack = [value]
    while stack:
        at = stack.pop()
        for key in at if isinstance(at, dict) else range(len(at)) if isinstance(at, list) else ():
            places.append((at, key))
            stack.append(at[key])
    at, key = rng.choice(places)
    if rng.random() < 0.15:
        del at[key]
    else:
        at[key] = copy.deepcopy(rng.choice(VALUES))
    return value


@pytest.mark.parametrize("start", range(0, ROUNDS, 20))
def test_batches_of_a_set_with_a_strange_frame(sound, drawing, tmp_path, start):
    for seed in range(start, start + 20):
        rng = random.Random(seed)

        def change(parts: Parts, rng: random.Random = rng) -> Parts:
            return parts | {"json": json.dumps(mutated(json.loads(parts["json"]), rng)).encode()}

        folder = rewritten(sound, tmp_path / f"{seed}-lidar", 5, change)
        drawing.check(folder, f"seed {seed}")


@pytest.mark.parametrize("start", range(0, ROUNDS // 2, 10))
def test_batches_of_a_set_with_a_strange_description(sound, drawing, tmp_path, start):
    for seed in range(start, start + 10):
        folder = tmp_path / f"{seed}-lidar"
        shutil.copytree(sound, folder)
        info = mutated(json.loads((sound / "dataset.json").read_text()), random.Random(seed))
        (folder / "dataset.json").write_text(json.dumps(info))
        drawing.check(folder, f"seed {seed}")


LISTS = [
    ("samples", pa.array([4, 2**40])), ("samples", pa.array([4, -4])), ("samples", pa.array([4, None])),
    ("samples", pa.array(["4", "4"])), ("samples", pa.array([4.0, 4.0])), ("samples", pa.array([4, 2**20])),
    ("samples", pa.array([3, 5])), ("checksum", pa.array([3, 5], pa.uint64())), ("checksum", pa.array([-3, 5])),
    ("name", pa.array([1, 2])), ("name", pa.array([b"shard-000000", b"shard-000001"])),
]  # fmt: skip


@pytest.mark.parametrize("number", range(len(LISTS)))
def test_batches_of_a_set_with_a_strange_list(sound, drawing, tmp_path, number):
    column, values = LISTS[number]
    folder = tmp_path / "set-lidar"
    shutil.copytree(sound, folder)
    table = pq.read_table(sound / "shards.parquet")
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, values), folder / "shards.parquet")
    answer = drawing.check(folder, f"{column}: {values}")
    assert answer["said"] or answer["replaced"]


def test_the_bombs_are_what_they_claim():
    """Where no limit holds they do take memory."""
    from PIL import Image

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Image, "MAX_IMAGE_PIXELS", None)
        assert np.asarray(Image.open(io.BytesIO(png_bomb(3000, 2000)))).shape == (2000, 3000)
    assert len(png_bomb(20000, 20000)) < 1 << 20
