"""The metric ``kitti_ap`` against the devkit's numbers through Frames, and what a Frame's labels mean to it."""

from __future__ import annotations

import numpy as np
import pytest
from unit.score_oracles import agrees, expected_of, ids_of, oracle

from drivetrain import Boxes, Camera, CameraLabels, Frame, MetricContext, Prediction, RecipeError
from drivetrain.plugins.metrics.kitti.metric import build
from drivetrain.plugins.metrics.kitti.scorer import read_objects
from drivetrain.testing.metrics import check_metric

TASK = "object_detection"
NAMES = {name.lower(): name for name in ("Car", "Pedestrian", "Cyclist", "Van", "Person_sitting", "Truck", "Tram", "Misc")}


def metric(*classes):
    return build(None, MetricContext(TASK, classes))


def boxes_of(objects, **more):
    kept = objects.names != "dontcare"
    return Boxes(objects.boxes[kept], [NAMES[name] for name in objects.names[kept]], truncation=objects.truncation[kept],
                 attributes=[{"alpha": a, "occluded": o} for a, o in zip(objects.alpha[kept], objects.occlusion[kept])],
                 **more)  # fmt: skip


def frames_of(folder):
    for key in ids_of(folder):
        labels, found = read_objects(folder / "label_2" / f"{key}.txt", 15), read_objects(folder / "data" / f"{key}.txt", 16)
        truth, regions = boxes_of(labels), labels.boxes[labels.names == "dontcare"]
        truth.ignore = np.array([name not in ("Car", "Pedestrian", "Cyclist") for name in truth.names], bool)
        yield (Prediction(key, {"cam": CameraLabels(boxes_of(found, scores=found.score))}),
               Frame(key, cameras={"cam": Camera(truth, ignore_regions=regions)}))  # fmt: skip


def test_official_files_as_frames_get_the_devkits_numbers(shared):
    folder = oracle(shared, "kitti_object")
    counted = metric("car", "pedestrian", "cyclist")
    for prediction, truth in frames_of(folder):
        counted.update(prediction, truth)
    got, expected = counted.compute(), expected_of(folder)["ap"]
    agrees(got["ap"], {name: {kind: kinds[kind] for kind in ("bbox", "aos")} for name, kinds in expected.items()}, 1e-6)
    assert got["frames"] == 300
    assert got["kitti_ap"] == pytest.approx(np.mean([kinds["bbox"]["moderate"]["AP_R40"] for kinds in expected.values()]))


CAR, OTHER = (0, 0, 100, 100), (300, 0, 400, 100)


def pair(key, found, labels, **camera):
    said = Boxes([b[:4] for b in found], [b[4] for b in found], scores=[b[5] for b in found])
    return Prediction(key, {"cam": CameraLabels(said)}), Frame(key, cameras={"cam": Camera(labels, **camera)})


def ap(*pairs, classes=("car", "van")):
    counted = metric(*classes)
    for prediction, truth in pairs:
        counted.update(prediction, truth)
    return counted.compute()["ap"]["Car"]["bbox"]["moderate"]["AP_R11"]


def test_what_the_labels_of_a_frame_mean():
    hit, wrong = (*CAR, "car", 0.5), (*OTHER, "car", 0.9)
    one = 100 / 11  # a single true positive is one of eleven recalls
    both = lambda name, ignore: Boxes([CAR, OTHER], ["car", name], ignore=[False, ignore])
    assert ap(pair("a", [hit, wrong], Boxes([CAR], ["car"]))) == pytest.approx(one / 2)
    assert ap(pair("a", [hit, wrong], both("van", False))) == pytest.approx(one)  # a neighbour
    assert ap(pair("a", [hit, wrong], both("car", True))) == pytest.approx(one)
    assert ap(pair("a", [hit, wrong], both("zeppelin", True))) == pytest.approx(one)
    assert ap(pair("a", [hit, wrong], both("Truck", True))) == pytest.approx(one / 2)  # as in the devkit: another class
    assert ap(pair("a", [hit, wrong], Boxes([CAR], ["car"]), ignore_regions=np.array([OTHER]))) == pytest.approx(one)
    hidden = Boxes([CAR, OTHER], ["car", "car"], occlusion=[0, 1])
    assert ap(pair("a", [hit, wrong], hidden)) == pytest.approx(one)  # largely hidden: hard alone
    elsewhere = pair("b", [wrong], Boxes([], []), labelled_classes={TASK: ("van",)})
    assert ap(pair("a", [hit], Boxes([CAR], ["car"])), elsewhere) == pytest.approx(one)


def test_exact_over_ranks_and_mistakes_named():
    chance = np.random.default_rng(0)
    some = lambda: Boxes([CAR, OTHER], ["car", "Pedestrian"])
    found = lambda: [(*CAR, "car", chance.choice([0.3, 0.6])), (*OTHER, chance.choice(["car", "Pedestrian"]), 0.6)]
    pairs = [pair(str(k), found(), some()) for k in range(5)]
    assert check_metric(lambda: metric("car", "Pedestrian"), pairs, "kitti_ap")["frames"] == 5
    with pytest.raises(RecipeError, match="kitti_ap scores Car, Pedestrian, Cyclist, none of the classes bus"):
        metric("bus")
    with pytest.raises(ValueError, match="frame 'k', cam: the prediction has no boxes with scores"):
        metric("car").update(Prediction("k", {"cam": CameraLabels(some())}), Frame("k", cameras={"cam": Camera(some())}))
