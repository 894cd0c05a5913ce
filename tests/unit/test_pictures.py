"""Pictures for people: what is drawn is there, in the right colour, and the files are whole."""

from __future__ import annotations

import json
import math

import cv2
import numpy as np
import pytest

from drivetrain import Boxes, CameraLabels, ClassInfo, Lanes, Panel
from drivetrain.curves import draw_curves
from drivetrain.pictures import compare, contact_sheet, draw_labels, palette, save_png

NAMES = [f"class_{i}" for i in range(24)]


def lab(colors):
    return cv2.cvtColor(np.float32([colors]) / 255, cv2.COLOR_RGB2LAB)[0]


def test_colours_are_the_datasets_own_or_far_apart():
    own = palette([ClassInfo("a", 0, (1, 200, 3)), ClassInfo("b", 1), ClassInfo("black", 2, (0, 0, 0))])
    assert own[0].tolist() == [1, 200, 3] and own[1:].max(1).min() > 100
    colors = lab(palette(NAMES))
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=-1) + 1e9 * np.eye(24)
    assert distance.min() > 15 and np.array_equal(palette(NAMES[:5]), palette(NAMES)[:5])


def test_masks_are_painted_by_id_and_the_void_is_left():
    image = np.full((2, 3, 3), 100, np.uint8)
    labels = CameraLabels(semantic=np.array([[5, 7, 255], [5, 0, 1]], np.uint8))
    classes = {"semantic_segmentation": [ClassInfo("a", 5, (200, 0, 0)), ClassInfo("void", 7, ignore=True)]}
    out = draw_labels(image, labels, classes, alpha=0.5)
    assert out[:, 0].tolist() == [[150, 50, 50]] * 2 and (out[:, 1:] == 100).all()
    assert (image == 100).all()
    names = draw_labels(image, CameraLabels(semantic=np.zeros((2, 3), np.uint8)), {"semantic_segmentation": ["a"]}, alpha=1)
    assert (names == palette(["a"])[0]).all()


@pytest.mark.parametrize("height, width", [(180, 240), (720, 1280)])
def test_boxes_are_outlined_where_they_are_and_named(height, width):
    image = np.zeros((height, width, 3), np.uint8)
    x1, y1, x2, y2 = width // 4, height // 2, width // 2, height - 5
    boxes = Boxes([[x1, y1, x2, y2]], ["car"], scores=[0.9])
    out = draw_labels(image, CameraLabels(boxes), {"object_detection": ["car"]})
    color = palette(["car"])[0]
    assert (out[y1 + 3 : y2 - 3, x1] == color).all() and (out[y2 - 1, x1 + 3 : x2 - 3] == color).all()
    assert not out[y1 + 5 : y2 - 5, x1 + 5 : x2 - 5].any()
    name = out[:y1, :][np.ix_((out[:y1] == color).all(2).any(1), (out[:y1] == color).all(2).any(0))]
    assert name.shape[0] >= 10 and (name == 255).all(2).any()  # a filled plate with white text on it, above the box
    assert draw_labels(image, CameraLabels(Boxes([[-9, -9, 3, 3]], ["car"])), {"object_detection": ["car"]}).any()
    ignored = Boxes([[x1, y1, x2, y2]], ["strange"], ignore=[True])
    assert (draw_labels(image, CameraLabels(ignored), {"object_detection": ["car"]})[y1 + 3 : y2 - 3, x1] == 128).all()


