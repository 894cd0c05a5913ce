"""``drivetrain score``: what counts, the bootstrap, and the command in a process of its own."""

from __future__ import annotations

import json

import numpy as np
import pytest
from conftest import drivetrain

from drivetrain import UserError
from drivetrain.scoring import compared, differences, frames_that_count, resamples, table


class Toy:
    """The mean of a number a frame."""

    nothing = None

    def __init__(self, values, scenes=None):
        self.values = np.asarray(values, float)
        self.keys = [f"{k:03d}" for k in range(len(values))]
        self.scenes = scenes or self.keys

    def figures(self, times):
        return {"mean": float(self.values @ times / times.sum()), "by": {"class": {"n": int(times.sum()), "none": None}}}


def test_where_picks_frames_by_key_and_scene():
    toy = Toy([1, 2, 3, 4], ["a", "a", "b", "b"])
    times, scenes = frames_that_count(toy, "scene == 'b' or key == '000'", None)
    assert times.tolist() == [1, 0, 1, 1] and scenes.tolist() == [0, 0, 1, 1]
    with pytest.raises(UserError, match="no frame is left to be scored: --where scene == 'c'"):
        frames_that_count(toy, "scene == 'c'", None)
    with pytest.raises(UserError, match=r"--where: .*the index has no tags\.weather"):
        frames_that_count(toy, "tags.weather == 'rain'", None)


def test_where_reads_the_index_of_a_shard_set(shards):
    from drivetrain.data import default_loader

    keys = default_loader().open(str(shards / "val")).index.column("key").to_pylist()
    toy = Toy(range(len(keys)))
    toy.keys = list(reversed(keys))
    times, scenes = frames_that_count(toy, f"key in ['{keys[0]}', '{keys[2]}']", shards / "val")
    assert np.flatnonzero(times).tolist() == [len(keys) - 3, len(keys) - 1] and len(scenes) == len(keys)
    toy.keys = ["elsewhere", *keys[1:]]
    with pytest.raises(UserError, match="has no frame 'elsewhere', one of 1 that are scored"):
        frames_that_count(toy, None, shards / "val")


def test_resamples_draw_whole_scenes_that_count():
    scenes, times = np.array([0, 0, 1, 2, 2, 2]), np.array([1, 1, 1, 0, 0, 0])
    for again in resamples(times, scenes, 20, 0):
        assert again[0] == again[1] and again[0] + again[2] == 2 and not again[3:].any()
    first, second = (np.stack(list(resamples(times, scenes, 20, 0))) for _ in range(2))
    assert np.array_equal(first, second)


def test_the_interval_of_a_difference_is_the_normal_one_and_paired():
    rng = np.random.default_rng(1)
    hard, gain = rng.normal(0, 100, 400), rng.normal(1, 2, 400)  # frames differ far more than the two models do
    ours, theirs = Toy(hard + gain), Toy(hard)
    found = differences(ours, theirs, np.ones(400, np.int64), np.arange(400), 500, 0)
    half = 1.96 * gain.std() / np.sqrt(400)
    assert found["mean"]["value"] == pytest.approx(gain.mean())
    assert (found["mean"]["low"], found["mean"]["high"]) == pytest.approx((gain.mean() - half, gain.mean() + half), abs=0.06)
    assert found["by"]["class"] == {"n": {"value": 0, "low": 0, "high": 0}, "none": {"value": None, "low": None, "high": None}}
    # Frames of one scene go together: with all in two scenes the interval holds no more than two values' spread.
    of_two = differences(ours, theirs, np.ones(400, np.int64), np.arange(400) % 2, 200, 0)["mean"]
    ends = sorted(gain[k::2].mean() for k in (0, 1))
    assert (of_two["low"], of_two["high"]) == pytest.approx(ends)


def test_tables_for_people():
    toy = Toy([1, 2])
    figures = toy.figures(np.array([1, 1]))
    assert [line.split() for line in table(figures)] == [["mean", "1.5000"], ["n", "none"], ["by", "class", "2", "-"]]
    assert len({len(line) for line in table(figures)[1:]}) == 1
    lines = compared(figures, figures, differences(toy, toy, np.array([1, 1]), np.arange(2), 10, 0))
    assert lines[1].split() == ["mean", "1.5000", "1.5000", "+0.0000", "[+0.0000,", "+0.0000]"]


def test_the_command(tmp_path):
    row = "Car 0 0 0 {x} 0 {y} 100 1 1 1 0 0 0 0"
    for folder, shift in (("truth", 0), ("found", 2), ("other", 60)):
        (tmp_path / folder).mkdir()
        for k in range(6):
            x = 200 * k + shift
            score = "" if folder == "truth" else f" 0.{k + 1}"
            (tmp_path / folder / f"{k:06d}.txt").write_text(row.format(x=x, y=x + 100) + score + "\n")
    (tmp_path / "ids").write_text("000000\n000001\n000002\n000003\n")
    command = ["score", "kitti", "--truth", tmp_path / "truth", "--predictions", tmp_path / "found", "--ids", tmp_path / "ids"]
    done = drivetrain(*command, "--against", tmp_path / "other", "--draws", 50, "--where", "key != '000003'", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["n_frames"] == said["against"]["n_frames"] == 3
    change = said["difference"]["ap"]["Car"]["bbox"]["easy"]["AP_R11"]
    assert change["low"] <= change["value"] <= change["high"] and change["value"] > 0
    done = drivetrain(*command, "--where", "key == '000003'", "--where", "key != '000003'", "--json")
    assert [part["n_frames"] for part in json.loads(done.stdout)["slices"].values()] == [1, 3], done.stderr
    wrong = drivetrain("score", "kiti", *command[2:])
    assert wrong.returncode == 2 and "no scorer 'kiti'" in wrong.stderr and "did you mean 'kitti'" in wrong.stderr
    wrong = drivetrain(*command, "--classes", 3)
    assert wrong.returncode == 2 and "scorer 'kitti' has no options, got classes" in wrong.stderr
