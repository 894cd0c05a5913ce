"""COCO's figures against pycocotools' own on official files, and what a Frame's labels mean to them."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain import Boxes, Camera, CameraLabels, DataError, Frame, MetricContext, Prediction
from drivetrain.plugins.metrics.coco_map.metric import build
from drivetrain.testing.metrics import check_metric

TASK = "object_detection"
SHARED = Path(os.environ.get("DRIVETRAIN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
ORACLE = SHARED / "oracles" / "coco_detection"
NAMES = {
    "coco_map": "AP", "AP50": "AP50", "AP75": "AP75", "APs": "AP_small", "APm": "AP_medium", "APl": "AP_large",
    "AR1": "AR_1", "AR10": "AR_10", "AR100": "AR_100", "ARs": "AR_small", "ARm": "AR_medium", "ARl": "AR_large",
}  # fmt: skip


def pair(key, found: Boxes, labelled: Boxes | None, **camera):
    return Prediction(key, {"cam": CameraLabels(found)}), Frame(key, cameras={"cam": Camera(boxes=labelled, **camera)})


def figures(classes, *pairs):
    metric = build(None, MetricContext(TASK, tuple(classes)))
    for prediction, truth in pairs:
        metric.update(prediction, truth)
    return metric.compute()


def found(*boxes):
    """Predicted boxes from (x1, y1, x2, y2, name, score)."""
    return Boxes([b[:4] for b in boxes], [b[4] for b in boxes], scores=[b[5] for b in boxes])


def labelled(*boxes, ignore=None):
    return Boxes([b[:4] for b in boxes], [b[4] for b in boxes], ignore=ignore)


def pairs_of_coco(truth: dict, detections: list):
    """Official COCO json as pairs; keys sort like image ids, since ties are ranked by them."""
    names = {c["id"]: c["name"] for c in truth["categories"]}
    rows = [defaultdict(list), defaultdict(list)]
    for by_image, entries in zip(rows, (truth["annotations"], detections)):
        for row in entries:
            by_image[row["image_id"]].append(row)
    for image in truth["images"]:
        here, seen = (by_image[image["id"]] for by_image in rows)
        labels = Boxes(xyxy(here), [names[r["category_id"]] for r in here], ignore=[r["iscrowd"] for r in here],
                       attributes=[{"area": r["area"]} for r in here])  # fmt: skip
        scored = Boxes(xyxy(seen), [names[r["category_id"]] for r in seen], scores=[r["score"] for r in seen])
        yield pair(f"{image['id']:09d}", scored, labels)


def xyxy(rows):
    boxes = np.array([r["bbox"] for r in rows], np.float64).reshape(-1, 4)
    return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)


def oracle(name):
    path = ORACLE / name
    if not path.exists():
        pytest.skip(f"{path} is not there")
    return json.loads(path.read_text())


def agrees(got, expected):
    for ours, theirs in NAMES.items():
        value = expected[theirs]
        assert got[ours] == (None if value == -1 else pytest.approx(value, abs=1e-9)), ours


@pytest.mark.parametrize("main, file", [("main", "detections.json"), ("ties", "detections_ties.json")])
def test_agrees_with_pycocotools_on_official_files(main, file):
    truth, expected = oracle("ground_truth.json"), oracle("expected.json")[main]
    classes = [c["name"] for c in truth["categories"]]
    got = figures(classes, *pairs_of_coco(truth, oracle(file)))
    agrees(got, expected["stats"])
    for name, values in expected["per_category"].items():
        assert got["ap"][name] == (None if values["AP"] == -1 else pytest.approx(values["AP"], abs=1e-9)), name
    assert got["frames"] == len(truth["images"])


def test_agrees_with_pycocotools_at_the_edges():
    expected = oracle("expected.json")["edge"]
    for name, case in oracle("edge/cases.json").items():
        agrees(figures("ab", *pairs_of_coco(case["ground_truth"], case["detections"])), expected[name])


def test_nothing_found_is_zero_where_there_is_something_to_find():
    got = figures(["car", "bus"], pair("a", found(), labelled((0, 0, 50, 50, "car"))))
    assert got["coco_map"] == 0 and got["ap"] == {"car": 0, "bus": None} and got["APs"] is None


WRONG = (200, 200, 260, 260)
CAR = (10, 10, 60, 60, "car")


def test_ignored_boxes_and_regions_forgive_detections_and_ask_for_none():
    hit, wrong = (*CAR, 0.5), (*WRONG, "car", 0.9)
    assert figures(["car", "bus"], pair("a", found(hit, wrong), labelled(CAR)))["ap"]["car"] == pytest.approx(0.5)
    ignored = labelled(CAR, (190, 190, 300, 300, "DontCare"), ignore=[False, True])
    of_bus = labelled(CAR, (190, 190, 300, 300, "bus"), ignore=[False, True])
    regions = np.array([[190, 190, 300, 300]])
    assert figures(["car", "bus"], pair("a", found(hit, wrong), ignored))["ap"]["car"] == pytest.approx(1)
    assert figures(["car", "bus"], pair("a", found(hit, wrong), labelled(CAR), ignore_regions=regions))["ap"]["car"] == (
        pytest.approx(1)
    )
    assert figures(["car", "bus"], pair("a", found(hit, wrong), of_bus))["ap"]["car"] == pytest.approx(0.5)


def test_classes_that_were_not_looked_for_do_not_count():
    seen, only_bus = found((*CAR, 0.5), (*WRONG, "car", 0.9)), {TASK: ("bus",)}
    searched, not_searched = (
        pair("a", found((*CAR, 0.5)), labelled(CAR)),
        pair("b", seen, labelled(), labelled_classes=only_bus),
    )
    assert figures(["car", "bus"], searched, not_searched)["ap"]["car"] == pytest.approx(1)
    assert figures(["car", "bus"], searched, pair("b", seen, labelled()))["ap"]["car"] < 0.7  # empty is not absent
    assert figures(["car", "bus"], searched, pair("b", seen, None))["frames"] == 1


def test_mistakes_are_named():
    one = pair("a", found((*CAR, 0.5)), labelled(CAR))
    with pytest.raises(DataError, match="frame 'a' is evaluated twice"):
        figures(["car"], one, one)
    with pytest.raises(ValueError, match="frame 'a', cam: the prediction has no boxes with scores"):
        figures(["car"], pair("a", labelled(CAR), labelled(CAR)))
    with pytest.raises(ValueError, match=r"predicted of \['car'\], outside the classes \['bus'\]"):
        figures(["bus"], pair("a", found((*CAR, 0.5)), labelled()))


corner, side = st.integers(0, 60), st.integers(1, 60)
box = st.tuples(corner, corner, side, side, st.sampled_from(["car", "bus"]), st.sampled_from([0.1, 0.5, 0.5, 0.9]))
frames = st.lists(st.tuples(st.lists(box, max_size=4), st.lists(box, max_size=3)), min_size=1, max_size=4)


@settings(max_examples=25)
@given(frames, st.randoms(use_true_random=False))
def test_any_share_among_ranks_gives_the_same_figures(boxes, random):
    absolute = lambda rows: [(x, y, x + w, y + h, name, score) for x, y, w, h, name, score in rows]
    pairs = [pair(str(k), found(*absolute(f)), labelled(*absolute(t))) for k, (f, t) in enumerate(boxes)]
    got = check_metric(lambda: build(None, MetricContext(TASK, ("car", "bus"))), pairs, "coco_map")
    random.shuffle(pairs)
    assert figures(["car", "bus"], *pairs) == got  # ties are ranked by key, not by who came first
