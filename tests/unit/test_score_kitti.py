"""``drivetrain score kitti`` against the C++ devkit's numbers, and against its rules written as they read."""

from __future__ import annotations

import math
import random

import numpy as np
import pytest
from conftest import drivetrain
from unit.score_oracles import agrees, expected_of, ids_of, official, oracle

from drivetrain import DataError
from drivetrain.plugins.metrics.kitti.matching import CLASSES, OVERLAP, match_frame, overlaps
from drivetrain.plugins.metrics.kitti.scorer import KittiScored, read_objects


def test_official_files_get_the_devkits_numbers(shared):
    folder = oracle(shared, "kitti_object")
    got = official(KittiScored(folder / "label_2", folder / "data", ids_of(folder)))
    for name, kinds in expected_of(folder)["ap"].items():
        for kind in ("bbox", "aos"):
            assert agrees(got["ap"][name][kind], kinds[kind]) == 6
    assert got["n_frames"] == 300


def label(name="Car", y2=100.0, *, x=0.0, truncated=0.0, occluded=0, alpha=0.0, score=None, width=100.0):
    row = f"{name} {truncated} {occluded} {alpha} {x} 0.0 {x + width} {y2} 1.5 1.6 4.0 0.0 1.5 20.0 0.0"
    return row if score is None else f"{row} {score}"


def scored(folder, frames, ids=None):
    """From (labels, detections) a frame, lists of lines."""
    for k, pair in enumerate(frames):
        for side, lines in zip(("truth", "found"), pair):
            (folder / side).mkdir(exist_ok=True)
            (folder / side / f"{k:06d}.txt").write_text("\n".join(lines))
    return KittiScored(folder / "truth", folder / "found", ids)


def test_by_hand(tmp_path):
    """Of two cars one is found; a detection is wrong at a higher score."""
    found = [label(score=0.5, alpha=math.pi / 2), label(x=300, score=0.9)]
    got = official(scored(tmp_path, [([label(), label(x=500)], found)]))["ap"]["Car"]
    # One threshold, precision 1/2 at recall 0 alone: the devkit's curve ends with the last true positive.
    assert got["bbox"]["easy"] == {"AP_R40": 0, "AP_R11": pytest.approx(50 / 11)}
    assert got["aos"]["easy"]["AP_R11"] == pytest.approx(25 / 11)  # a quarter turn is worth half
    assert got["bbox"]["hard"] == got["bbox"]["easy"]


def test_what_neither_counts_nor_is_wrong(tmp_path):
    frames = [
        ([label(y2=40)], [label(y2=40, score=0.9)]),  # exactly 40 px: counts as easy
        ([label(y2=39)], [label(y2=39, score=0.8)]),  # lower: not easy, and its detection is not wrong
        ([label("Van")], [label(score=0.7)]),
        ([label("DontCare", width=300)], [label(score=0.6)]),  # over the detection's own area
        ([label(occluded=2)], [label(score=0.5)]),
    ]
    cells = scored(tmp_path, frames).cells
    easy, moderate, hard = (cells["Car", level] for level in ("easy", "moderate", "hard"))
    assert easy.labels.tolist() == [1, 0, 0, 0, 0] and moderate.labels.sum() == 2 and hard.labels.sum() == 3
    assert not any(cell.steps[2].any() for cell in (easy, moderate, hard))  # no misses
    assert "Pedestrian" in official(scored(tmp_path, frames, ["000001"]))["ap"]


