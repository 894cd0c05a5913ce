"""What a log says of all its frames: calibration, ego poses, annotations."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from drivetrain import DataError, pose_matrix, read_table

CATEGORIES = (
    "ANIMAL", "ARTICULATED_BUS", "BICYCLE", "BICYCLIST", "BOLLARD", "BOX_TRUCK", "BUS", "CONSTRUCTION_BARREL",
    "CONSTRUCTION_CONE", "DOG", "LARGE_VEHICLE", "MESSAGE_BOARD_TRAILER", "MOBILE_PEDESTRIAN_CROSSING_SIGN", "MOTORCYCLE",
    "MOTORCYCLIST", "OFFICIAL_SIGNALER", "PEDESTRIAN", "RAILED_VEHICLE", "REGULAR_VEHICLE", "SCHOOL_BUS", "SIGN", "STOP_SIGN",
    "STROLLER", "TRAFFIC_LIGHT_TRAILER", "TRUCK", "TRUCK_CAB", "VEHICULAR_TRAILER", "WHEELCHAIR", "WHEELED_DEVICE",
    "WHEELED_RIDER",
)  # fmt: skip
FILES = ("calibration/egovehicle_SE3_sensor.feather", "calibration/intrinsics.feather", "city_SE3_egovehicle.feather")
_POSE = ("tx_m", "ty_m", "tz_m", "qw", "qx", "qy", "qz")
_INTRINSICS = ("fx_px", "fy_px", "cx_px", "cy_px")
_BOX = (*_POSE[:3], "length_m", "width_m", "height_m", *_POSE[3:])


@dataclass(frozen=True)
class Log:
    """``mounts``: sensor -> float64 [4, 4] to the ego frame; ``intrinsics``: camera -> float64 [3, 3]; ``times`` int64 [P] and
    ``poses`` [P, 7] of the ego vehicle in the city: translation and quaternion."""

    folder: Path
    mounts: dict[str, np.ndarray]
    intrinsics: dict[str, np.ndarray]
    times: np.ndarray
    poses: np.ndarray

    def pose(self, timestamp: int) -> np.ndarray:
        """float64 [4, 4] from the ego frame to the city's. Raises DataError where there is none of that time."""
        place = int(np.searchsorted(self.times, timestamp))
        if place == len(self.times) or self.times[place] != timestamp:
            raise DataError(f"has no pose at {timestamp}", where=str(self.folder / FILES[2]))
        return pose_matrix(self.poses[place])


@dataclass(frozen=True)
class Annotations:
    """Of one sweep, in the ego frame: ``boxes`` float64 [N, 10] (middle, length, width, height, quaternion), ``names``,
    ``tracks`` and ``points`` int64 [N]."""

    boxes: np.ndarray
    names: np.ndarray
    tracks: np.ndarray
    points: np.ndarray


@functools.lru_cache(2)
def read_log(folder: Path) -> Log:
    """Raises DataError for a file that is missing or wrong."""
    mounts, lenses, poses = (folder / name for name in FILES)
    sensors, cameras = _columns(mounts, ("sensor_name", *_POSE)), _columns(lenses, ("sensor_name", *_INTRINSICS))
    rows = _columns(poses, ("timestamp_ns", *_POSE))
    order = np.argsort(rows["timestamp_ns"], kind="stable")
    return Log(
        folder, dict(zip(sensors["sensor_name"], map(pose_matrix, _stack(sensors, _POSE)))),
        dict(zip(cameras["sensor_name"], map(_intrinsics, _stack(cameras, _INTRINSICS)))),
        rows["timestamp_ns"][order], _stack(rows, _POSE)[order],
    )  # fmt: skip


@functools.lru_cache(2)
def read_annotations(folder: Path) -> dict[int, Annotations]:
    """Sweep's time -> what was annotated. Raises DataError for a file that is missing or wrong."""
    path = folder / "annotations.feather"
    rows = _columns(path, ("timestamp_ns", "track_uuid", "category", "num_interior_pts", *_BOX))
    if strange := sorted(set(rows["category"]) - set(CATEGORIES)):
        raise DataError(f"no category {strange[0]!r}", where=str(path), remedy=f"Argoverse's: {', '.join(CATEGORIES)}")
    boxes, tracks = _stack(rows, _BOX), np.unique(rows["track_uuid"].astype(str), return_inverse=True)[1]
    order = np.argsort(rows["timestamp_ns"], kind="stable")
    times, starts = np.unique(rows["timestamp_ns"][order], return_index=True)
    return {
        int(time): Annotations(boxes[at], rows["category"][at], tracks[at], rows["num_interior_pts"][at])
        for time, at in zip(times, np.split(order, starts[1:]))
    }


def read_sweep(path: Path) -> np.ndarray:
    """float32 [N, 6]: x, y, z, intensity, laser number, time in s. Raises DataError where it is none."""
    rows = _columns(path, ("x", "y", "z", "intensity", "laser_number", "offset_ns"))
    rows["offset_ns"] = rows["offset_ns"] / 1e9  # before float32 takes digits away
    return np.stack([column.astype(np.float32) for column in rows.values()], 1)


def _columns(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    table = read_table(path, names)
    return {name: table[name].to_numpy() for name in names}


def _stack(rows: dict[str, np.ndarray], names: Sequence[str]) -> np.ndarray:
    return np.stack([rows[name].astype(np.float64) for name in names], 1)


def _intrinsics(values: np.ndarray) -> np.ndarray:
    fx, fy, cx, cy = values
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]])
