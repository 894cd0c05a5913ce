"""Metrics of lanes through Frames get the official numbers, and errors of depth those of their formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unit.score_oracles import expected_of, oracle

from drivetrain import Camera, CameraLabels, Frame, Lanes, MetricContext, Prediction
from drivetrain.plugins.metrics.culane import config as culane_config
from drivetrain.plugins.metrics.culane import metric as culane
from drivetrain.plugins.metrics.culane.scorer import read_lanes
from drivetrain.plugins.metrics.depth import config as depth_config
from drivetrain.plugins.metrics.depth import metric as depth
from drivetrain.plugins.metrics.tusimple import config as tusimple_config
from drivetrain.plugins.metrics.tusimple import metric as tusimple
from drivetrain.testing.metrics import check_metric

LANES = MetricContext("lane_detection", ("lane",))
DEPTH = MetricContext("depth_estimation", ())


def lanes(points):
    return Lanes([np.asarray(lane, np.float32).reshape(-1, 2) for lane in points], ["lane"] * len(points))


def lane_pair(key, found, labels, size=(590, 1640)):
    truth = Camera(lanes=labels, height=size[0], width=size[1])
    return Prediction(key, {"cam": CameraLabels(lanes=found)}), Frame(key, cameras={"cam": truth})


def test_tusimples_lanes_as_frames_get_tusimples_numbers(shared):
    folder = oracle(shared, "lanes_tusimple")
    read = lambda name: {row["raw_file"]: row for row in map(json.loads, (folder / name).read_text().splitlines())}
    labels, found = read("ground_truth.json"), read("predictions.json")
    quick = [key for key in labels if found[key]["run_time"] <= 200]  # a Frame knows no time
    metric = tusimple.build(tusimple_config.TusimpleConfig(), LANES)
    for key in quick:
        points = [lanes([[(x, y) for x, y in zip(lane, labels[key]["h_samples"]) if x >= 0] for lane in side[key]["lanes"]])
                  for side in (found, labels)]  # fmt: skip
        metric.update(*lane_pair(key, *points))
    rows = expected_of(folder)["per_frame_accuracy_fp_fn"]
    got = metric.compute()
    means = np.mean([rows[key] for key in quick], 0)
    assert [got[n] for n in ("tusimple_accuracy", "fp", "fn")] == pytest.approx(means.tolist(), abs=1e-9)
    assert got["frames"] == len(quick) > 100
    assert got["objects"]["lane"] == sum(len(labels[key]["lanes"]) for key in quick)


def test_culanes_lanes_as_frames_get_culanes_numbers(shared):
    folder = oracle(shared, "lanes_culane")
    expected = expected_of(folder)["iou"]
    keys = (folder / "list.txt").read_text().split()[::2]
    metric = culane.build(culane_config.CulaneF1Config(), LANES)
    for key in keys:
        read = lambda side, key=key: lanes(read_lanes(folder / side / f"{key.strip('/').rpartition('.')[0]}.lines.txt"))
        metric.update(*lane_pair(key, read("predictions"), read("ground_truth")))
    tp, fp, fn = np.sum([expected["0.5"]["per_frame_tp_fp_fn"][key] for key in keys], 0).tolist()
    got = metric.compute()
    assert [got[name] for name in ("tp", "fp", "fn")] == [tp, fp, fn] and tp > 50
    assert got["culane_f1"] == pytest.approx(2 * tp / (2 * tp + fp + fn))


def test_lanes_are_exact_over_ranks_and_mistakes_named():
    chance = np.random.default_rng(0)
    curve = lambda: list(zip(chance.uniform(100, 140, 12), range(580, 340, -20)))
    pairs = [lane_pair(str(k), lanes([curve() for _ in range(k % 3)]), lanes([curve()])) for k in range(5)]
    builds = {
        "tusimple_accuracy": lambda: tusimple.build(tusimple_config.TusimpleConfig(first_row=360, last_row=560), LANES),
        "culane_f1": lambda: culane.build(culane_config.CulaneF1Config(iou=0.3), LANES),
    }  # fmt: skip
    for name, build in builds.items():
        got = check_metric(build, pairs, name)
        assert got["frames"] == got["objects"]["lane"] == 5 and 0 < got[name] < 1
        scored = build()
        for pair in pairs:
            scored.update(*pair)
        even = np.arange(5) % 2
        parts = [scored.scored().figures(times) for times in (even, 1 - even)]
        assert sum(part["objects"]["lane"] for part in parts) == 5
        for count in ("tp", "fp", "fn") if name == "culane_f1" else ():
            assert sum(part[count] for part in parts) == got[count]
        with pytest.raises(ValueError, match="frame 'a', cam: the prediction has no lanes"):
            build().update(*lane_pair("a", None, lanes([])))
    nothing = builds["culane_f1"]()
    nothing.update(*lane_pair("a", lanes([]), lanes([curve()])))
    assert nothing.compute()["culane_f1"] == 0


def depth_pair(key, found, truth, **more):
    found, truth = np.asarray(found, np.float32), np.asarray(truth, np.float32)
    return Prediction(key, {"cam": CameraLabels(depth=found)}), Frame(key, cameras={"cam": Camera(depth=truth, **more)})


def errors(*pairs, **config):
    metric = depth.build(depth_config.DepthConfig(**config), DEPTH)
    for pair in pairs:
        metric.update(*pair)
    return metric.compute()


def test_errors_of_depth_are_those_of_their_formulas():
    truth, found = np.array([[10, 20, 0, 100]]), np.array([[11, 30, 7, 5]])  # 0 is unknown, 100 is beyond the range
    got = errors(depth_pair("a", found, truth))
    logs = np.log([11 / 10, 30 / 20])
    assert got == {
        "abs_rel": pytest.approx((0.1 + 0.5) / 2), "sq_rel": pytest.approx((1 / 10 + 100 / 20) / 2),
        "rmse": pytest.approx(np.sqrt((1 + 100) / 2)), "rmse_log": pytest.approx(np.sqrt((logs**2).mean())),
        "delta1": 0.5, "delta2": 1, "delta3": 1, "frames": 1,
    }  # fmt: skip
    two = errors(depth_pair("a", found, truth), depth_pair("b", [[10, 20, 30]], [[10, 20, 30]]))
    assert two["rmse"] == pytest.approx(got["rmse"] / 2) and two["frames"] == 2  # a mean over pictures
    assert errors(depth_pair("a", [[-3, 900]], [[10, 10]]))["delta3"] == 0
    assert errors(depth_pair("a", [[10, 900]], [[10, 10]]), max_m=20)["abs_rel"] == pytest.approx(0.5)
    assert errors(depth_pair("a", found, truth, ignore_regions=[[1, 0, 2, 1]]))["abs_rel"] == pytest.approx(0.1)


def test_depth_is_exact_over_ranks_and_mistakes_named():
    chance = np.random.default_rng(0)
    pairs = [depth_pair(str(k), chance.uniform(1, 90, (4, 5)), chance.uniform(0, 90, (4, 5))) for k in range(4)]
    assert check_metric(lambda: depth.build(depth_config.DepthConfig(), DEPTH), pairs, "abs_rel")["frames"] == 4
    assert errors(depth_pair("a", [[1, 2]], [[0, 0]]))["abs_rel"] is None
    with pytest.raises(ValueError, match=r"frame 'a', cam: the predicted depth is \(1, 2\), its truth \(1, 3\)"):
        errors(depth_pair("a", [[1, 2]], [[1, 2, 3]]))
    with pytest.raises(ValueError, match="is not finite"):
        errors(depth_pair("a", [[np.nan]], [[1]]))
    with pytest.raises(ValueError, match="nothing is between them"):
        depth_config.DepthConfig(min_m=80)
