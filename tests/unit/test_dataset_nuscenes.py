"""nuScenes' tables: the real keyframe, and made ones."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unit import nuscenes_made as made

from drivetrain import DataError, cuboid_corners, cuboid_extents, rotation_matrices
from drivetrain.data import open_dataset
from drivetrain.datasets.nuscenes.splits import MINI_VAL, VAL
from drivetrain.testing.datasets import check_dataset


def dataset(**options):
    return open_dataset("nuscenes", options)[1]


@pytest.fixture
def root(tmp_path, synthetic_frames):
    made.write_nuscenes(tmp_path, synthetic_frames)
    return tmp_path


def test_the_splits_are_the_official_ones():
    official = pytest.importorskip("nuscenes.utils.splits")
    assert set(official.val) == VAL and set(official.mini_val) == MINI_VAL and not set(official.train) & VAL


def test_there_are_150_scenes_to_validate_on():
    assert len(VAL) == 150 and {"scene-0103", "scene-0916"} == MINI_VAL


def test_the_real_keyframe(shared):
    root = shared / "data" / "nuscenes_keyframe"
    [frame] = check_dataset(dataset(lidar=True), root, "mini_train")
    assert (frame.key, frame.scene) == ("ca9a282c9e77460f8360f564131a8af5", "scene-0061")
    assert frame.tags == {"location": "singapore-onenorth", "time_of_day": "day", "weather": "dry"}
    assert {name: len(camera.boxes) for name, camera in frame.cameras.items()} == {
        "cam_front": 47, "cam_back": 10, "cam_back_left": 2, "cam_back_right": 5, "cam_front_left": 2, "cam_front_right": 18,
    }  # fmt: skip
    assert len({camera.timestamp for camera in frame.cameras.values()}) == 6
    lidar = frame.lidars["lidar_top"]
    assert lidar.points.shape == (34688, 5) and lidar.fields[-1] == "ring" and lidar.points[:, 4].max() == 31


def test_lidar_points_of_a_box_fall_into_its_extent_in_the_picture(shared):
    """Two paths that share only the poses: points by the lidar's, boxes by the annotation's; times differ by 0.04 s."""
    [frame] = check_dataset(dataset(lidar=True), shared / "data" / "nuscenes_keyframe", "v1.0-mini")
    lidar, camera = frame.lidars["lidar_top"], frame.cameras["cam_front"]
    points = np.c_[lidar.points[:, :3], np.ones(len(lidar.points))].astype(float) @ (lidar.ego_to_world @ lidar.sensor_to_ego).T
    seen = points @ np.linalg.inv(camera.ego_to_world @ camera.sensor_to_ego).T
    checked = 0
    for xyxy, said in zip(camera.boxes.xyxy, camera.boxes.attributes):
        local = (points[:, :3] - said["translation"]) @ rotation_matrices(np.array(said["rotation"]))
        inside = (np.abs(local) <= np.array(said["size"])[[1, 0, 2]] / 2).all(1)
        pixels = seen[inside, :3] @ camera.intrinsics.T
        pixels = pixels[:, :2] / pixels[:, 2:]
        there = ((pixels >= 0) & (pixels <= (camera.width, camera.height))).all(1)
        assert abs(inside.sum() - said["num_lidar_pts"]) <= 1
        assert ((pixels[there] >= xyxy[:2] - 1) & (pixels[there] <= xyxy[2:] + 1)).all()
        checked += int(there.sum())
    assert checked > 300


def test_cameras_boxes_and_tags(root, synthetic_frames):
    frames = check_dataset(dataset(), root, "v1.0-mini")
    assert [(f.key, f.scene) for f in frames] == [(f"{scene}-{i}", scene) for scene in made.SCENES for i in (0, 1)]
    assert [f.tags["weather"] for f in frames] == ["rain", "rain", "dry", "dry"] and frames[0].tags["time_of_day"] == "night"
    frame = frames[0]
    assert next(iter(frame.cameras)) == "cam_front" and len(frame.cameras) == 6 and not frame.lidars
    assert {name: camera.boxes.names for name, camera in frame.cameras.items() if len(camera.boxes)} == {
        "cam_front": ["vehicle.car"], "cam_back": ["human.pedestrian.adult"], "cam_front_left": ["vehicle.car"],
        "cam_back_left": ["vehicle.car"],
    }  # fmt: skip
    car, person = frame.cameras["cam_front"].boxes, frame.cameras["cam_back"].boxes
    assert car.ignore.tolist() == [False] and person.ignore.tolist() == [True]  # no point has met the person
    assert car.attributes[0]["visibility"] == "v0-40" and car.attributes[0]["attributes"] == ["vehicle.parked"]
    assert car.occlusion.tolist() == pytest.approx([0.8]) and person.track_ids.tolist() == [1]
    k = frame.cameras["cam_front"].intrinsics
    near, far = 12 - 2.1 - 1.5, 12 + 2.1 - 1.5  # m from the camera to the car's back and front
    expected = [k[0, 2] - k[0, 0] * 1.9 / near, k[1, 2] - k[1, 1] * 0.1 / near, k[0, 2] - k[0, 0] * 0.1 / far,
                k[1, 2] + k[1, 1] * 1.5 / near]  # fmt: skip
    assert car.xyxy[0].tolist() == pytest.approx(expected, abs=0.01)


@pytest.mark.parametrize("which", ["real", "made"])
def test_the_official_toolkit_opens_it_and_exports_the_same_boxes(which, request):
    official = pytest.importorskip("nuscenes.scripts.export_2d_annotations_as_json")
    real = which == "real"
    root = request.getfixturevalue("shared") / "data" / "nuscenes_keyframe" if real else request.getfixturevalue("root")
    official.nusc = official.NuScenes("v1.0-mini", dataroot=str(root), verbose=False)
    one, compared = dataset(), 0
    for frame in map(one.load, one.index(root, "v1.0-mini")):
        sample = official.nusc.get("sample", frame.key)
        for name, camera in frame.cameras.items():
            post = official.post_process_coords
            official.post_process_coords = lambda found, size=(camera.width, camera.height), post=post: post(found, size)
            theirs = official.get_2d_boxes(sample["data"][name.upper()], ["", "1", "2", "3", "4"])
            official.post_process_coords = post
            ours = sorted(camera.boxes.xyxy.tolist())
            np.testing.assert_allclose(ours, sorted(record["bbox_corners"] for record in theirs), atol=1e-3)
            reading = official.nusc.get("sample_data", sample["data"][name.upper()])
            calibrated = official.nusc.get("calibrated_sensor", reading["calibrated_sensor_token"])
            turn = official.Quaternion(calibrated["rotation"]).rotation_matrix
            np.testing.assert_allclose(camera.sensor_to_ego[:3, :3], turn, atol=1e-9)
            compared += len(theirs)
    assert compared == (84 if real else 16)


def test_the_extent_is_that_of_the_hull_within_the_picture():
    """Against a fine grid of points on the box's faces."""
    rng = np.random.default_rng(0)
    k, size = np.array([[100.0, 0, 80], [0, 100, 60], [0, 0, 1]]), (160, 120)
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 41)] * 3, indexing="ij"), -1).reshape(-1, 3)
    seen = 0
    for _ in range(60):
        box = np.concatenate([rng.uniform((-8, -4, 6), (8, 4, 14)), rng.uniform(1, 4, 3), rng.normal(size=4)])[None]
        points = cuboid_corners(box)
        shown, found = cuboid_extents(points, k, size)
        inner = points[0, 0] + grid @ (points[0, [4, 2, 1]] - points[0, 0])
        pixels = (inner @ k.T)[:, :2] / inner[:, 2:]
        pixels = pixels[((pixels >= 0) & (pixels <= size)).all(1)]
        if len(pixels) > 100:
            assert shown.tolist() == [0]
            np.testing.assert_allclose(found[0], [*pixels.min(0), *pixels.max(0)], atol=4)
            assert (found[0, :2] <= pixels.min(0) + 1e-6).all() and (found[0, 2:] >= pixels.max(0) - 1e-6).all()
            seen += 1
    assert seen > 25