def by_the_rules(labels, found, name, level, threshold):
    """Hits, misses and similarity at a threshold, step by step as the devkit's documentation has them."""
    iou, of_found = overlaps(found.boxes, labels.boxes)
    low = [abs(b[3] - b[1]) < (40, 25, 25)[level] for b in found.boxes]
    open_, hits, similar = [k for k in range(len(low)) if found.score[k] >= threshold], 0, 0.0
    valid = [k for k in open_ if not low[k] and found.names[k] == name.lower()]
    gone = set()
    for g in range(len(labels.names)):
        own = labels.names[g] == name.lower()
        if not own and (name, labels.names[g]) not in (("Car", "van"), ("Pedestrian", "person_sitting")):
            continue
        hard = labels.boxes[g, 3] - labels.boxes[g, 1] < (40, 25, 25)[level] or labels.occlusion[g] > level
        hard = hard or labels.truncation[g] > (0.15, 0.3, 0.5)[level]
        near = [k for k in valid if k not in gone and iou[k, g] > OVERLAP[name]]
        small = [k for k in open_ if low[k] and k not in gone and iou[k, g] > OVERLAP[name]]
        taken = max(near, key=lambda k: (iou[k, g], -k)) if near else small[0] if small else None
        if taken is not None:
            gone.add(taken)
            if near and own and not hard:
                hits, similar = hits + 1, similar + (1 + math.cos(labels.alpha[g] - found.alpha[taken])) / 2
    wrong = [k for k in valid if k not in gone]
    spared = {k for k in wrong for g in range(len(labels.names))
              if labels.names[g] == "dontcare" and of_found[k, g] > OVERLAP[name]}  # fmt: skip
    return hits, len(wrong) - len(spared), similar


def test_all_thresholds_at_once_are_each_one_by_the_rules(tmp_path):
    chance = random.Random(1)
    some = lambda *more: label(chance.choice(["Car", "Car", "Van", "Pedestrian", *more]), chance.choice([24, 30, 41, 100.0]),
                               x=chance.choice([0, 5, 10, 60]), occluded=chance.choice([0, 1, 3]),
                               alpha=chance.uniform(-3, 3), width=chance.choice([90.0, 100.0]))  # fmt: skip
    for _ in range(60):
        (tmp_path / "a.txt").write_text("\n".join(some("DontCare") for _ in range(chance.randrange(5))))
        lines = [f"{some()} {chance.choice([0.1, 0.3, 0.3, 0.7, 0.9])}" for _ in range(chance.randrange(7))]
        (tmp_path / "b.txt").write_text("\n".join(lines))
        labels, found = read_objects(tmp_path / "a.txt", 15), read_objects(tmp_path / "b.txt", 16)
        for (name, _), one in zip(match := match_frame(labels, found), match.values()):
            level = list(match).index((name, _)) % 3
            for threshold in (0.1, 0.3, 0.7, 0.9):
                at = one.steps.score >= threshold
                got = [values[at].sum() for values in one.steps[1:]]
                assert got == pytest.approx(by_the_rules(labels, found, name, level, threshold)), (name, level, threshold)


def test_a_frame_that_counts_twice_is_two_frames(tmp_path):
    frames = [
        ([label(), label(x=200)], [label(score=0.9), label(x=400, score=0.8), label(x=200, score=0.7)]),
        ([label()], [label(score=0.6), label(x=300, score=0.95)]),
    ]
    weighed = official(scored(tmp_path, frames), np.array([3, 2]))
    agrees(weighed, official(scored(tmp_path, [frames[0]] * 3 + [frames[1]] * 2)))
    assert set(weighed["ap"]) == set(CLASSES) and weighed["ap"]["Cyclist"]["bbox"]["easy"]["AP_R40"] is None


def test_wrong_files_are_told_by_line_and_column(tmp_path):
    with pytest.raises(DataError, match=r"000000\.txt:2: has 3 columns, expected 16\n  columns: type truncated"):
        scored(tmp_path, [([label()], [label(score=1), "Car 0 0"])])
    with pytest.raises(DataError, match=r"000000\.txt:1: x2 is 'wide', expected a number"):
        scored(tmp_path, [([label().replace("100.0", "wide", 1)], [])])
    (tmp_path / "found" / "000000.txt").rename(tmp_path / "found" / "00000.txt")
    done = drivetrain("score", "kitti", "--truth", tmp_path / "truth", "--predictions", tmp_path / "found")
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "found/000000.txt: no such file, one of 1" in done.stderr and "did you mean '00000.txt'" in done.stderr
