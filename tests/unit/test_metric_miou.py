"""mIoU against Cityscapes' evaluator, and the laws that make it exact over ranks."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from drivetrain import IGNORE, Camera, CameraLabels, Frame, MetricContext, Prediction
from drivetrain.plugins.metrics.miou.config import MiouConfig
from drivetrain.plugins.metrics.miou.counting import Confusions
from drivetrain.plugins.metrics.miou.metric import build
from drivetrain.testing.metrics import check_metric

TASK = "semantic_segmentation"
CAMVID = ("sky", "building", "pole", "road", "pavement", "tree", "signsymbol", "fence", "car", "pedestrian", "bicyclist")
SHARED = Path(os.environ.get("DRIVETRAIN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
ORACLE = SHARED / "oracles" / TASK


def metric(classes=CAMVID, **config):
    return build(MiouConfig(**config), MetricContext(TASK, tuple(classes)))


def pair(key: str, predicted, truth, **camera):
    predicted, truth = np.asarray(predicted, np.uint8), np.asarray(truth, np.uint8)
    return Prediction(key, {"cam": CameraLabels(semantic=predicted)}), Frame(
        key, cameras={"cam": Camera(semantic=truth, **camera)}
    )


def figures(*pairs, classes=CAMVID, **config):
    counted = metric(classes, **config)
    for prediction, truth in pairs:
        counted.update(prediction, truth)
    return counted.compute()


def oracle(name: str):
    path = ORACLE / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return json.loads(path.read_text())


def as_void(mask):
    """CamVid's id 11 as drivetrain's void."""
    return np.where(np.asarray(mask) == 11, IGNORE, mask).astype(np.uint8)


def oracle_pair(name: str):
    read = lambda folder: as_void(cv2.imread(str(ORACLE / folder / f"{name}.png"), cv2.IMREAD_UNCHANGED))
    return pair(name, read("predictions"), read("ground_truth"))


def agrees(got, expected):
    for name, value in expected["iou"].items():
        assert got["iou"][name] == (None if value is None else pytest.approx(value, abs=1e-12)), name
    for name in ("miou", "pixel_accuracy"):
        assert got[name] == (None if expected[name] is None else pytest.approx(expected[name], abs=1e-12)), name


def test_agrees_with_the_cityscapes_evaluator_on_camvid():
    expected = oracle("expected.json")
    names = (ORACLE / "ids.txt").read_text().split()
    counted = metric()
    for name in names:
        counted.update(*oracle_pair(name))
    got, matrix = counted.compute(), np.array(expected["all"]["numpy_only"]["confusion_rows_gt_cols_pred"])
    agrees(got, expected["all"])
    summed = Confusions((kept for _, kept in counted.state().values()), len(CAMVID))
    assert np.array_equal(summed.total(np.ones(len(names), np.int64)), matrix[:11])
    assert got["mean_accuracy"] == pytest.approx(expected["all"]["numpy_only"]["mean_class_accuracy"], abs=1e-12)
    assert got["frames"] == len(names) and got["at"] == "source"
    agrees(figures(*map(oracle_pair, names[:2])), expected["first_2_images"])


@pytest.mark.parametrize("case", ["class_absent_everywhere", "predicted_but_absent", "wrong_only_where_ignored",
                                  "void_predicted_on_valid", "all_ignored", "nothing_right"])  # fmt: skip
def test_agrees_with_the_cityscapes_evaluator_at_the_edges(case):
    masks = oracle("edge.json")[case]
    agrees(figures(pair(case, as_void(masks["pred"]), as_void(masks["gt"]))), oracle("expected.json")["edge"][case])


masks = st.lists(st.tuples(st.sampled_from([0, 1, 2, IGNORE]), st.sampled_from([0, 1, 2, IGNORE])), min_size=6, max_size=6)


@settings(max_examples=50)
@given(st.lists(masks, min_size=1, max_size=5))
def test_any_share_among_ranks_gives_the_same_figures(frames):
    pairs = [pair(str(k), [[p for p, _ in f]], [[t for _, t in f]]) for k, f in enumerate(frames)]
    got = check_metric(lambda: metric("abc"), pairs, "miou")
    predicted, truth = (np.array([[pixel[i] for pixel in f] for f in frames]) for i in (0, 1))
    valid = truth != IGNORE
    for number, name in enumerate("abc"):  # straight from the definition
        hit, either = (predicted == number) & (truth == number), ((predicted == number) & valid) | (truth == number)
        assert got["iou"][name] == (hit.sum() / either.sum() if either.any() else None)


def test_pixels_that_nobody_labelled_do_not_count():
    predicted, truth = np.zeros((4, 4)), np.zeros((4, 4))
    truth[:2] = 1
    regions = np.array([[0, 0, 4, 1.5]])  # over the wrong half, by half a pixel into its second row
    assert figures(pair("a", predicted, truth, ignore_regions=regions), classes="ab")["miou"] == 1
    only_a = {TASK: ("a",)}
    assert figures(pair("a", predicted, truth, labelled_classes=only_a), classes="ab")["iou"] == {"a": 1, "b": None}
    assert truth[0, 0] == 1  # the frame's own mask is left alone


def test_the_drivable_area_has_one_of_its_own():
    counted = build(MiouConfig(), MetricContext("drivable_area", ("direct", "alternative")))
    masks = np.array([[0, 0, 1, 1]], np.uint8), np.array([[0, 1, 1, IGNORE]], np.uint8)
    said, truth = (each(semantic=1 - mask, drivable=mask) for each, mask in zip((CameraLabels, Camera), masks))
    counted.update(Prediction("a", {"cam": said}), Frame("a", cameras={"cam": truth}))
    assert counted.compute()["drivable_miou"] == counted.compute()["iou"]["direct"] == 0.5


def test_a_stated_size_resamples_both_and_says_so():
    truth = np.repeat(np.repeat(np.array([[0, 1], [1, 0]]), 4, 0), 4, 1)
    predicted = truth.copy()
    predicted[:4, 0] = 1  # a column that is not under any pixel's centre at 2 x 2
    got = figures(pair("a", predicted, truth), classes="ab", size=[2, 2])
    assert got["at"] == "2x2" and got["miou"] == 1
    assert figures(pair("a", predicted, truth), classes="ab")["miou"] < 1


def test_broken_masks_are_refused():
    with pytest.raises(ValueError, match=r"frame 'k', cam: the predicted mask is \(2, 2\), its truth \(2, 3\)"):
        figures(pair("k", np.zeros((2, 2)), np.zeros((2, 3))))
    with pytest.raises(ValueError, match=r"truth holds ids \[7\], outside the 2 classes"):
        figures(pair("k", np.zeros((1, 2)), [[0, 7]]), classes="ab")
    with pytest.raises(ValidationError, match="greater than 0"):
        MiouConfig(size=[0, 240])


def test_the_kit_catches_a_metric_that_is_not_exact_over_ranks():
    class Forgetful:
        def __init__(self):
            self.whole = metric("ab")
            self.update, self.state, self.compute = self.whole.update, self.whole.state, self.whole.compute

        def merge(self, state):
            self.whole._kept, self.whole._scored = state, None  # in place of what it had

    pairs = [pair(str(k), [[k % 2, 0]], [[1, 0]]) for k in range(4)]
    assert check_metric(lambda: metric("ab"), pairs, "miou")["frames"] == 4
    with pytest.raises(AssertionError, match="merged over shares of"):
        check_metric(Forgetful, pairs, "miou")
