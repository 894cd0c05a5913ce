"""A damaged or hostile set gives a clear answer: no crash, no file outside the set, no memory for what it only declares."""

import json
import os
import random
import resource
import shutil
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from drivetrain import DataError, frame_to_parts
from drivetrain.plugins.loaders.webdataset.reader import ShardFile, parse
from drivetrain.plugins.loaders.webdataset.shards import Damage, Table

sys.path.append(str(Path(__file__).parent))
from loader_toy import Toy, convert, loader

ROUNDS = int(os.environ.get("DRIVETRAIN_FUZZ_ROUNDS", 60))


@pytest.fixture(scope="module")
def sound(tmp_path_factory) -> Path:
    return Path(convert(Toy(8), tmp_path_factory.mktemp("fuzz") / "set").path)


def look(folder: Path) -> list[str]:
    """Open, verify and read everything; what is said of it. Anything but DataError goes through."""
    told = []
    try:
        shards = loader().open(str(folder))
        told += shards.verify(full=True)
    except DataError as error:
        return [str(error)]
    for number in range(len(shards)):
        try:
            shards.frame(number)
        except DataError as error:
            told.append(str(error))
    return told


def damage(folder: Path, rng: random.Random) -> str:
    path = rng.choice(sorted(folder.iterdir()))
    data = bytearray(path.read_bytes())
    kind = rng.choice(["truncate", "flip", "zeros", "swap", "empty", "longer"])
    place = rng.randrange(len(data))
    if kind == "truncate":
        del data[place:]
    elif kind == "flip":
        data[place] ^= 1 << rng.randrange(8)
    elif kind == "zeros":
        data[place : place + 64] = bytes(len(data[place : place + 64]))
    elif kind == "swap":
        data = bytearray(rng.choice([p for p in sorted(folder.iterdir()) if p != path]).read_bytes())
    elif kind == "empty":
        data.clear()
    else:
        data += bytes(1000)
    path.write_bytes(data)
    return f"{kind} {path.name}"


@pytest.mark.parametrize("start", range(0, ROUNDS, 20))
def test_random_damage_gives_an_answer(sound, tmp_path, start):
    for seed in range(start, start + 20):
        folder = tmp_path / str(seed)
        shutil.copytree(sound, folder)
        before = sorted(path.name for path in folder.iterdir())
        what = damage(folder, random.Random(seed))
        said = look(folder)
        assert all(isinstance(line, str) and line for line in said), what
        if what.split()[0] in ("truncate", "empty", "swap") and what.endswith((".tar", ".idx")):
            assert said, what
        assert sorted(path.name for path in folder.iterdir()) == before, "reading writes nothing"
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 4 << 20, "KiB"


@pytest.mark.parametrize("name", ["../../etc/shard", "/etc/passwd", "..", ".hidden", "a/b", "", None])
def test_a_name_that_leads_out_of_the_set_is_refused(sound, tmp_path, name):
    shutil.copytree(sound, tmp_path / "set")
    table = pq.read_table(tmp_path / "set/shards.parquet")
    names = pa.array([name, *table.column("name").to_pylist()[1:]], pa.string())
    pq.write_table(table.set_column(0, "name", names), tmp_path / "set/shards.parquet")
    with pytest.raises(DataError, match="no file's name"):
        loader().open(str(tmp_path / "set"))


@pytest.mark.parametrize("change", [{"length": 1 << 60}, {"offset": 1 << 63}, {"first": 1 << 31}, {"members": 1 << 31}])
def test_a_table_with_a_right_checksum_that_points_outside_is_damage(sound, tmp_path, change):
    whole = Table.read(sound / "shard-000000.idx")
    samples = whole.samples.copy()
    for name, value in change.items():
        samples[name][1] = value
    (tmp_path / "x.idx").write_bytes(Table(whole.suffixes, samples, whole.members, whole.tar_bytes).to_bytes())
    with pytest.raises(Damage, match="outside its tar"):
        Table.read(tmp_path / "x.idx")


def test_a_huge_declared_size_takes_no_memory(sound, tmp_path):
    whole = Table.read(sound / "shard-000000.idx")
    samples = whole.samples.copy()
    samples["length"][0] = 1 << 45
    (tmp_path / "x.idx").write_bytes(Table(whole.suffixes, samples, whole.members, 1 << 50).to_bytes())
    shutil.copy(sound / "shard-000000.tar", tmp_path / "x.tar")
    with pytest.raises(Damage, match="the tar ends before it"):
        ShardFile(tmp_path / "x").parts(0)


@pytest.mark.parametrize("info", ["[]", "3", "{}", '{"format_version": 1}', "nul", ""])
def test_a_strange_dataset_json_is_a_message(sound, tmp_path, info):
    shutil.copytree(sound, tmp_path / "set")
    (tmp_path / "set/dataset.json").write_text(info)
    with pytest.raises(DataError, match=r"dataset\.json|format version"):
        loader().open(str(tmp_path / "set"))


def test_verify_in_processes_says_the_same(sound, tmp_path):
    shutil.copytree(sound, tmp_path / "set")
    data = np.fromfile(tmp_path / "set/shard-000001.tar", np.uint8)
    data[[700, 9000]] ^= 1
    data.tofile(tmp_path / "set/shard-000001.tar")
    shards = loader().open(str(tmp_path / "set"))
    alone = shards.verify(full=True)
    assert alone and alone == shards.verify(full=True, workers=2)
    assert json.loads((sound / "dataset.json").read_text())["shards"] == 2


def bomb(width: int, height: int) -> bytes:
    """A PNG that declares a size and holds nothing."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


def sized(width: str, height: str) -> bytes:
    camera = f'{{"width": {width}, "height": {height}, "model": "pinhole"}}'
    return f'{{"key": "a", "scene": "", "tags": {{}}, "cameras": {{"cam_front": {camera}}}}}'.encode()


@pytest.mark.parametrize(
    "change",
    [
        {"json": b'{"key": "a", "scene": "", "tags": {}, "cameras": [1]}'},
        {"json": b"[" * 100_000},
        {"json": b"3"},
        {"cam_front.png": bomb(60_000, 60_000)},
        {"cam_front.semantic.png": bomb(1 << 31, 1 << 31)},
        {"json": sized("1e99", "4")},
        {"json": sized("60000", "60000")},
    ],
)
def test_files_that_are_no_frame_are_damage(change):
    parts = frame_to_parts(Toy(1).load(0))
    if "cam_front.png" in change:
        del parts["cam_front.jpg"]
    with pytest.raises(Damage, match="no frame"):
        parse(parts | change)