def test_what_would_cover_one_another_stands_side_by_side():
    image = np.full((40, 60, 3), 100, np.uint8)
    classes = {"semantic_segmentation": ["a"], "drivable_area": ["b"], "lane_detection": ["left"], "depth_estimation": []}
    line = Lanes([[[10, 40], [10, 0]]], ["left"])
    depth = np.where(np.arange(60) < 30, 4.0, 60.0)[None].repeat(40, 0).astype(np.float32)
    depth[0] = 0
    mask = np.zeros((40, 60), np.uint8)
    out = draw_labels(image, CameraLabels(semantic=mask, drivable=mask, lanes=line, depth=depth), classes)
    first, second, third = out[:, :60], out[:, 60:120], out[:, 120:]
    color = palette(["left"])[0].astype(int)
    assert (np.abs(first[5:35, 9:11].astype(int) - color).max(2) < 60).any(1).all() and (second[5:35] == second[5, 5]).all()
    near, far = third[20, 5].astype(int), third[20, 55].astype(int)
    assert near[0] > near[2] and far[2] > far[0] and not third[0].any(), "red is near, blue far, black unknown"
    alone = draw_labels(image, CameraLabels(depth=depth), classes)
    assert alone.shape == (40, 120, 3) and (alone[:, :60] == 100).all()
    both = compare(Panel("k", image, CameraLabels(lanes=line, depth=depth), None), classes)
    assert both.shape[1] > 2 * 2 * 480, "the truth is twice as wide, at eight times the size"


def test_a_contact_sheet_holds_every_tile():
    tiles = [np.full((40, 60, 3), 10 + i, np.uint8) for i in range(5)]
    sheet = contact_sheet(tiles, 3, ["a very long caption that cannot fit over a tile", *"bcde"])
    assert [int((sheet == 10 + i).all(2).sum()) for i in range(5)] == [40 * 60] * 5


def test_compare_sets_side_by_side_with_a_legend_of_what_is_shown():
    mask, image = np.zeros((90, 120), np.uint8), np.full((90, 120, 3), 128, np.uint8)
    classes = {"semantic_segmentation": ["road", "car"], "object_detection": NAMES}
    both = compare(Panel("k", image, CameraLabels(semantic=mask), CameraLabels(semantic=mask)), classes)
    alone = compare(Panel("k", image, CameraLabels(semantic=mask), None), classes)
    assert both.shape[1] > 3 * 480 > alone.shape[1] > 2 * 480  # small pictures are enlarged
    painted = draw_labels(image[:1, :1], CameraLabels(semantic=mask[:1, :1]), classes)[0, 0]
    assert (both == painted).all(2).sum() == 2 * 480 * 360
    legend = (both[-60:] == palette(["road", "car"])[1]).all(2)
    assert legend.any()  # a class that is in no picture is in the legend
    boxes = CameraLabels(Boxes(np.zeros((0, 4)), []), mask)
    assert compare(Panel("k", image, boxes, None), classes).shape[0] > alone.shape[0]  # the legend of the second task


def test_files_are_whole(tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    save_png(tmp_path / "new" / "a.png", image)
    assert np.array_equal(cv2.imread(str(tmp_path / "new" / "a.png"))[..., ::-1], image)
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.png"]


def test_curves_of_a_run(tmp_path):
    training = [{"kind": "training", "step": s, "loss": 1 / s, "losses": {"ce": 1 / s, "aux": 0.1}, "lr": 1e-3,
                 "samples": "5f3a", "skipped": False} for s in range(1, 120)]  # fmt: skip
    training[40]["loss"] = math.nan
    results = {"miou": {"miou": 0.4, "iou": {"car": 0.4, "bus": None}, "frames": 60, "at": "source"}}
    old = {"kind": "training", "step": 3, "gone": 1.0, "superseded": True}
    records = [*training, {"kind": "evaluation", "step": 100, **results}, old]
    assert draw_curves(json.loads(json.dumps(records)), tmp_path / "a.png") == [
        "loss", "losses", "lr", "val/miou/iou", "val/miou/miou",
    ]  # fmt: skip
    assert draw_curves([], tmp_path / "b.png") == []
    drawn, empty = (cv2.imread(str(tmp_path / name)) for name in ("a.png", "b.png"))
    assert (drawn != 255).any() and drawn.shape[1] > 2 * empty.shape[1]
