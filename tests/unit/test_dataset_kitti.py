"""KITTI in its official layouts, the real frames and made ones."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from unit import layouts_made as made

from drivetrain import DataError
from drivetrain.datasets.kitti.calib import read_calibration
from drivetrain.datasets.kitti.config import KittiConfig
from drivetrain.datasets.kitti.labels import COLUMNS, parse_labels, read_rows
from drivetrain.datasets.kitti.objects import build
from drivetrain.datasets.kitti.tracking import build as build_tracking
from drivetrain.testing.datasets import check_dataset


@pytest.fixture
def root(tmp_path, synthetic_frames):
    made.write_kitti(tmp_path, synthetic_frames)
    return tmp_path


def test_the_real_frames(shared):
    frames = check_dataset(build(KittiConfig()), shared / "data" / "kitti_object", "train")
    cameras = [frame.cameras["cam_front"] for frame in frames]
    names = [name for camera in cameras for name in camera.boxes.names]
    assert len(frames) == 13 and {name: names.count(name) for name in sorted(set(names))} == {
        "Car": 35, "Cyclist": 6, "Misc": 1, "Pedestrian": 14, "Truck": 1, "Van": 1,
    }  # fmt: skip
    assert sum(len(camera.ignore_regions) for camera in cameras) == 26
    assert (cameras[0].width, cameras[0].height) == (1224, 370)
    assert cameras[0].boxes.xyxy.tolist() == [[712.4000244140625, 143.0, 810.72998046875, 307.9200134277344]]


@pytest.mark.parametrize("where, id", [("object", "000008"), ("tracking", "0001")])
def test_lidar_points_meet_the_same_pixels_through_the_ego_frame_as_by_the_official_product(shared, where, id):
    training = shared / "data" / f"kitti_{where}" / "training"
    calib = read_calibration(training / "calib" / f"{id}.txt")
    lines = (training / "calib" / f"{id}.txt").read_text().splitlines()
    said = {words[0].rstrip(":"): np.array(words[1:], float) for words in map(str.split, lines) if words}
    sweep = next((training / "velodyne").rglob(f"{id}.bin"), training / "velodyne" / id / "000000.bin")
    points = np.c_[np.fromfile(sweep, np.float32).reshape(-1, 4)[:2000, :3], np.ones(2000)].astype(float)

    def square(*names):
        values = next(said[name] for name in names if name in said).reshape(3, -1)
        out = np.eye(4)
        out[:3, : values.shape[1]] = values
        return out

    official = points @ (square("R0_rect", "R_rect") @ square("Tr_velo_to_cam", "Tr_velo_cam")).T @ said["P2"].reshape(3, 4).T
    ego = points @ np.linalg.inv(square("Tr_imu_to_velo", "Tr_imu_velo")).T
    ours = (ego @ np.linalg.inv(calib.sensor_to_ego).T)[:, :3] @ calib.intrinsics.T
    ahead = official[:, 2] > 2
    assert ahead.sum() > 100
    np.testing.assert_allclose((ours / ours[:, 2:])[ahead], (official / official[:, 2:])[ahead], atol=0.05)


def test_all_labels_of_the_benchmark_are_read(shared, tmp_path):
    with tarfile.open(shared / "data" / "kitti_labels_all" / "label_2_and_calib_7474.tar.xz") as tar:
        for member in tar:
            if member.isfile() and "label_2" in member.name and member.name.endswith("05.txt"):
                (tmp_path / Path(member.name).name).write_bytes(tar.extractfile(member).read())
    files = sorted(tmp_path.rglob("*.txt"))
    read = [parse_labels(read_rows(file, COLUMNS), str(file)) for file in files]
    assert len(files) > 60 and sum(len(boxes) for boxes, _ in read) > 250
    levels = [(a["occluded"], share) for boxes, _ in read for a, share in zip(boxes.attributes, boxes.occlusion.tolist())]
    assert {level for level, _ in levels} == {0, 1, 2, 3}
    assert all(np.isnan(share) if level == 3 else share == level / 2 for level, share in levels)


def test_the_real_tracks(shared):
    first, second = check_dataset(build_tracking(KittiConfig()), shared / "data" / "kitti_tracking", "training")
    assert (first.key, second.key, first.scene) == ("0001-000000", "0001-000001", "0001")
    camera = second.cameras["cam_front"]
    assert set(camera.boxes.track_ids.tolist()) & set(first.cameras["cam_front"].boxes.track_ids.tolist())
    assert np.allclose(first.cameras["cam_front"].ego_to_world[:3, 3], 0)
    moved = camera.ego_to_world[:3, 3]
    heading = first.cameras["cam_front"].ego_to_world[:3, 0]
    assert 0.5 < np.linalg.norm(moved) < 3 and moved @ heading > 0.95 * np.linalg.norm(moved)  # it drives ahead, at 10 Hz


def test_labels_are_read_as_they_were_written(root, synthetic_frames):
    for frame, source in zip(check_dataset(build(KittiConfig()), root, "train"), synthetic_frames):
        camera, true = frame.cameras["cam_front"], source.cameras["cam_front"]
        assert camera.boxes.names == [made.KITTI_NAMES[name] for name in true.boxes.names]
        np.testing.assert_allclose(camera.boxes.xyxy, true.boxes.xyxy, atol=0.006)
        np.testing.assert_allclose(camera.boxes.truncation, true.boxes.truncation, atol=0.006)
        assert camera.boxes.occlusion.tolist() == [round(2 * share) / 2 for share in true.boxes.occlusion.tolist()]
        assert camera.ignore_regions.tolist() == [[10, 20, 30.5, 40.25]]
        np.testing.assert_allclose(camera.intrinsics, true.intrinsics)


def test_the_devkit_tells_the_drives(root):
    made.save(root / "mapping/train_rand.txt", "2,1,4,3")
    lines = [f"2011_09_26 2011_09_26_drive_000{i // 2}_sync 000000000{i}\n" for i in range(4)]
    made.save(root / "mapping/train_mapping.txt", "".join(lines))
    dataset = build(KittiConfig())
    assert [dataset.identify(ref)[1][-9:] for ref in dataset.index(root, "training")] == ["0000_sync"] * 2 + ["0001_sync"] * 2


def test_testing_has_no_labels_and_calibration_is_optional(root):
    shutil.rmtree(root / "training" / "calib")
    assert check_dataset(build(KittiConfig()), root, "train")[0].cameras["cam_front"].intrinsics is None
    (root / "training").rename(root / "testing")
    camera = check_dataset(build(KittiConfig()), root, "testing")[0].cameras["cam_front"]
    assert camera.boxes is None and camera.ignore_regions is None


def test_what_is_wrong_is_named(root):
    dataset, label = build(KittiConfig()), root / "training" / "label_2" / "000001.txt"
    with pytest.raises(DataError, match=r"missing ImageSets/vall.txt\n(.|\n)*splits here: training, testing, train"):
        dataset.index(root, "vall")
    with pytest.raises(DataError, match=f"give {root}"):
        dataset.index(root / "training", "train")
    text = label.read_text()
    ref = dataset.index(root, "train")[1]
    for wrong, told in (
        (text.replace("DontCare", "Dontcare"), "no class 'Dontcare'"),
        ("Car 0 0\n", r"000001.txt:1: 3 columns, expected 15"),
        (text.replace("10.00 20.00", "10.00 x"), "000001.txt: a column is no number"),
        (f"{text.splitlines()[0]} 0.9\n", "16 columns, expected 15: with a score it is a result"),
    ):
        label.write_text(wrong)
        with pytest.raises(DataError, match=told):
            dataset.load(ref)
    label.unlink()
    with pytest.raises(DataError, match=r"names 12 files, 1 of them are not there\n(.|\n)*label_2/000001.txt"):
        dataset.index(root, "train")
