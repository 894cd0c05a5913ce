"""Argoverse 2's sensor layout: the real log, and made ones."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from unit import argoverse_made as made

from drivetrain import DataError, rotation_matrices
from drivetrain.data import open_dataset
from drivetrain.datasets.argoverse2.log import read_annotations
from drivetrain.testing.datasets import check_dataset

REAL = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"


def dataset(**options):
    return open_dataset("argoverse2", options)[1]


@pytest.fixture
def root(tmp_path, synthetic_frames):
    made.write_argoverse2(tmp_path, synthetic_frames)
    return tmp_path


def test_the_real_sweeps(shared):
    root = shared / "data" / "argoverse2" / "sensor"
    first, second = check_dataset(dataset(lidar=True), root, "val")
    assert (first.key, first.scene, first.tags) == (f"{REAL}-315966265259836000", REAL, {"location": "PIT"})
    lidar = first.lidars["lidar"]
    assert lidar.points.shape == (99229, 6) and lidar.points.dtype == np.float32 and not first.cameras
    assert lidar.points[:, 4].max() == 63 and 0.09 < np.ptp(lidar.points[:, 5]) < 0.11  # 64 lasers, a tenth of a second
    moved = np.linalg.norm(second.lidars["lidar"].ego_to_world[:3, 3] - lidar.ego_to_world[:3, 3])
    assert 0 <= moved < 4  # in a tenth of a second
    with pytest.raises(DataError, match=r"no log here has pictures(.|\n)*for sweeps alone: lidar=true"):
        dataset().index(root, "val")


def test_the_real_boxes_hold_as_many_points_as_is_said(shared):
    root = shared / "data" / "argoverse2" / "sensor"
    compared = 0
    for frame in check_dataset(dataset(lidar=True), root, "val"):
        lidar = frame.lidars["lidar"]
        found = read_annotations(root / "val" / REAL)[lidar.timestamp]
        for box, points in zip(found.boxes, found.points):
            local = (lidar.points[:, :3] - box[:3]) @ rotation_matrices(box[6:])
            assert (np.abs(local) <= box[3:6] / 2).all(1).sum() == pytest.approx(points, abs=2)
            compared += 1
    assert compared == 162


def test_the_picture_nearest_to_a_sweep_is_taken_with_its_own_pose(root):
    frames = check_dataset(dataset(), root, "val")
    assert [frame.scene for frame in frames] == [log for log in made.LOGS for _ in range(2)]
    cameras = frames[1].cameras
    assert next(iter(cameras)) == "ring_front_center" and len(cameras) == 7 and not frames[1].lidars
    camera = cameras["ring_side_left"]
    assert camera.timestamp == made.START + 100_000_000 + made.LATE and camera.boxes is None and camera.model == "pinhole"
    np.testing.assert_allclose(camera.ego_to_world[:3, 3], made.ego(0.109)[1])
    ahead = camera.sensor_to_ego[:3, :3] @ (0, 0, 1)  # a camera looks along its z
    np.testing.assert_allclose(ahead, made.turned(99) @ (1, 0, 0), atol=1e-12)
    assert len(check_dataset(dataset(stereo=True), root, "val")[0].cameras) == 9


def test_boxes_are_those_that_the_vehicle_sees_at_the_time_of_the_picture(root):
    _, frame, *_ = check_dataset(dataset(boxes=True), root, "val")
    seen = {name: camera.boxes.names for name, camera in frame.cameras.items() if len(camera.boxes)}
    assert seen["ring_front_center"] == ["REGULAR_VEHICLE"] and seen["ring_rear_right"] == ["PEDESTRIAN"]
    car, person = frame.cameras["ring_front_center"].boxes, frame.cameras["ring_rear_right"].boxes
    assert car.ignore.tolist() == [False] and person.ignore.tolist() == [True]  # no point has met the person
    assert car.track_ids.tolist() == [2] and person.track_ids.tolist() == [1]  # by the uuids' order
    assert car.attributes[0]["size"] == [4.2, 1.8, 1.6] and car.attributes[0]["num_interior_pts"] == 40
    assert car.attributes[0]["distance"] == pytest.approx(np.hypot(12 - 0.1 * made.SPEED[0], 1))
    k = frame.cameras["ring_front_center"].intrinsics
    near, far = (12 - 1.5 - 0.109 * made.SPEED[0] + half for half in (-2.1, 2.1))  # m from the camera to back and front
    expected = [k[0, 2] - k[0, 0] * 1.9 / near, k[1, 2] - k[1, 1] * 0.1 / near, k[0, 2] - k[0, 0] * 0.1 / far,
                k[1, 2] + k[1, 1] * 1.5 / near]  # fmt: skip
    assert car.xyxy[0].tolist() == pytest.approx(expected, abs=0.01)


def test_sweeps_that_lack_a_picture_of_one_camera_are_left_out(root):
    cameras = root / "val" / made.LOGS[0] / "sensors" / "cameras"
    for path in sorted((cameras / "ring_front_left").iterdir()):
        path.rename(path.with_stem(str(int(path.stem) + 91_000_000)))  # the second one is at the second sweep
    assert [len(frame.cameras) for frame in check_dataset(dataset(), root, "val")] == [7, 7, 7]
    shutil.rmtree(cameras / "ring_front_left")  # the log does not have it
    assert [len(frame.cameras) for frame in check_dataset(dataset(), root, "val")] == [6, 6, 7, 7]


def test_the_test_split_is_not_annotated(root):
    (root / "val").rename(root / "test")
    for log in made.LOGS:
        (root / "test" / log / "annotations.feather").unlink()
    assert all(c.boxes is None for frame in check_dataset(dataset(boxes=True), root, "test") for c in frame.cameras.values())


def test_what_is_wrong_is_named(root):
    one, log = dataset(boxes=True), root / "val" / made.LOGS[0]
    with pytest.raises(DataError, match=r"no split 'vall'(.|\n)*did you mean 'val'"):
        one.index(root, "vall")
    with pytest.raises(DataError, match=rf"missing val/(.|\n)*give {root}"):
        one.index(root / "val", "val")
    ref = one.index(root, "val")[0]
    poses = log / "city_SE3_egovehicle.feather"
    kept = poses.read_bytes()
    shutil.copy(log / "calibration" / "egovehicle_SE3_sensor.feather", poses)
    for break_it, told in (
        (lambda: None, r"city_SE3_egovehicle.feather: .*timestamp_ns"),
        (lambda: poses.write_bytes(b"no table"), "city_SE3_egovehicle.feather: is no table with timestamp_ns"),
        (lambda: made.save_table(poses, {"timestamp_ns": [1], **{n: [1.0] for n in made._POSE}}), "has no pose at 3159"),
    ):
        break_it()
        one.index(root, "val")
        with pytest.raises(DataError, match=told):
            one.load(ref)
    poses.write_bytes(kept)
    (log / "annotations.feather").unlink()
    with pytest.raises(DataError, match=r"names 8 files, 1 of them are not there\n(.|\n)*annotations.feather"):
        one.index(root, "val")
