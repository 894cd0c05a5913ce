"""Sets that grow by new shards, and splits by scene."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import drivetrain
from hypothesis import given
from hypothesis import strategies as st

from drivetrain import DataError, open_shards
from drivetrain.plugins.loaders.webdataset import assembly, rows
from drivetrain.plugins.loaders.webdataset.choosing import side_of

sys.path.append(str(Path(__file__).parent))
from loader_toy import Toy, convert

SCRIPT = """
import sys
from pathlib import Path
sys.path.append({here!r})
from loader_toy import Toy, convert
convert(Toy(30, delay=0.02), Path({out!r}), samples_per_shard=2, append=True)
"""


class Shuffled(Toy):
    """New frames come first in its index."""

    def index(self, root, split):
        return list(reversed(range(self.samples)))


class Telling(Toy):
    """Tells keys and scenes; counts how often a frame is loaded."""

    loaded = 0

    def identify(self, ref):
        return f"frame/{ref:05d}", f"drive{ref // 10}"

    def load(self, ref):
        self.loaded += 1
        return super().load(ref)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def listed(folder: Path) -> list[dict]:
    return open_shards(folder).listed.to_pylist()


@pytest.mark.parametrize("toy", [Toy, Shuffled, Telling])
def test_new_frames_become_new_shards_and_old_ones_stay(tmp_path, toy):
    convert(Toy(10), tmp_path / "set")
    before, old = contents(tmp_path / "set"), listed(tmp_path / "set")
    shards = convert(toy(17), tmp_path / "set", append=True)
    assert len(shards) == 17 == shards.info["samples"] and shards.verify(full=True) == []
    after = contents(tmp_path / "set")
    assert all(after[name] == data for name, data in before.items() if name.startswith("shard-"))
    assert listed(tmp_path / "set")[:3] == old and [row["samples"] for row in listed(tmp_path / "set")] == [4, 4, 2, 4, 3]
    index = shards.index.to_pylist()
    assert [row["number"] for row in index] == list(range(17)) and [shards.frame(i).key for i in range(17)] == [
        row["key"] for row in index
    ]
    assert {row["key"] for row in index} == {f"frame/{i:05d}" for i in range(17)}
    assert contents(tmp_path / "set") == after and convert(toy(17), tmp_path / "set", append=True).info == shards.info
    assert sorted(contents(tmp_path / "set")) == sorted(after)


def test_a_set_grows_again_and_again_also_in_parts(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "GROUP_ROWS", 4)
    convert(Toy(3), tmp_path / "set", samples_per_shard=2)
    for total in (4, 9, 20):
        made = [convert(Toy(total), tmp_path / "set", samples_per_shard=2, append=True, part=(part, 3)) for part in (2, 3, 1)]
        shards = made[-1]
        assert len(shards) == total and shards.verify(full=True) == [] and not (tmp_path / "set/.conversion").exists()
    assert [shards.key(*shards.locate(i)) for i in range(20)] == [f"frame/{i:05d}" for i in range(20)]


def test_an_append_killed_between_any_two_files_leaves_the_set_valid(tmp_path, monkeypatch):
    convert(Toy(10), tmp_path / "base")
    convert(Toy(17), shutil.copytree(tmp_path / "base", tmp_path / "whole"), append=True)
    for killed_at in ("shards.parquet", "dataset.json"):
        folder = shutil.copytree(tmp_path / "base", tmp_path / killed_at)
        with monkeypatch.context() as patch:
            write = assembly.write_atomically

            def killed(path, data, at=killed_at, write=write):
                if path.name == at:
                    raise KeyboardInterrupt
                write(path, data)

            patch.setattr(assembly, "write_atomically", killed)
            with pytest.raises(KeyboardInterrupt):
                convert(Toy(17), folder, append=True)
        shards = open_shards(folder)
        assert len(shards) == 10 == len(shards.index) and shards.verify(full=True) == []
        assert shards.info == open_shards(tmp_path / "base").info and len(shards.listed) == 3
        assert shards.statistics(True)["labelled_frames"]["object_detection"] == 10
        convert(Toy(17), folder, append=True)
        assert contents(folder) == contents(tmp_path / "whole")


def test_an_append_killed_at_work_goes_on(tmp_path):
    convert(Toy(5), tmp_path / "set", samples_per_shard=2)
    convert(Toy(30), shutil.copytree(tmp_path / "set", tmp_path / "whole"), samples_per_shard=2, append=True)
    code = SCRIPT.format(here=str(Path(__file__).parent), out=str(tmp_path / "set"))
    process = subprocess.Popen([sys.executable, "-c", code], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while len(list((tmp_path / "set").glob("shard-*.idx"))) < 6:
        assert time.monotonic() < deadline and process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate(timeout=60)
    assert open_shards(tmp_path / "set").verify(full=True) == [] and len(open_shards(tmp_path / "set")) == 5
    with pytest.raises(DataError, match="being appended"):
        convert(Toy(29), tmp_path / "set", samples_per_shard=2, append=True)
    reports = []
    convert(Toy(30), tmp_path / "set", samples_per_shard=2, append=True, progress=lambda *report: reports.append(report))
    assert contents(tmp_path / "set") == contents(tmp_path / "whole")
    done, total, kept, written = reports[-1]
    assert done == total == 25 and 0 < kept < 25 and written > 0 and reports[0][2:] == (2, 0)


def test_another_set_or_equal_keys_are_not_appended(tmp_path):
    convert(Toy(5), tmp_path / "set")
    before = contents(tmp_path / "set")
    for wrong in ({"samples_per_shard": 3}, {"resize": "32x24"}, {"split": "val"}):
        with pytest.raises(DataError, match="another shard set"):
            convert(Toy(9), tmp_path / "set", append=True, **wrong)
    with pytest.raises(DataError, match="no shard set"):
        convert(Toy(9), tmp_path / "nothing", append=True)
    with pytest.raises(DataError, match="--append"):
        convert(Toy(9), tmp_path / "set")
    assert contents(tmp_path / "set") == before
    keys = [*(f"frame/{i:05d}" for i in range(5)), "x", "y", "x"]
    with pytest.raises(DataError, match="two frames have the key 'x'"):
        convert(Toy(8, keys=keys), tmp_path / "set", append=True)
    assert len(open_shards(tmp_path / "set")) == 5 and open_shards(tmp_path / "set").verify(full=True) == []


@given(st.lists(st.text(min_size=1), min_size=1, unique=True), st.sampled_from(["80:20", "0.5:.5", "8:1:1"]))
def test_a_scene_falls_on_one_side_whatever_the_others_are(scenes, shares):
    sides = ("train", "val", "test")[: shares.count(":") + 1]
    assert all(side_of(scene, shares) in sides for scene in scenes)


def test_shares_are_about_what_is_asked_for():
    found = [side_of(f"drive-{i}", "70:20:10") for i in range(20_000)]
    shares = [found.count(side) / len(found) for side in ("train", "val", "test")]
    assert shares == pytest.approx([0.7, 0.2, 0.1], abs=0.015)
    assert side_of("drive-1", "80:20") == side_of("drive-1", "8:2")


def test_sides_are_whole_scenes_and_growing_data_moves_none(tmp_path):
    def scenes(samples, side, toy=Toy):
        shards = convert(
            toy(samples), tmp_path / f"{toy.__name__}-{samples}-{side}", split=side, split_by_scene="60:40", of="all"
        )
        return shards.index.column("scene").to_pylist()

    train, val = scenes(95, "train"), scenes(95, "val")
    assert len(train) + len(val) == 95 and not set(train) & set(val) and train and val
    assert set(train) <= set(scenes(195, "train")) and set(val) <= set(scenes(195, "val"))
    assert scenes(95, "val", Telling) == val
    with pytest.raises(DataError, match="split_by_scene"):
        convert(Toy(95), tmp_path / "Toy-95-val", split="val", split_by_scene="50:50", of="all")


def test_a_dataset_that_tells_its_scenes_loads_no_picture_twice(tmp_path):
    toy = Telling(40)
    shards = convert(toy, tmp_path / "set", split_by_scene="60:40")
    assert 0 < len(shards) <= toy.loaded <= len(shards) + 3  # three to estimate the space


def test_the_command_appends_and_splits(tmp_path):
    def shard(frames, *more):
        return drivetrain("data", "shard", "synthetic", "-", tmp_path / "set", "--split", "train", "--workers", "1",
                          "--option", f"frames={frames}", "--option", "width=64", "--option", "height=48", *more)  # fmt: skip

    split = ("--split-by-scene", "70:30")
    expected = [8 * sum(side_of(f"train-{i:05d}", "70:30") == "train" for i in range(scenes)) for scenes in (2, 12)]
    assert shard(16, *split).returncode == 0
    assert json.loads((tmp_path / "set/dataset.json").read_text())["samples"] == expected[0]
    done = shard(96, *split, "--append")
    assert done.returncode == 0 and "MB/s" in done.stderr, done.stderr
    info = json.loads((tmp_path / "set/dataset.json").read_text())
    assert info["samples"] == expected[1] < 96 and info["split_by_scene"] == "70:30"
    assert shard(16, "--of", "train").returncode == 2
    key = open_shards(tmp_path / "set").frame(0).key
    assert drivetrain("data", "view", tmp_path / "set", "--out", tmp_path / "v.png", "--key", key).returncode == 0
    assert drivetrain("data", "view", tmp_path / "set", "--out", tmp_path / "w.png", "--shuffle", "3").returncode == 0
    wrong = drivetrain("data", "view", tmp_path / "set", "--key", key + "x")
    assert wrong.returncode == 2 and f"did you mean '{key}'" in wrong.stderr
