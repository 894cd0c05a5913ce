"""Cityscapes in its official layout."""

from __future__ import annotations

import shutil

import cv2
import numpy as np
import pytest
from unit import layouts_made as made

from drivetrain import DataError, RecipeError, decode_pixels
from drivetrain.data import open_dataset
from drivetrain.datasets.cityscapes.classes import SEMANTIC
from drivetrain.testing.datasets import check_dataset


def dataset(**options):
    return open_dataset("cityscapes", options)[1]


@pytest.fixture
def root(tmp_path, synthetic_frames):
    made.write_cityscapes(tmp_path, synthetic_frames)
    return tmp_path


def test_the_classes_are_the_official_toolkits():
    official = pytest.importorskip("cityscapesscripts.helpers.labels").labels
    assert [(c.name, c.id) for c in SEMANTIC] == [(label.name, label.id) for label in official if label.id >= 0]
    assert [c.name for c in SEMANTIC if c.ignore] == [label.name for label in official if label.id >= 0 and label.ignoreInEval]
    assert all(c.color == label.color for c, label in zip(SEMANTIC, official) if not c.ignore)


def test_nineteen_classes_are_trained():
    assert sum(not c.ignore for c in SEMANTIC) == 19 and [c.id for c in SEMANTIC] == list(range(34))


def test_masks_stay_the_files_that_they_are_and_instances_become_boxes(root):
    frames = check_dataset(dataset(boxes=True), root, "train")
    assert [(f.key, f.scene, f.tags) for f in frames][1:3] == [
        ("aachen_000001_000019", "aachen", {"city": "aachen"}), ("ulm_000002_000019", "ulm", {"city": "ulm"}),
    ]  # fmt: skip
    found = 0
    for frame in frames:
        at = root / "gtFine" / "train" / frame.scene
        camera = frame.cameras["cam_front"]
        assert camera.semantic.data == (at / f"{frame.key}_gtFine_labelIds.png").read_bytes()
        ids = cv2.imread(str(at / f"{frame.key}_gtFine_instanceIds.png"), cv2.IMREAD_UNCHANGED)
        things = [i for i in np.unique(ids).tolist() if i >= 24]
        assert camera.boxes.ignore.tolist() == [i < 1000 for i in things]
        for i, (x1, y1, x2, y2) in zip(things, camera.boxes.xyxy.astype(int)):
            outside = (ids == i).copy()
            outside[y1:y2, x1:x2] = False
            inside = (ids == i)[y1:y2, x1:x2]
            assert not outside.any() and inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
        found += len(things)
        assert camera.instances is None
    assert found > 4
    assert check_dataset(dataset(), root, "train")[0].cameras["cam_front"].boxes is None


def test_the_mask_of_instances_is_numbered_as_the_boxes_are(root):
    for frame in check_dataset(dataset(boxes=True, instances=True), root, "train"):
        camera, at = frame.cameras["cam_front"], root / "gtFine" / "train" / frame.scene
        ids = cv2.imread(str(at / f"{frame.key}_gtFine_instanceIds.png"), cv2.IMREAD_UNCHANGED)
        things = [0, *(i for i in np.unique(ids).tolist() if i >= 24)]
        numbers = decode_pixels("instances", camera.instances)
        assert np.array_equal(np.where(ids >= 24, ids, 0), np.array(things)[numbers]) and len(things) == len(camera.boxes) + 1
    with pytest.raises(RecipeError, match="set boxes too"):
        dataset(instances=True)


def test_the_camera_looks_ahead_and_a_little_down(root):
    camera = check_dataset(dataset(), root, "train")[0].cameras["cam_front"]
    pose, k = camera.sensor_to_ego, camera.intrinsics
    np.testing.assert_allclose(pose[:3, 3], [1.7, 0.1, 1.22])
    np.testing.assert_allclose(pose[:3, :3] @ pose[:3, :3].T, np.eye(3), atol=1e-12)
    ahead = pose[:3, 2]
    assert ahead[0] > 0.99 and ahead[2] == pytest.approx(-np.sin(0.04)) and ahead[1] < 0  # yaw to the right, pitch down
    far = np.linalg.inv(pose) @ [1e6, 0, 0, 1]
    assert (k @ far[:3])[1] / far[2] == pytest.approx(64 - 161 * np.tan(0.04), abs=0.1)  # the horizon is above the middle


def test_test_has_pictures_alone_and_calibration_is_optional(root):
    shutil.rmtree(root / "camera")
    (root / "leftImg8bit" / "train").rename(root / "leftImg8bit" / "test")
    camera = check_dataset(dataset(boxes=True), root, "test")[0].cameras["cam_front"]
    assert camera.semantic is None and camera.boxes is None and camera.intrinsics is None


def test_what_is_wrong_is_named(root):
    with pytest.raises(DataError, match="missing leftImg8bit/val/, gtFine/val/"):
        dataset().index(root, "val")
    with pytest.raises(DataError, match=f"give {root}"):
        dataset().index(root / "gtFine", "train")
    with pytest.raises(DataError, match="Cityscapes with gtFine has no split 'train_extra'"):
        dataset().index(root, "train_extra")
    mask = root / "gtFine" / "train" / "ulm" / "ulm_000003_000019_gtFine_labelIds.png"
    ref = dataset().index(root, "train")[3]
    for wrong, told in (
        (np.zeros((5, 6), np.uint8), "mask is 6x5, its picture 192x128"),
        (np.zeros((5, 6), np.uint16), "8-bit"),
    ):
        mask.write_bytes(made.png(wrong))
        with pytest.raises(DataError, match=told):
            dataset().load(ref)
    mask.unlink()
    with pytest.raises(DataError, match=r"1 of them are not there\n(.|\n)*ulm_000003_000019_gtFine_labelIds.png"):
        dataset().index(root, "train")
