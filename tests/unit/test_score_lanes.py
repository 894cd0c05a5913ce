"""``drivetrain score tusimple`` and ``culane`` against the official tools' numbers, cases by hand, and wrong files."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from unit.score_oracles import agrees, expected_of, ids_of, official, oracle

from drivetrain import DataError
from drivetrain.plugins.metrics.culane.config import CulaneConfig
from drivetrain.plugins.metrics.culane.matching import assigned, drawn, lane_ious, spline
from drivetrain.plugins.metrics.culane.scorer import CulaneScored, read_lanes
from drivetrain.plugins.metrics.tusimple.scorer import TuSimpleScored

# ---------------------------------------------------------------- TuSimple


def test_tusimples_files_get_tusimples_numbers(shared):
    folder = oracle(shared, "lanes_tusimple")
    expected = expected_of(folder)
    scored = TuSimpleScored(folder / "ground_truth.json", folder / "predictions.json", ids_of(folder))
    assert agrees(official(scored), {"overall": expected["overall"]}) == 3
    frames = np.array([expected["per_frame_accuracy_fp_fn"][key] for key in scored.keys])
    assert np.abs(frames - scored.numbers).max() < 1e-9


ROWS = [100, 110, 120, 130]


def lines(path, *rows):
    path.write_text("\n".join(row if isinstance(row, str) else json.dumps(row) for row in rows))
    return path


def label(name, *lanes):
    return {"raw_file": name, "lanes": list(lanes), "h_samples": ROWS}


def said(name, *lanes, run_time=10):
    return {"raw_file": name, "lanes": list(lanes), "run_time": run_time}


def tusimple(folder, truth, found, ids=None):
    return TuSimpleScored(lines(folder / "truth", *truth), lines(folder / "found", *found), ids)


def test_tusimple_by_hand(tmp_path):
    straight, slanted = [50, 50, 50, 50], [100, 110, 120, 130]  # one at 45 degrees: 20 px across are 28.3 along the row
    truth = [label("a", straight, slanted), label("b", straight), label("c"), label("d", *[[100 * k] * 4 for k in range(5)])]
    found = [
        said("b", straight, run_time=201), said("c", straight),
        said("a", [69, 69, 69, 70], [128, 138, 148, 158]),
        said("d", *[[100 * k] * 4 for k in range(1, 5)]),
    ]  # fmt: skip
    scored = tusimple(tmp_path, truth, found)
    a = [(0.75 + 1) / 2, 0.5, 0.5]  # three of four points are within 20: not enough to be found
    assert scored.numbers == pytest.approx(np.array([a, [0, 0, 1], [0, 1, 0], [1, 0, 0]]))  # of five the worst is forgiven
    assert official(scored, np.array([1, 0, 0, 1]))["accuracy"] == pytest.approx((a[0] + 1) / 2)
    assert tusimple(tmp_path, truth, found[2:3], ["a"]).keys == ["a"]


def test_wrong_tusimple_lines_are_told(tmp_path):
    def told(pattern, *found):
        with pytest.raises(DataError, match=pattern):
            tusimple(tmp_path, [label("a", ROWS), label("b")], found)

    told(r"found:2: no JSON: .*\n  expected a line a frame", said("a"), "{")
    told(r"found:1: has no 'run_time'", {"raw_file": "a", "lanes": []})
    told(r"found:1: lanes\[0\] has 2 points, expected 4 numbers\n  an x for each", said("a", [1, 2]))
    told(r"found:1: raw_file 'c' is not in the labels", said("c"))
    told(r"found:2: raw_file 'a' has a line already", said("a"), said("a"))
    told(r"found: has no line of raw_file 'b', one of 1 that are missing", said("a"))


# ---------------------------------------------------------------- CULane


def test_culanes_files_get_the_evaluators_numbers(shared):
    folder = oracle(shared, "lanes_culane")
    expected, ids = expected_of(folder), ids_of(folder, "list.txt")
    scored = CulaneScored(folder / "ground_truth", folder / "predictions", ids, CulaneConfig())
    wanted = {t: {k: v for k, v in one.items() if k != "per_frame_tp_fp_fn"} for t, one in expected["iou"].items()}
    assert agrees(official(scored)["iou"], wanted) == 18
    for k, (one, key) in enumerate(zip(scored.hits, scored.keys)):
        assert [expected["iou"][t]["per_frame_tp_fp_fn"][key][0] for t in ("0.3", "0.5", "0.7")] == one.tolist(), k
    for key in ids[::10]:
        sides = (read_lanes(folder / side / f"{key[1:-4]}.lines.txt") for side in ("ground_truth", "predictions"))
        matrix = np.array(expected["iou_matrix_rows_gt_cols_pred"][key])
        if matrix.size:
            assert np.abs(lane_ious(*sides, (590, 1640), 30) - matrix).max() < 1e-8
    assert len(set(scored.scenes)) == 5


def culane(folder, truth, found):
    for side, text in (("truth", truth), ("found", found)):
        (folder / side / "clip").mkdir(parents=True, exist_ok=True)
        (folder / side / "clip" / "1.lines.txt").write_text(text)
    return CulaneScored(folder / "truth", folder / "found", None, CulaneConfig(width=200, height=100))


def test_culane_by_hand(tmp_path):
    scored = culane(tmp_path, "50 0 50 99\n150 0 150 99\n", "50 0 50 99\n20 50\n")
    got = official(scored)["iou"]["0.5"]
    assert got == {"tp": 1, "fp": 1, "fn": 1, "precision": 0.5, "recall": 0.5, "Fmeasure": 0.5}  # one point is no lane
    assert scored.keys == ["/clip/1.jpg"] and scored.scenes == ["/clip"]
    assert official(culane(tmp_path, "", "50 0 50 99\n"))["iou"]["0.3"]["fp"] == 1
    band = drawn(np.array([[50.0, 0], [50, 99]]), (100, 200), 30)
    assert band.sum() == 31 * 100  # OpenCV's band of 30 is 31 pixels broad
    with pytest.raises(DataError, match=r'1\.lines\.txt:2: holds 3 numbers\n  expected "x y x y'):
        culane(tmp_path, "1 2 3 4\n1 2 3", "")


def test_a_spline_is_smooth_and_goes_through_its_points():
    points = np.array([[0.0, 0], [10, 5], [15, 20], [15, 20], [40, 20]])  # a point given twice does no harm
    curve = spline(points)
    assert np.allclose(curve[::50], points) and len(curve) == 201 and np.isfinite(curve).all()
    straight = spline(np.array([[0.0, 0], [3, 4], [9, 12]]))
    assert np.allclose(straight[:, 1] * 3, straight[:, 0] * 4)


def test_the_assignment_is_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(60):
        gain = rng.random(rng.integers(1, 6, 2)).round(1)  # with ties
        found = assigned(gain)
        few, many = sorted(gain.shape)
        wide = gain if gain.shape[0] == few else gain.T
        best = max(sum(wide[range(few), order]) for order in itertools.permutations(range(many), few))
        assert sum(gain[pair] for pair in found) == pytest.approx(best)
        assert len({r for r, _ in found}) == len({c for _, c in found}) == few
    assert assigned(np.zeros((0, 3))) == [] and assigned(np.zeros((2, 0))) == []
