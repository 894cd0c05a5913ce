"""Argoverse 2's own toolkit reads the same of the real log as our dataset. Run by `make peers`, which installs it."""

import os
from pathlib import Path

import numpy as np
import pytest
from unit import argoverse_made as made

from drivetrain.data import open_dataset

pytest.importorskip("av2", reason="av2 is not installed")

ROOT = Path(os.environ.get("DRIVETRAIN_SHARED", Path(__file__).parents[3] / "shared")) / "data" / "argoverse2" / "sensor"
LOG = "7fab2350-7eaf-3b7e-a39d-6937a4c1bede"


@pytest.mark.skipif(not ROOT.is_dir(), reason="shared/data is absent")
def test_av2_reads_the_same_sweeps_poses_and_cuboids():
    from av2.structures.cuboid import CuboidList
    from av2.structures.sweep import Sweep
    from av2.utils.io import read_city_SE3_ego

    from drivetrain.datasets.argoverse2.log import read_annotations

    log = ROOT / "val" / LOG
    poses, cuboids = read_city_SE3_ego(log), CuboidList.from_feather(log / "annotations.feather")
    _, dataset = open_dataset("argoverse2", {"lidar": True})
    for frame in map(dataset.load, dataset.index(ROOT, "val")):
        lidar = frame.lidars["lidar"]
        sweep = Sweep.from_feather(log / "sensors" / "lidar" / f"{lidar.timestamp}.feather")
        np.testing.assert_array_equal(lidar.points[:, :3], sweep.xyz.astype(np.float32))
        np.testing.assert_array_equal(lidar.points[:, 4], sweep.laser_number)
        np.testing.assert_allclose(lidar.ego_to_world, poses[lidar.timestamp].transform_matrix, atol=1e-9)
        ours = read_annotations(log)[lidar.timestamp]
        theirs = [cuboid for cuboid in cuboids.cuboids if cuboid.timestamp_ns == lidar.timestamp]
        assert ours.names.tolist() == [str(getattr(cuboid.category, "value", cuboid.category)) for cuboid in theirs]
        np.testing.assert_allclose(ours.boxes[:, :3], [cuboid.dst_SE3_object.translation for cuboid in theirs])
        sizes = [(cuboid.length_m, cuboid.width_m, cuboid.height_m) for cuboid in theirs]
        np.testing.assert_allclose(ours.boxes[:, 3:6], sizes)


def test_av2_puts_points_on_the_same_pixels_of_a_made_log(tmp_path, synthetic_frames):
    from av2.geometry.camera.pinhole_camera import PinholeCamera
    from av2.utils.io import read_city_SE3_ego

    made.write_argoverse2(tmp_path, synthetic_frames)
    log = tmp_path / "val" / made.LOGS[0]
    poses = read_city_SE3_ego(log)
    _, dataset = open_dataset("argoverse2", {})
    ref = dataset.index(tmp_path, "val")[0]
    points = np.random.default_rng(0).uniform(-20, 20, (200, 3))  # in the ego frame at the sweep's time
    for name, camera in dataset.load(ref).cameras.items():
        theirs = PinholeCamera.from_feather(log, name)
        pixels, _, _ = theirs.project_ego_to_img_motion_compensated(points, poses[camera.timestamp], poses[ref.timestamp])
        world = points @ poses[ref.timestamp].rotation.T + poses[ref.timestamp].translation
        seen = np.c_[world, np.ones(len(world))] @ np.linalg.inv(camera.ego_to_world @ camera.sensor_to_ego).T
        ours = seen[:, :3] @ camera.intrinsics.T
        ahead = seen[:, 2] > 0.5
        np.testing.assert_allclose((ours[:, :2] / ours[:, 2:])[ahead], pixels[ahead], atol=1e-4)
