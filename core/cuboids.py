"""Poses from quaternions, and 3D boxes as a picture shows them."""

from __future__ import annotations

import numpy as np


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """float64 [..., 3, 3] of quaternions [..., 4], w x y z."""
    q = np.asarray(quaternions, np.float64)
    w, x, y, z = np.moveaxis(q / np.linalg.norm(q, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def pose_matrix(values: np.ndarray) -> np.ndarray:
    """float64 [4, 4] of 7 numbers: translation, then quaternion as w x y z."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = rotation_matrices(values[3:7]), values[:3]
    return out


def cuboid_corners(boxes: np.ndarray) -> np.ndarray:
    """float64 [N, 8, 3] of boxes [N, 10]: middle, size as length (x), width (y), height (z), and quaternion."""
    signs = np.array([(x, y, z) for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)])
    halves = boxes[:, None, 3:6] / 2 * signs
    return halves @ rotation_matrices(boxes[:, 6:10]).swapaxes(-1, -2) + boxes[:, None, :3]


def cuboid_extents(points: np.ndarray, intrinsics: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Which of the boxes a picture of ``size`` (width, height) shows, int [M], and their xyxy float64 [M, 4] in it.

    ``points`` float64 [N, 8, 3] are their corners in the camera's frame. Those behind the camera are left out, as the
    official toolkit does it, so that a box beside the camera is cut short."""
    shown, found = [], []
    for number in np.flatnonzero((points[..., 2] > 0).any(1)):
        ahead = points[number][points[number][:, 2] > 0] @ intrinsics.T
        extent = _extent(ahead[:, :2] / ahead[:, 2:], size)
        if extent is not None:
            shown.append(number)
            found.append(extent)
    return np.array(shown, np.int64), np.array(found, np.float64).reshape(-1, 4)


def _extent(points: np.ndarray, size: tuple[int, int]) -> np.ndarray | None:
    """xyxy of what the picture shows of the hull of ``points`` [N, 2]; None where that has no area."""
    for axis, limit in enumerate(size):
        points = -_cut(-_cut(points, axis, 0), axis, -limit)
    if not len(points):
        return None
    low, high = points.min(0), points.max(0)
    return np.concatenate([low, high]) if (high > low).all() else None


def _cut(points: np.ndarray, axis: int, least: float) -> np.ndarray:
    """Points whose hull is that of ``points`` where ``axis`` is at least ``least``. All pairs across the border meet it within
    the hull, and its two corners there are among these."""
    inside = points[:, axis] >= least
    a, b = points[inside], points[~inside]
    if not len(a) or not len(b):
        return a
    share = (least - a[:, None, axis]) / (b[None, :, axis] - a[:, None, axis])
    met = (a[:, None] + share[..., None] * (b[None] - a[:, None])).reshape(-1, 2)
    met[:, axis] = least
    return np.concatenate([a, met[[met[:, 1 - axis].argmin(), met[:, 1 - axis].argmax()]]])
