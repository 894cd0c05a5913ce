"""Waymo's second format, made."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet
from unit import waymo_made as made
from unit.layouts_made import CAMERA, jpeg

from drivetrain import DataError
from drivetrain.data import open_dataset
from drivetrain.testing.datasets import check_dataset


def dataset(**options):
    return open_dataset("waymo", options)[1]


@pytest.fixture
def root(tmp_path, synthetic_frames):
    made.write_waymo(tmp_path, synthetic_frames)
    return tmp_path


def test_cameras_boxes_and_tags(root, synthetic_frames):
    frames = check_dataset(dataset(), root, "training")
    assert [frame.scene for frame in frames] == [name for name in made.SEGMENTS for _ in range(2)]
    assert frames[0].tags == {"weather": "rain", "time_of_day": "Night", "location": "location_sf"}
    for frame, source in zip(frames, synthetic_frames):
        front, true = frame.cameras["cam_front"].boxes, source.cameras[CAMERA].boxes
        names = {"car": "vehicle", "truck": "vehicle", "traffic_sign": "sign"}
        assert front.names == [names.get(name, name) for name in true.names]
        np.testing.assert_allclose(front.xyxy, true.xyxy, atol=1e-4)
        assert len(set(front.track_ids.tolist())) == len(set(true.track_ids.tolist()))
        assert [len(frame.cameras[name].boxes) for name in list(frame.cameras)[1:]] == [0] * 4
    levels = [said.get("difficulty") for frame in frames[:2] for said in frame.cameras["cam_front"].boxes.attributes]
    assert levels.count(None) == 1 and set(levels) == {None, 2}


def test_calibration_and_poses(root):
    frame = check_dataset(dataset(), root, "training")[1]
    assert list(frame.cameras) == ["cam_front", "cam_front_left", "cam_front_right", "cam_side_left", "cam_side_right"]
    left = frame.cameras["cam_side_left"]
    assert left.timestamp == 1000 * (made.START + 100_000 + round(1e6 * made.LATE))
    np.testing.assert_allclose(left.ego_to_world, made.pose(0.1 + made.LATE))
    np.testing.assert_allclose(left.sensor_to_ego @ (0, 0, 1, 1), (1.5, 1, 2.1, 1), atol=1e-12)  # it looks to the left
    np.testing.assert_allclose(left.sensor_to_ego @ (0, 1, 0, 1), (1.5, 0, 1.1, 1), atol=1e-12)  # down is down
    assert left.model == "brown_conrady" and left.distortion == made.DISTORTION


def test_pictures_are_each_cameras_own_in_whatever_order_they_are_asked_for(root, synthetic_frames):
    one = dataset()
    refs = one.index(root, "training")
    for number in (3, 0, 1, 0, 2):
        cameras = one.load(refs[number]).cameras.values()
        assert [c.image.data for c in cameras] == [jpeg(synthetic_frames[number], 10 * i) for i in made.YAWS]


def test_what_the_lidars_met(root):
    """One spot to the left of each lidar, at its height, and one ahead of it: see `waymo_made._lidar`."""
    frame = check_dataset(dataset(lidar=True), root, "training")[1]
    assert list(frame.lidars) == ["lidar_top", "lidar_front"]
    for laser, lidar, moved, up in zip(made.LASERS.values(), frame.lidars.values(), (made.BEHIND, 0), (0.1, 0.3)):
        x, y, z, _ = laser
        assert lidar.fields == ("x", "y", "z", "intensity", "elongation") and lidar.timestamp == 1000 * (made.START + 100_000)
        np.testing.assert_allclose(lidar.points[:, 3:], [[0.5, 0.1]] * 2)
        places = np.c_[lidar.points[:, :3], np.ones(2)] @ lidar.sensor_to_ego.T
        half_a_column = np.pi / made.RANGE_IMAGE[1]
        expected = [[x - moved, y + 10, z], [x - moved + 10 * np.cos(up), y, z + 10 * np.sin(up)]]
        np.testing.assert_allclose(places[:, :3], expected, atol=10 * half_a_column * 1.01)
        np.testing.assert_allclose(lidar.ego_to_world, made.pose(0.1))


def test_testing_has_no_labels_and_stats_are_optional(root):
    (root / "training").rename(root / "testing")
    for kind in ("camera_box", "stats"):
        (root / "testing" / kind).rename(root / kind)
    frame = check_dataset(dataset(), root, "testing")[0]
    assert frame.tags == {} and all(camera.boxes is None for camera in frame.cameras.values())


def test_what_is_wrong_is_named(root):
    one, training = dataset(), root / "training"
    with pytest.raises(DataError, match=r"no split 'train'(.|\n)*did you mean 'training'"):
        one.index(root, "train")
    with pytest.raises(DataError, match=rf"missing training/camera_image/(.|\n)*give {root}"):
        one.index(training, "training")
    boxes = training / "camera_box" / f"{made.SEGMENTS[0]}.parquet"
    table = parquet.read_table(boxes)
    wrong_type = table.set_column(table.column_names.index("[CameraBoxComponent].type"), "[CameraBoxComponent].type",
                                  pa.array([7] * len(table), pa.int8()))  # fmt: skip
    for broken, told in (
        (wrong_type, "camera_box/1002.*parquet: a type is none of 0 to 4"),
        (table.drop_columns(["[CameraBoxComponent].box.size.x"]), r"camera_box/1002.*(no column|is no table with)"),
    ):
        parquet.write_table(broken, boxes)
        with pytest.raises(DataError, match=told):
            one.load(one.index(root, "training")[0])
    boxes.unlink()
    with pytest.raises(DataError, match=r"names 6 files, 1 of them are not there\n(.|\n)*camera_box/1002"):
        one.index(root, "training")
    parquet.write_table(table, boxes)
    (training / "camera_image" / f"{made.SEGMENTS[0]}.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"camera_image/1002.*: is no table with key.frame_timestamp_micros"):
        one.index(root, "training")