def test_the_official_splits_choose_scenes(root):
    one = dataset()
    assert {one.identify(ref)[1] for ref in one.index(root, "mini_train")} == {"scene-0061"}
    assert {one.identify(ref)[1] for ref in one.index(root, "mini_val")} == {"scene-0103"}


def test_what_lidarseg_adds_to_the_categories_needs_no_mapping(root):
    path = root / "v1.0-mini" / "category.json"
    rows = json.loads(path.read_text())
    added = ["noise", "static.manmade", "flat.driveable_surface", "vehicle.ego", "static_object.bicycle_rack"]
    path.write_text(json.dumps([*rows, *({"token": name, "name": name, "description": ""} for name in added)]))
    one = dataset()
    one.index(root, "v1.0-mini")
    assert [info.name for info in one.classes["object_detection"] if info.ignore] == added[:4]


def test_the_test_split_is_not_labelled(root):
    (root / "v1.0-mini").rename(root / "v1.0-test")
    assert all(c.boxes is None for frame in check_dataset(dataset(), root, "test") for c in frame.cameras.values())


def test_what_is_wrong_is_named(root):
    with pytest.raises(DataError, match=r"missing v1.0-trainval/\n(.|\n)*found: maps/, samples/, v1.0-mini/"):
        dataset().index(root, "val")
    (root / "v1.0-trainval").mkdir()
    with pytest.raises(DataError, match=r"missing v1.0-trainval/attribute.json, v1.0-trainval/calibrated_sensor.json"):
        dataset().index(root, "val")
    with pytest.raises(DataError, match=r"no split 'mini'(.|\n)*did you mean 'mini_val' or 'mini_train'"):
        dataset().index(root, "mini")
    path = root / "v1.0-mini" / "sample_data.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([{**row, "ego_pose_token": "gone"} for row in rows]))
    with pytest.raises(DataError, match="the tables do not fit: KeyError: 'gone'"):
        dataset().index(root, "v1.0-mini")
    path.write_text(json.dumps(rows))
    next((root / "samples" / "CAM_BACK").iterdir()).unlink()
    with pytest.raises(DataError, match=r"names 24 files, 1 of them are not there\n(.|\n)*CAM_BACK/n1__CAM_BACK"):
        dataset().index(root, "v1.0-mini")
