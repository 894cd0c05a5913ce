"""BDD100K in its official layouts."""

from __future__ import annotations

import json
import re
import shutil

import cv2
import numpy as np
import pytest
from unit import layouts_made as made

from drivetrain import DataError, RecipeError
from drivetrain.data import open_dataset
from drivetrain.testing.datasets import check_dataset


def dataset(*labels):
    return open_dataset("bdd100k", {"labels": labels} if labels else {})[1]


def black(width, height):
    return cv2.imencode(".jpg", np.zeros((height, width, 3), np.uint8))[1].tobytes()


@pytest.fixture
def root(tmp_path, synthetic_frames):
    made.write_bdd100k(tmp_path, synthetic_frames)
    return tmp_path


def test_boxes_tags_and_attributes(root, synthetic_frames):
    for frame, source in zip(check_dataset(dataset(), root, "val"), synthetic_frames):
        boxes, true = frame.cameras["cam_front"].boxes, source.cameras["cam_front"].boxes
        assert frame.tags == {"weather": "rainy", "place": "city street"} and frame.scene == frame.key
        names = [{"person": "pedestrian"}.get(made.BDD_NAMES[name], made.BDD_NAMES[name]) for name in true.names]
        assert boxes.names == [*names, "traffic light", "car", "trailer"]
        np.testing.assert_allclose(boxes.xyxy[:-3], true.xyxy, atol=1e-4)
        assert boxes.xyxy[-1].tolist() == [1, 2, 10, 12.5]
        assert boxes.ignore.tolist() == [False] * (len(true) + 1) + [True, True]
        assert boxes.attributes[:-3] == [{"occluded": True, "truncated": False}] * len(true)
        assert boxes.attributes[-3] == {"trafficLightColor": "green"}
        assert frame.cameras["cam_front"].semantic is None


def test_the_three_layouts_of_the_boxes_say_the_same(root, synthetic_frames):
    newest = check_dataset(dataset(), root, "val")
    rows = json.loads((root / "labels/det_20/det_val.json").read_text())
    shutil.rmtree(root / "labels" / "det_20")
    made.save(root / "labels/bdd100k_labels_images_val.json", json.dumps({"frames": rows}))
    older = check_dataset(dataset(), root, "val")
    (root / "labels" / "bdd100k_labels_images_val.json").unlink()
    for row in rows:
        one = {"name": row["name"][:-4], "attributes": row["attributes"], "frames": [{"objects": row["labels"]}]}
        made.save(root / f"labels/100k/val/{row['name'][:-4]}.json", json.dumps(one))
    oldest = check_dataset(dataset(), root, "val")
    for frames in zip(newest, older, oldest, strict=True):
        first, *others = (frame.cameras["cam_front"].boxes for frame in frames)
        assert all(np.array_equal(first.xyxy, boxes.xyxy) and first.names == boxes.names for boxes in others)


def test_the_official_example_with_a_class_that_is_ignored_and_a_frame_without_labels(shared, tmp_path):
    example = shared / "data" / "bdd100k_labels_only" / "label_testcases" / "example_ignore_annotation.json"
    made.save(tmp_path / "labels/det_20/det_val.json", example.read_bytes())
    for row in json.loads(example.read_text()):
        made.save(tmp_path / "images/100k/val" / row["name"], black(1280, 720))
    first, second = check_dataset(dataset(), tmp_path, "val")
    boxes = first.cameras["cam_front"].boxes
    assert (first.key, first.scene) == ("00091078-875c1f73-0000166", "00091078-875c1f73")
    assert boxes.names == ["other person", "pedestrian"] and boxes.ignore.tolist() == [True, False]
    assert boxes.attributes[0] == {"occluded": True, "truncated": False} and len(second.cameras["cam_front"].boxes) == 0


def test_drivable_area_and_semantic_masks_stay_the_files_that_they_are(root, synthetic_frames, shared):
    both = dataset("detection", "drivable")
    frame = check_dataset(both, root, "val")[0]
    mask = root / "labels/drivable/masks/val" / f"{frame.key}.png"
    assert frame.cameras["cam_front"].drivable.data == mask.read_bytes() and len(frame.cameras["cam_front"].boxes) > 3
    assert [c.name for c in both.classes["drivable_area"]] == ["direct", "alternative", "background"]
    assert frame.cameras["cam_front"].semantic is None and "semantic_segmentation" not in both.classes
    made.write_bdd100k_semantic(root, synthetic_frames)
    real = shared / "data/bdd100k_labels_only/label_testcases/semseg_mask.png"
    height, width = cv2.imread(str(real), cv2.IMREAD_UNCHANGED).shape
    name = f"{0:08x}-0000abcd"
    made.save(root / f"images/10k/val/{name}.jpg", black(width, height))
    shutil.copy(real, root / f"labels/sem_seg/masks/val/{name}.png")
    frame = check_dataset(dataset("semantic"), root, "val")[0]
    assert frame.cameras["cam_front"].boxes is None and frame.cameras["cam_front"].semantic.data == real.read_bytes()


