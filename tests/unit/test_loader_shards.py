"""Shard sets: written in parallel and restartable, byte for byte; read, verified, refused."""

import os
import resource
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
import webdataset

from drivetrain import Boxes, DataError, Encoded, PluginError, encode_key, frame_to_parts
from drivetrain.plugins.loaders.webdataset.archive import tar_header
from drivetrain.plugins.loaders.webdataset.shards import Table

sys.path.append(str(Path(__file__).parent))
from loader_pictures import textured
from loader_toy import BOX_CLASSES, Toy, convert, jpg, loader, png

ODD_KEYS = ["a.b/c.jpg", "straße/夜 #1", "100%.d", "plain", "x" * 150]


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def flip_byte(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def test_a_set_is_the_same_bytes_whatever_the_workers(tmp_path):
    reports = []
    convert(Toy(11), tmp_path / "one", workers=1)
    convert(Toy(11), tmp_path / "two", workers=2, progress=lambda done, total, *_: reports.append((done, total)))
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two")
    shards = [f"shard-{i:06d}.{end}" for i in range(3) for end in ("idx", "tar")]
    assert sorted(one) == sorted(["dataset.json", "index.parquet", "shards.parquet", *shards])
    assert len(reports) == 3 and reports[-1] == (11, 11)


SCRIPT = """
import sys
from pathlib import Path
sys.path.append({here!r})
from loader_pictures import textured
from loader_toy import BOX_CLASSES, Toy, convert
if __name__ == "__main__":
    convert(Toy(24, delay=0.1), Path({out!r}), workers={workers})
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_conversion_is_finished(tmp_path, workers):
    out, script = tmp_path / "set", tmp_path / "convert.py"
    script.write_text(SCRIPT.format(here=str(Path(__file__).parent), out=str(out), workers=workers))
    process = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 30
    while not (out / ".conversion/shard-000000.rows").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (out / "dataset.json").exists()
    with pytest.raises(DataError, match="half-written"):
        loader().open(str(out))
    time.sleep(0.3)  # workers notice that their parent is gone
    kept = (out / "shard-000000.tar").stat().st_mtime_ns
    convert(Toy(24), out)
    convert(Toy(24), tmp_path / "clean")
    assert contents(out) == contents(tmp_path / "clean")
    assert (out / "shard-000000.tar").stat().st_mtime_ns == kept, "a whole shard is not written again"


def test_a_damaged_shard_of_a_half_written_set_is_written_again(tmp_path):
    convert(Toy(12), tmp_path / "clean")
    for part in (1, 2):
        assert convert(Toy(12), tmp_path / "set", part=(part, 3)) is None
    flip_byte(tmp_path / "set/shard-000001.tar", 700)
    flip_byte(tmp_path / "set/.conversion/shard-000000.rows", 40)
    convert(Toy(12), tmp_path / "set")
    assert contents(tmp_path / "set") == contents(tmp_path / "clean")


def test_shards_of_another_content_are_not_kept(tmp_path):
    brightened = {i: {"image": jpg(np.full((48, 64, 3), 99, np.uint8))} for i in range(8)}
    with pytest.raises(DataError):
        convert(Toy(8, changes=brightened | {7: {"width": 1}}), tmp_path / "set")
    assert (tmp_path / "set/shard-000000.idx").exists()
    convert(Toy(8), tmp_path / "set")
    convert(Toy(8), tmp_path / "clean")
    assert contents(tmp_path / "set") == contents(tmp_path / "clean")


def test_a_complete_set_is_left_alone_and_another_one_refused(tmp_path):
    first = convert(Toy(5), tmp_path / "set")
    before = contents(tmp_path / "set")
    assert len(convert(Toy(5), tmp_path / "set")) == len(first) and contents(tmp_path / "set") == before
    others = [{"toy": Toy(6)}, {"toy": Toy(5), "split": "val"}, {"toy": Toy(5), "samples_per_shard": 3}]
    others += [{"toy": Toy(5, size=(32, 32))}, {"toy": Toy(5, classes={"object_detection": BOX_CLASSES})}]
    for other in others:
        with pytest.raises(DataError, match="holds another shard set"):
            convert(out=tmp_path / "set", **other)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="not empty"):
        convert(Toy(5), tmp_path)


def test_webdataset_reads_the_tars(tmp_path):
    toy = Toy(5, keys=ODD_KEYS)
    convert(toy, tmp_path / "set", samples_per_shard=5)
    url = str(tmp_path / "set/shard-000000.tar")
    samples = list(webdataset.WebDataset(url, shardshuffle=False, empty_check=False))
    assert [sample["__key__"] for sample in samples] == [encode_key(key) for key in ODD_KEYS]
    for number, sample in enumerate(samples):
        parts = frame_to_parts(toy.load(number))
        assert {suffix: sample[suffix] for suffix in parts} == parts


def test_the_tar_gives_nothing_of_the_machine_away(tmp_path):
    convert(Toy(3), tmp_path / "set")
    with tarfile.open(tmp_path / "set/shard-000000.tar") as tar:
        for member in tar.getmembers():
            assert (member.mtime, member.uid, member.gid, member.uname, member.gname) == (0, 0, 0, "", "")


def test_frames_come_back_as_they_were(tmp_path):
    toy = Toy(5, keys=ODD_KEYS)
    shards = convert(toy, tmp_path / "set", samples_per_shard=2)
    assert len(shards) == 5 and shards.classes["semantic_segmentation"] == list(toy.classes["semantic_segmentation"])
    for number in range(5):
        assert frame_to_parts(shards.frame(number)) == frame_to_parts(toy.load(number))
    for number in (-1, 5):
        with pytest.raises(IndexError):
            shards.frame(number)


def test_the_index_tells_what_is_in_the_frames(tmp_path):
    toy = Toy(6, changes={3: {"semantic": None, "boxes": None}})
    shards = convert(toy, tmp_path / "set")
    rows = shards.index.to_pylist()
    assert [row["key"] for row in rows] == [f"frame/{i:05d}" for i in range(6)]
    assert [row["number"] for row in rows] == list(range(6)) and rows[5]["shard"] == "shard-000001"
    assert rows[2]["timestamp"] == 2 and rows[2]["scene"] == "drive0" and dict(rows[2]["tags"]) == {"weather": "rain"}
    assert rows[3]["labelled"] == [] and rows[3]["class_counts"] == []
    mask = cv2.imdecode(np.frombuffer(toy.load(2).cameras["cam_front"].semantic.data, np.uint8), cv2.IMREAD_UNCHANGED)
    counts = {task: dict(classes) for task, classes in rows[2]["class_counts"]}
    assert counts["semantic_segmentation"] == {"road": (mask == 0).sum(), "car": (mask == 3).sum(), "void": 64}
    assert counts["object_detection"] == {"car": 1}
    assert shards.info["cameras"] == {"cam_front": [[64, 48]]} and shards.info["samples"] == 6


def test_labels_change_the_content_and_not_the_order(tmp_path):
    first = convert(Toy(5), tmp_path / "a").info
    second = convert(Toy(5, changes={2: {"boxes": None}}), tmp_path / "b").info
    assert first["order_id"] == second["order_id"] and first["content_id"] != second["content_id"]
    assert convert(Toy(6), tmp_path / "c").info["order_id"] != first["order_id"]


def test_a_flipped_byte_anywhere_in_a_sample_is_caught(tmp_path):
    shards = convert(Toy(3), tmp_path / "set")
    tar = tmp_path / "set/shard-000000.tar"
    assert shards.verify(full=True) == []
    [sample] = Table.read(tmp_path / "set/shard-000000.idx").pieces(1)
    for at in (sample.offset, sample.offset + 600, sample.offset + sample.length - 1):
        flip_byte(tar, at)
        assert len(shards.verify(full=True)) == 1 and shards.verify(full=False) == []
        with pytest.raises(DataError, match=r"frame/00001.*damaged"):
            shards.frame(1)
        shards.frame(2)
        flip_byte(tar, at)


def test_verify_finds_what_does_not_fit(tmp_path):
    def broken(name, damage):
        shards = convert(Toy(8), tmp_path / name)
        damage(tmp_path / name)
        lines = loader().open(shards.path).verify(full=False)
        assert lines, f"{name} was not found"
        return "\n".join(lines)

    assert "bytes long" in broken("short", lambda p: os.truncate(p / "shard-000001.tar", 3000))
    assert "checksum" in broken("table", lambda p: flip_byte(p / "shard-000001.idx", 60))
    assert "shard-000001" in broken("gone", lambda p: (p / "shard-000001.tar").unlink())
    assert "not the one" in broken("swap", lambda p: (p / "shard-000000.idx").replace(p / "shard-000001.idx"))
    assert "index.parquet" in broken("index", lambda p: (p / "index.parquet").write_bytes(b"nothing"))


def bad(number: int, **change) -> Toy:
    return Toy(6, changes={number: change})


@pytest.mark.parametrize(
    ("toy", "words"),
    [
        (bad(4, semantic=png(np.zeros((10, 20), np.uint8))), ["frame/00004", "20 x 10", "64 x 48", "toy: 4"]),
        (bad(4, semantic=png(np.full((48, 64), 9, np.uint8))), ["frame/00004", "[9]", "[0, 3, 7]"]),
        (bad(4, semantic=png(np.zeros((48, 64, 3), np.uint8))), ["frame/00004", "one channel"]),
        (bad(4, semantic=Encoded(b"garbage", "png")), ["frame/00004", "one channel"]),
        (bad(4, boxes=Boxes(np.ones((1, 4)), ["cra"])), ["frame/00004", "'cra'", "did you mean 'car'"]),
        (bad(4, boxes=Boxes(np.array([[5, 5, 1, 9]]), ["car"])), ["frame/00004", "x1 <= x2"]),
        (bad(4, boxes=Boxes(np.array([[5, 5, np.nan, 9]]), ["car"])), ["frame/00004", "finite"]),
        (bad(4, width=65), ["frame/00004", "64 x 48", "65 x 48"]),
        (bad(4, image=Encoded(b"garbage", "jpg")), ["frame/00004", "no whole jpg"]),
        (bad(4, image=Encoded(b"garbage", "png")), ["frame/00004", "no whole png"]),
        (bad(4, image=Encoded(simplejpeg.encode_jpeg(np.zeros((48, 64, 4), np.uint8), 90, "CMYK"), "jpg")), ["YCCK"]),
        (Toy(6, classes={}), ["declares no classes"]),
        (Toy(6, keys=["a", "b", "c", "d", "e", "b"]), ["'b'", "shard-000000", "shard-000001"]),
        (Toy(6, keys=["a", "b", "b", "d", "e", "f"]), ["'b'", "shard-000000"]),
    ],
)
def test_what_contradicts_itself_is_refused_at_conversion(tmp_path, toy, words):
    with pytest.raises(DataError) as error:
        convert(toy, tmp_path / "set")
    assert all(word in str(error.value) for word in words), str(error.value)
    assert not (tmp_path / "set/dataset.json").exists()
    convert(Toy(6), tmp_path / "set")  # mended, it goes on
    assert convert(Toy(6), tmp_path / "set").verify(full=True) == []


def test_pictures_are_png_or_jpg_grey_or_colour(tmp_path):
    grey = simplejpeg.encode_jpeg(np.zeros((48, 64, 1), np.uint8), 90, "GRAY")
    changes = {0: {"image": Encoded(grey, "jpg")}, 1: {"image": png(np.zeros((48, 64, 3), np.uint8))}}
    assert convert(Toy(3, changes=changes), tmp_path / "set").verify(full=True) == []


def test_a_mistake_in_a_worker_reaches_the_user(tmp_path):
    with pytest.raises(DataError, match="frame/00004"):
        convert(bad(4, width=65), tmp_path / "set", workers=2)
    toy = Toy(8)
    toy.lookup = lambda: None
    with pytest.raises(PluginError, match="one worker"):
        convert(toy, tmp_path / "other", workers=2)


def test_an_empty_split_is_a_set(tmp_path):
    shards = convert(Toy(0), tmp_path / "set")
    assert len(shards) == 0 and len(shards.index) == 0 and shards.verify(full=True) == []


def test_a_missing_set_says_what_to_do(tmp_path):
    convert(Toy(2), tmp_path / "camvid" / "train")
    with pytest.raises(DataError) as error:
        loader().open(str(tmp_path / "camvid/trian"))
    text = str(error.value)
    assert "does not exist" in text and f"did you mean '{tmp_path / 'camvid/train'}'" in text
    assert "dataset.json" in text and "drivetrain data shard" in text and "drivetrain data synth" in text
    with pytest.raises(DataError, match="holds some"):
        loader().open(str(tmp_path / "camvid"))
    (tmp_path / "camvid/train/dataset.json").write_text('{"format_version": 99}')
    with pytest.raises(DataError, match="format version 99"):
        loader().open(str(tmp_path / "camvid/train"))


def test_a_full_disk_is_told_beforehand(tmp_path):
    class Endless(Toy):
        def index(self, root, split):
            return range(10**12)

    toy = Endless(1, changes={})
    from drivetrain.plugins.loaders.webdataset import writer

    with pytest.raises(DataError, match="GB are free"):
        job = writer._Job(toy, writer.Plan("toy", "train", 10**12, 10**6), tmp_path)
        writer._check_space(job, toy.index(tmp_path, "train"), range(3))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up_is_told_and_the_conversion_goes_on(tmp_path, workers):
    """No file may grow beyond 64 KiB while the shard with a large picture is written."""
    large = {"image": jpg(textured(600, 800)), "width": 800, "height": 600, "semantic": None, "boxes": None}
    toy, limits = Toy(12, changes={9: large}), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(DataError, match=r"cannot be written: File too large[\s\S]*repeat the command"):
            convert(toy, tmp_path / "set", workers=workers)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / "set/dataset.json").exists()
    left = {path.name for path in (tmp_path / "set/.conversion").iterdir()}
    assert "shard-000002.rows" not in left and not [name for name in left if name.startswith(".tmp-")]
    convert(toy, tmp_path / "set", workers=workers)
    convert(toy, tmp_path / "clean")
    assert contents(tmp_path / "set") == contents(tmp_path / "clean")


@pytest.mark.parametrize("name", ["a.json", "x" * 95 + ".json", "x" * 96 + ".json", "stra\u00dfe.json", "a/b.json"])
@pytest.mark.parametrize("size", [0, 137_000, (1 << 33) - 1, 1 << 33])
def test_headers_are_those_of_tarfile(name, size):
    info = tarfile.TarInfo(name)
    info.size = size
    assert tar_header(name, size) == info.tobuf(tarfile.PAX_FORMAT)


def test_a_picture_larger_than_any_is_refused_at_conversion(tmp_path):
    image = jpg(np.zeros((48, 64, 3), np.uint8)).data
    at = image.index(b"\xff\xc0") + 5
    huge = Encoded(image[:at] + (30_000).to_bytes(2, "big") * 2 + image[at + 4 :], "jpg")
    with pytest.raises(DataError, match=r"frame/00001[\s\S]*30000 x 30000"):
        convert(Toy(2, changes={1: {"image": huge, "width": 30_000, "height": 30_000}}), tmp_path / "set")


def test_the_toy_decodes_to_what_it_drew():
    image = np.full((48, 64, 3), (200, 30, 60), np.uint8)
    assert np.abs(simplejpeg.decode_jpeg(jpg(image).data, "RGB").astype(int) - image).max() < 8
