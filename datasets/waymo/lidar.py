"""Range images as points. Conversion as in the official tools (waymo-open-dataset, utils/range_image_utils.py and
v2/perception/utils/lidar_utils.py)."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drivetrain import DataError, Lidar, read_table

from .rows import TIME, Rows, matrix

LIDARS = ("", "lidar_top", "lidar_front", "lidar_side_left", "lidar_side_right", "lidar_rear")
FIELDS = ("x", "y", "z", "intensity", "elongation")
_LASER = "key.laser_name"
_RETURNS = tuple(f"[LiDARComponent].range_image_return{number}" for number in (1, 2))
_POSES = "[LiDARPoseComponent].range_image_return1"
_INCLINATION = "[LiDARCalibrationComponent].beam_inclination"
_EXTRINSIC = "[LiDARCalibrationComponent].extrinsic.transform"
_VEHICLE = "[VehiclePoseComponent].world_from_vehicle.transform"


class Mount(NamedTuple):
    """A lidar's ``sensor_to_ego`` [4, 4] and the ``inclinations`` of its beams in rad: all, or the ends of their range."""

    sensor_to_ego: np.ndarray
    inclinations: np.ndarray
    ends: tuple[float, float]

    def rows(self, height: int) -> np.ndarray:
        """float64 [height] from the top row of a range image down."""
        if len(self.inclinations):
            return self.inclinations[::-1]
        low, high = self.ends
        return (low + (np.arange(height) + 0.5) / height * (high - low))[::-1]


class Sweeps(NamedTuple):
    """A segment's: range images, per-pixel poses of the top lidar, calibration, and the ego pose at each time in µs."""

    images: Rows
    poses: Rows
    mounts: dict[int, Mount]
    vehicle: dict[int, np.ndarray]


def read_sweeps(folder: Path, segment: str, time: int) -> dict[str, Lidar]:
    """All lidars of a frame, by name. Raises DataError for a file that is missing or wrong."""
    sweeps = open_sweeps(folder, segment)
    out = {}
    for number in sweeps.images.of(time):
        mount, row = sweeps.mounts[number], sweeps.images.read(time, number)
        images = [_image(row, name) for name in _RETURNS]
        pixel_poses = _image(sweeps.poses.read(time, number), _POSES) if (time, number) in sweeps.poses.places else None
        points = [_points(image, mount, pixel_poses, sweeps.vehicle[time]) for image in images if image is not None]
        place = {"sensor_to_ego": mount.sensor_to_ego, "ego_to_world": sweeps.vehicle[time]}
        out[LIDARS[number]] = Lidar(np.concatenate(points), FIELDS, timestamp=time * 1000, **place)
    return out


@functools.lru_cache(2)
def open_sweeps(folder: Path, segment: str) -> Sweeps:
    """Of a split's ``folder``. Raises DataError for a file that is missing or wrong."""
    files = {
        kind: folder / kind / f"{segment}.parquet" for kind in ("lidar", "lidar_pose", "lidar_calibration", "vehicle_pose")
    }
    poses = read_table(files["vehicle_pose"], [TIME, _VEHICLE])
    vehicle = dict(zip(poses[TIME].to_pylist(), map(matrix, poses[_VEHICLE].to_pylist())))
    images = Rows(files["lidar"], _LASER, [f"{name}.{part}" for name in _RETURNS for part in ("values", "shape")], batch=5)
    pixel = Rows(files["lidar_pose"], _LASER, [f"{_POSES}.values", f"{_POSES}.shape"], batch=1)
    if missing := {time for time, _ in images.places} - set(vehicle):
        raise DataError(f"has no pose at {min(missing)}", where=str(files["vehicle_pose"]))
    return Sweeps(images, pixel, _mounts(files["lidar_calibration"]), vehicle)


def _mounts(path: Path) -> dict[int, Mount]:
    names = (_LASER, _EXTRINSIC, *(f"{_INCLINATION}.{part}" for part in ("values", "min", "max")))
    table = read_table(path, names)
    rows = zip(*(table[name].to_pylist() for name in names))
    return {n: Mount(matrix(m), np.asarray(v or (), np.float64), (low, high)) for n, m, v, low, high in rows}


def _image(row: dict, name: str) -> np.ndarray | None:
    """float64 [H, W, C]; None where there is no such return."""
    values, shape = row[f"{name}.values"], row[f"{name}.shape"]
    return None if values is None or not len(values) else np.asarray(values, np.float64).reshape(shape)


def _points(image: np.ndarray, mount: Mount, pixel_poses: np.ndarray | None, vehicle: np.ndarray) -> np.ndarray:
    """float32 [N, 5] in the lidar's frame, from a range image [H, W, 4]: range, intensity, elongation and whether in a zone
    without labels. ``pixel_poses`` [H, W, 6]: the ego poses at which the pixels were measured."""
    height, width = image.shape[:2]
    at, column = np.nonzero(image[..., 0] > 0)
    distance = image[at, column, 0]
    inclination = mount.rows(height)[at]
    heading = np.arctan2(mount.sensor_to_ego[1, 0], mount.sensor_to_ego[0, 0])
    azimuth = (2 * (width - column - 0.5) / width - 1) * np.pi - heading  # the middle column looks ahead of the vehicle
    flat = distance * np.cos(inclination)
    points = np.stack([flat * np.cos(azimuth), flat * np.sin(azimuth), distance * np.sin(inclination)], 1)
    if pixel_poses is not None:
        points = _at_one_time(points, mount.sensor_to_ego, pixel_poses[at, column], vehicle)
    return np.concatenate([points, image[at, column, 1:3]], 1).astype(np.float32)


def _at_one_time(points: np.ndarray, to_ego: np.ndarray, poses: np.ndarray, vehicle: np.ndarray) -> np.ndarray:
    """``points`` [N, 3] measured at ego ``poses`` [N, 6] (roll, pitch, yaw, x, y, z), as the lidar would see them from the ego
    pose ``vehicle`` [4, 4]."""
    in_ego = points @ to_ego[:3, :3].T + to_ego[:3, 3]
    in_world = np.einsum("nij,nj->ni", _turns(*poses[:, :3].T), in_ego) + poses[:, 3:]
    back = np.linalg.inv(vehicle @ to_ego)
    return in_world @ back[:3, :3].T + back[:3, 3]


def _turns(roll: np.ndarray, pitch: np.ndarray, yaw: np.ndarray) -> np.ndarray:
    """float64 [N, 3, 3]: first roll about x, then pitch about y, then yaw about z."""
    (cr, cp, cy), (sr, sp, sy) = (f([roll, pitch, yaw]) for f in (np.cos, np.sin))
    rows = [
        [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
        [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
        [-sp, cp * sr, cp * cr],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)