def test_the_test_split_has_only_pictures(root):
    (root / "images" / "100k" / "val").rename(root / "images" / "100k" / "test")
    frame = check_dataset(dataset("detection", "drivable"), root, "test")[0]
    assert frame.cameras["cam_front"].boxes is None and frame.cameras["cam_front"].drivable is None


def test_lanes_of_the_three_layouts(root):
    """A straight line from far to near, a cubic Bezier curve, and two polygons that are no lanes."""
    name = f"{0:08x}-0000abcd"
    line, curve = [[90, 10], [60, 100]], [[20, 120], [20, 90], [40, 40], [60, 20]]
    said = {"laneDirection": "parallel", "laneStyle": "dashed"}
    found = [("single white", line, "LL"), ("road curb", curve, "LCCC"), ("area/drivable", line, "LL")]
    labels = [{"category": kind, "attributes": said, "poly2d": [{"vertices": at, "types": types, "closed": False}]}
              for kind, at, types in found]  # fmt: skip
    path = root / "labels/lane/polygons/lane_val.json"
    made.save(path, json.dumps([{"name": f"{name}.jpg", "labels": labels}]))
    (frame,) = check_dataset(dataset("lanes"), root, "val")
    lanes = frame.cameras["cam_front"].lanes
    assert lanes.names == ["single white", "road curb"] and lanes.attributes == [said, said]
    assert lanes.points[0].tolist() == [[60, 100], [90, 10]] and len(lanes.points[1]) == 9
    assert lanes.points[1][4].tolist() == [20 / 8 + 60 / 8 + 120 / 8 + 60 / 8, 120 / 8 + 270 / 8 + 120 / 8 + 20 / 8]
    both = check_dataset(dataset("detection", "drivable", "lanes"), root, "val")
    assert [frame.cameras["cam_front"].lanes is None for frame in both] == [False, True, True, True]
    rows = [{"name": f"{name}.jpg", "labels": [one | {"category": "lane", "attributes": said | {"laneTypes": one["category"]}}
                                               for one in labels]}]  # fmt: skip
    path.unlink()
    made.save(root / "labels/bdd100k_labels_images_val.json", json.dumps(rows))
    older = check_dataset(dataset("lanes"), root, "val")[0].cameras["cam_front"].lanes
    (root / "labels/bdd100k_labels_images_val.json").unlink()
    objects = [{"category": f"lane/{kind}", "poly2d": [[*point, type] for point, type in zip(at, types)]}
               for kind, at, types in found[:2]]  # fmt: skip
    made.save(root / f"labels/100k/val/{name}.json", json.dumps({"name": name, "frames": [{"objects": objects}]}))
    oldest = check_dataset(dataset("lanes"), root, "val")[0].cameras["cam_front"].lanes
    for other in (older, oldest):
        assert other.names == lanes.names and all(np.array_equal(a, b) for a, b in zip(other.points, lanes.points))
    objects[0]["poly2d"] = [{"vertices": [[1, 2, 3]], "types": "L"}]
    made.save(root / f"labels/100k/val/{name}.json", json.dumps({"name": name, "frames": [{"objects": objects}]}))
    with pytest.raises(DataError, match="a poly2d is no line"):
        dataset("lanes").load(dataset("lanes").index(root, "val")[0])


def test_what_is_wrong_is_named(root):
    with pytest.raises(DataError, match="did you mean 'val'"):
        dataset().index(root, "vall")
    with pytest.raises(DataError, match=r"missing images/100k/train/, labels/det_20/det_train.json"):
        dataset().index(root, "train")
    with pytest.raises(RecipeError, match=r"labels: (.|\n)*name them alone"):
        dataset("semantic", "drivable")
    path = root / "labels" / "det_20" / "det_val.json"
    text = path.read_text()
    misspelt = re.sub('"(rider|person|truck|car|traffic sign)"', '"ryder"', text)
    corner = text.replace('"x2"', '"x3"')
    for wrong, told in ((misspelt, "abcd.jpg: no class 'ryder'\n  did you mean 'rider'"), (corner, "no x1 y1 x2 y2: KeyError")):
        path.write_text(wrong)
        with pytest.raises(DataError, match=told):
            dataset().load(dataset().index(root, "val")[0])
    path.write_text(text[:-100])
    with pytest.raises(DataError, match="is not JSON"):
        dataset().index(root, "val")
    path.write_text("{}")
    with pytest.raises(DataError, match="is no JSON array, and has no 'frames'"):
        dataset().index(root, "val")
    path.write_text(text)
    next((root / "images" / "100k" / "val").iterdir()).unlink()
    with pytest.raises(DataError, match="names 4 files, 1 of them are not there"):
        dataset().index(root, "val")
