"""Parts of a conversion: independent processes that make one set, whatever order they end in; and pictures made anew."""

import os
import random
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import drivetrain

from drivetrain import Boxes, DataError
from drivetrain.plugins.loaders.webdataset import rows, writer
from drivetrain.plugins.loaders.webdataset.plan import Plan
from drivetrain.plugins.loaders.webdataset.rows import KeyColumn

sys.path.append(str(Path(__file__).parent))
from loader_toy import Toy, convert

SCRIPT = """
import sys
from pathlib import Path
sys.path.append({here!r})
from loader_toy import Toy, convert
convert(Toy(30, delay=0.01), Path({out!r}), part=({part}, {parts}), samples_per_shard=2)
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def start(out: Path, part: int, parts: int) -> subprocess.Popen:
    code = SCRIPT.format(here=str(Path(__file__).parent), out=str(out), part=part, parts=parts)
    return subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)


def test_parts_make_the_same_set_whatever_order_they_end_in(tmp_path):
    convert(Toy(11), tmp_path / "whole", samples_per_shard=2)
    for trial in range(4):
        order = random.Random(trial).sample(range(1, 6), 5)
        made = [convert(Toy(11), tmp_path / str(trial), samples_per_shard=2, part=(part, 5)) for part in order]
        assert made[:-1] == [None] * 4 and made[-1] is not None, order
        assert contents(tmp_path / str(trial)) == contents(tmp_path / "whole")


def test_parts_that_run_at_once_and_are_killed_make_the_same_set(tmp_path):
    convert(Toy(30), tmp_path / "whole", samples_per_shard=2)
    running = [start(tmp_path / "set", part, 4) for part in (1, 2, 3, 4)]
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "set").glob("shard-*.idx"))) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    running[1].kill()
    for process in running:
        process.communicate(timeout=60)
    assert not (tmp_path / "set/dataset.json").exists()
    with pytest.raises(DataError, match="half-written"):
        from drivetrain import open_shards

        open_shards(tmp_path / "set")
    again = [start(tmp_path / "set", part, 4) for part in (2, 1, 2)]  # also one that runs twice
    errors = [process.communicate(timeout=60)[1] for process in again]
    assert [process.returncode for process in again].count(0) >= 2, errors
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")


def test_more_parts_than_shards_and_a_part_that_comes_too_late(tmp_path):
    for part in (3, 2, 1):
        convert(Toy(3), tmp_path / "set", part=(part, 3))
    before = contents(tmp_path / "set")
    assert convert(Toy(3), tmp_path / "set", part=(2, 3)) is not None and contents(tmp_path / "set") == before


def test_equal_keys_of_two_parts_are_refused_by_the_last(tmp_path):
    keys = ["a", "b", "c", "d", "e", "b"]
    assert convert(Toy(6, keys=keys), tmp_path / "set", samples_per_shard=3, part=(2, 2)) is None
    with pytest.raises(DataError, match="'b'"):
        convert(Toy(6, keys=keys), tmp_path / "set", samples_per_shard=3, part=(1, 2))
    assert convert(Toy(6), tmp_path / "set", samples_per_shard=3).verify(full=True) == []


def test_one_key_is_read_without_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "GROUP_ROWS", 4)
    shards = convert(Toy(30), tmp_path / "set", samples_per_shard=3)
    assert pq.ParquetFile(tmp_path / "set/index.parquet").num_row_groups == 5
    assert [shards.key(*shards.locate(i)) for i in range(30)] == shards.index.column("key").to_pylist()
    assert "index" in vars(shards)  # this test has asked for it, `key` has not
    column = KeyColumn(tmp_path / "set/index.parquet")
    assert column[29] == "frame/00029" and len(column) == 30 and len(column._groups) == 1
    for number in (-1, 30):
        with pytest.raises(DataError, match="30 rows"):
            column[number]


def test_a_resize_moves_every_label(tmp_path):
    camera = {"boxes": Boxes(np.array([[8, 12, 40, 24]]), ["car"]), "ignore_regions": np.array([[0, 0, 64, 48.0]]),
              "intrinsics": np.array([[100, 0, 32], [0, 100, 24], [0, 0, 1.0]])}  # fmt: skip
    shards = convert(Toy(3, changes={1: camera}), tmp_path / "set", resize="32x12", reencode="png")
    small = shards.frame(1).cameras["cam_front"]
    assert (small.width, small.height, small.image.format) == (32, 12, "png")
    assert cv2.imdecode(np.frombuffer(small.image.data, np.uint8), cv2.IMREAD_COLOR).shape == (12, 32, 3)
    assert cv2.imdecode(np.frombuffer(small.semantic.data, np.uint8), cv2.IMREAD_UNCHANGED).shape == (12, 32)
    assert small.boxes.xyxy.tolist() == [[4, 3, 20, 6]] and small.ignore_regions.tolist() == [[0, 0, 32, 12]]
    assert small.intrinsics.tolist() == [[50, 0, 16], [0, 25, 6], [0, 0, 1]]
    assert shards.info["cameras"] == {"cam_front": [[32, 12]]} and shards.verify(full=True) == []
    with pytest.raises(DataError, match="resize '32x12' instead of None"):
        convert(Toy(3, changes={1: camera}), tmp_path / "set")


@pytest.mark.parametrize(
    "wrong", ["--split-by-scene=80", "--split-by-scene=80:0", "--part=0/3", "--part=4/3", "--reencode=jpg:0", "--resize=9"]
)
def test_a_wrong_option_is_a_message(tmp_path, wrong):
    done = drivetrain("data", "shard", "synthetic", "-", tmp_path / "set", "--split", "train", wrong)
    assert done.returncode == 2 and "Traceback" not in done.stderr and wrong.partition("=")[0] in done.stderr
    assert not os.path.exists(tmp_path / "set")


def test_withdrawn_keys_are_listed_beside_the_set(tmp_path):
    shards = convert(Toy(6), tmp_path / "set")
    (tmp_path / "keys.txt").write_text("frame/00003\nframe/00001\n")
    done = drivetrain("data", "withdraw", tmp_path / "set", "frame/00001")
    assert done.returncode == 0 and "1 keys withdrawn" in done.stdout, done.stderr
    done = drivetrain("data", "withdraw", tmp_path / "set", "--file", tmp_path / "keys.txt")
    assert "1 keys withdrawn, 1 had been before" in done.stdout, done.stderr
    before = (tmp_path / "set/withdrawn.parquet").read_bytes()
    with pytest.raises(DataError, match="did you mean 'frame/00002'"):
        shards.withdraw(["frame/00002x", "frame/00000"])
    assert (tmp_path / "set/withdrawn.parquet").read_bytes() == before
    assert pq.read_table(tmp_path / "set/withdrawn.parquet").column("key").to_pylist() == ["frame/00001", "frame/00003"]


def test_a_part_that_finds_the_set_made_meanwhile_writes_nothing(tmp_path):
    convert(Toy(4), tmp_path / "set", samples_per_shard=2)
    written = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "set").iterdir()}
    job = writer._Job(Toy(4), Plan("toy", "train", 4, 2), tmp_path / "set")
    assert job.shard(0, range(2)) == (2, 0)
    assert {path.name: path.stat().st_mtime_ns for path in (tmp_path / "set").iterdir()} == written
