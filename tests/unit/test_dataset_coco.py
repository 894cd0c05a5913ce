"""COCO jsons: real pictures, made ones beside pycocotools' reading, and what labelling tools add."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools.coco import COCO
from unit import layouts_made as made

from drivetrain import DataError
from drivetrain.data import convert_part
from drivetrain.datasets.coco.config import CocoConfig
from drivetrain.datasets.coco.dataset import build
from drivetrain.testing.datasets import check_dataset


@pytest.fixture
def root(tmp_path, synthetic_frames):
    made.write_coco(tmp_path, synthetic_frames)
    return tmp_path


def changed(root, change):
    """The json, changed in place; returns the frames."""
    path = root / "annotations" / "instances_val2017.json"
    said = json.loads(path.read_text())
    change(said)
    path.write_text(json.dumps(said))
    return check_dataset(build(CocoConfig()), root, "val2017")


def test_boxes_of_real_pictures(shared):
    config = CocoConfig(annotations="derived_boxes/{split}.json", images="CamVid")
    dataset, root = build(config), shared / "data" / "camvid"
    frames = check_dataset(dataset, root, "val", limit=10)
    said = COCO(str(root / "derived_boxes" / "val.json"))
    assert len(dataset.index(root, "val")) == len(said.imgs)
    for frame, (number, image) in zip(frames, said.imgs.items()):
        anns = [a["bbox"] for a in said.imgToAnns[number]]
        assert image["file_name"].startswith(frame.key) and len(frame.cameras["cam_front"].boxes) == len(anns)


def test_the_official_toolkit_reads_the_same(root):
    official = COCO(str(root / "annotations" / "instances_val2017.json"))
    dataset = build(CocoConfig())
    for number, ref in enumerate(dataset.index(root, "val2017")):
        boxes = dataset.load(ref).cameras["cam_front"].boxes
        anns = official.loadAnns(official.getAnnIds(7 * number + 3))
        assert boxes.names == [official.cats[a["category_id"]]["name"] for a in anns]
        np.testing.assert_allclose(boxes.xyxy[:, 2:] - boxes.xyxy[:, :2], [a["bbox"][2:] for a in anns], atol=1e-3)
        assert [a["area"] for a in boxes.attributes] == [a["area"] for a in anns]
        assert boxes.ignore.tolist() == [bool(a["iscrowd"]) for a in anns]
    assert {info.name: info.id for info in dataset.classes["object_detection"]} == {
        cat["name"]: number for number, cat in official.cats.items()
    }


def test_boxes_are_cut_to_the_picture_and_nothing_is_made_of_those_without_area(root):
    def change(said):
        said["annotations"] = [{"id": i, "image_id": 3, "category_id": 10, "bbox": bbox} for i, bbox in
                               enumerate([[-5, -5, 10, 20], [180, 100, 40, 40], [4, 4, 0, 9], [300, 10, 5, 5]])]  # fmt: skip

    first, second, *_ = (frame.cameras["cam_front"].boxes for frame in changed(root, change))
    assert first.xyxy.tolist() == [[0, 0, 5, 15], [180, 100, 192, 128]] and len(second) == 0


def test_absent_is_not_empty_and_tools_may_say_more(root):
    def change(said):
        said["images"][0]["labelled"] = False
        said["images"][1] |= {"ignore_regions": [[1, 2, 30, 40]], "video_id": 12}
        said["images"][2] |= {"neg_category_ids": [10], "not_exhaustive_category_ids": [13]}
        said["annotations"] = [
            {"id": 1, "image_id": 10, "category_id": 10, "bbox": [1, 1, 9, 9], "track_id": 4, "truncation": 0.5, "ignore": 1,
             "attributes": {"colour": "red"}},
            {"id": 2, "image_id": 17, "category_id": 13, "bbox": [1, 1, 9, 9]},
        ]  # fmt: skip

    frames = changed(root, change)
    first, second, third, fourth = (frame.cameras["cam_front"] for frame in frames)
    assert first.boxes is None and second.ignore_regions.tolist() == [[1, 2, 30, 40]] and frames[1].scene == "12"
    assert second.boxes.track_ids.tolist() == [4] and second.boxes.truncation.tolist() == [0.5]
    assert second.boxes.ignore.tolist() == [True] and second.boxes.attributes == [{"colour": "red"}]
    assert third.labelled_classes == {"object_detection": ("car",)} and len(fourth.boxes) == 0 and not fourth.labelled_classes


def test_stated_areas_follow_a_resize(root, tmp_path):
    dataset = build(CocoConfig())
    shards = convert_part("coco", dataset, root, tmp_path / "half", "val2017", 1, 8, resize="96x64")
    half = shards.frame(0).cameras["cam_front"].boxes
    whole = dataset.load(dataset.index(root, "val2017")[0]).cameras["cam_front"].boxes
    np.testing.assert_allclose([a["area"] for a in half.attributes], [a["area"] / 4 for a in whole.attributes])
    np.testing.assert_allclose(half.xyxy, whole.xyxy / 2, rtol=1e-6)


def test_the_json_itself_and_a_tools_layout(root, tmp_path):
    json_beside = root / "val2017" / "_annotations.coco.json"
    (root / "annotations" / "instances_val2017.json").rename(json_beside)
    dataset = build(CocoConfig())
    assert len(dataset.index(root, "val2017")) == len(dataset.index(json_beside, "any")) == 4


def test_what_is_wrong_is_named(root):
    dataset = build(CocoConfig())
    with pytest.raises(DataError, match=r"missing annotations/instances_val.json or (.|\n)*found: annotations/instances_v"):
        dataset.index(root, "val")
    with pytest.raises(DataError, match=r"000000000000.jpg, is missing\n(.|\n)*images=PATH"):
        build(CocoConfig(images="nowhere")).index(root, "val2017")
    with pytest.raises(DataError, match=r"000000000001.jpg is 192x128, stated is 384x256"):
        changed(root, lambda said: said["images"][1].update(width=384, height=256))
    with pytest.raises(DataError, match=r"is no COCO json: KeyError: 99"):
        changed(root, lambda said: said["annotations"][0].update(category_id=99))
    with pytest.raises(DataError, match="is no COCO json: missing categories"):
        changed(root, lambda said: said.pop("categories"))
    (root / "val2017" / "000000000002.jpg").unlink()
    (root / "annotations" / "instances_val2017.json").write_text("{")
    with pytest.raises(DataError, match="is not JSON"):
        dataset.index(root, "val2017")
