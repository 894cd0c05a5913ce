"""KITTI's calibration files: where the left colour camera (number 2) is, and how it sees."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from drivetrain import DataError, read_bytes


class Calibration(NamedTuple):
    """Of the rectified camera: ``intrinsics`` float64 [3, 3], ``sensor_to_ego`` float64 [4, 4]; None where it is not told."""

    intrinsics: np.ndarray | None = None
    sensor_to_ego: np.ndarray | None = None


def read_calibration(path: Path) -> Calibration:
    """Raises DataError for a file without the camera's projection."""
    said = _matrices(path)
    if "P2" not in said:
        raise DataError("has no P2", where=str(path))
    projection = said["P2"].reshape(3, 4)
    intrinsics = projection[:, :3]
    rect_to_camera = np.eye(4)
    rect_to_camera[:3, 3] = np.linalg.solve(intrinsics, projection[:, 3])
    chain = [_one_of(said, *names) for names in _CHAIN]
    if any(matrix is None for matrix in chain):
        return Calibration(intrinsics, None)
    rectify, velo_to_camera, imu_to_velo = (_square(matrix) for matrix in chain if matrix is not None)
    return Calibration(intrinsics, np.linalg.inv(rect_to_camera @ rectify @ velo_to_camera @ imu_to_velo))


# The object benchmark's names, and tracking's.
_CHAIN = (("R0_rect", "R_rect"), ("Tr_velo_to_cam", "Tr_velo_cam"), ("Tr_imu_to_velo", "Tr_imu_velo"))


def _one_of(said: Mapping[str, np.ndarray], *names: str) -> np.ndarray | None:
    return next((said[name] for name in names if name in said), None)


def _square(values: np.ndarray) -> np.ndarray:
    """float64 [4, 4] of a rotation's 9 numbers or a rigid transform's 12."""
    out = np.eye(4)
    part = values.reshape(3, -1)
    out[:3, : part.shape[1]] = part
    return out


def _matrices(path: Path) -> dict[str, np.ndarray]:
    try:
        lines = [line.replace(":", " ").split() for line in read_bytes(path).decode().splitlines()]
        said = {line[0]: np.array(line[1:], np.float64) for line in lines if line}
    except ValueError as error:
        raise DataError(f"is no calibration: {error}", where=str(path)) from None
    wrong = [name for name, values in said.items() if values.size not in (9, 12)]
    if wrong:
        raise DataError(f"{wrong[0]} has {said[wrong[0]].size} numbers, expected 9 or 12", where=str(path))
    return said


def ego_poses(path: Path) -> np.ndarray:
    """float64 [N, 4, 4] from the unit to the world, a line of ``oxts`` each: Mercator of latitude and longitude at the first
    frame's scale, as the benchmark's own tools do it, with the first frame at (0, 0, 0)."""
    try:
        rows = np.array([line.split()[:6] for line in read_bytes(path).decode().splitlines() if line.strip()], np.float64)
        lat, lon, alt, roll, pitch, yaw = rows.T
    except ValueError as error:
        raise DataError(f"is no list of poses: {error}", where=str(path)) from None
    scale = np.cos(np.radians(lat[0])) * _EARTH
    places = np.stack([scale * np.radians(lon), scale * np.log(np.tan(np.radians(90 + lat) / 2)), alt], 1)
    out = np.tile(np.eye(4), (len(rows), 1, 1))
    out[:, :3, :3] = _turns(yaw, (0, 1)) @ _turns(pitch, (2, 0)) @ _turns(roll, (1, 2))
    out[:, :3, 3] = places - places[0]
    return out


_EARTH = 6378137.0  # m, the radius that the benchmark's tools take


def _turns(angle: np.ndarray, plane: tuple[int, int]) -> np.ndarray:
    """float64 [N, 3, 3]: rotations that turn the first axis of ``plane`` towards the second."""
    a, b = plane
    out = np.tile(np.eye(3), (len(angle), 1, 1))
    out[:, a, a] = out[:, b, b] = np.cos(angle)
    out[:, b, a], out[:, a, b] = np.sin(angle), -np.sin(angle)
    return out
