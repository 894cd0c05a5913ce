"""Cameras, poses and projection. Ego and world: x forward, y left, z up, metres. Camera: x right, y down, z forward."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

NEAR_M = 0.4
SUBPIXEL_BITS = 4  # fixed-point bits that OpenCV's polygon filler is given
_FIXED_LIMIT = 30000.0  # pixels; keeps fixed-point corners inside 32 bits with room to spare


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera.

    K: float [3, 3] in pixels, where pixel (0, 0) covers [0, 1) x [0, 1). sensor_to_ego: float [4, 4].
    """

    K: np.ndarray
    width: int
    height: int
    sensor_to_ego: np.ndarray

    @cached_property
    def rays(self) -> np.ndarray:
        """float32 [H, W, 3]: directions through the pixel centres, camera frame, z = 1."""
        u, v = np.meshgrid(np.arange(self.width) + 0.5, np.arange(self.height) + 0.5)
        pixels = np.stack([u, v, np.ones_like(u)], axis=-1)
        return np.ascontiguousarray((pixels @ np.linalg.inv(self.K).T).astype(np.float32))


def front_camera(
    width: int = 640,
    height: int = 360,
    hfov_deg: float = 62.0,
    mount_height: float = 1.45,
    pitch_deg: float = 0.0,
    yaw_deg: float = 0.0,
) -> Camera:
    """A camera behind the windscreen. Positive pitch looks down, positive yaw looks left."""
    focal = width / 2 / np.tan(np.radians(hfov_deg) / 2)
    K = np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1.0]])
    axes = np.array([[0, 0, 1.0], [-1, 0, 0], [0, -1, 0]])  # camera axes as columns in the ego frame
    sensor_to_ego = np.eye(4)
    sensor_to_ego[:3, :3] = rotation_z(np.radians(yaw_deg)) @ rotation_y(np.radians(pitch_deg)) @ axes
    sensor_to_ego[:3, 3] = (1.7, 0.0, mount_height)
    return Camera(K, width, height, sensor_to_ego)


def rotation_z(yaw: float) -> np.ndarray:
    """float64 [3, 3]: a turn to the left by yaw."""
    c, s = np.cos(yaw), np.sin(yaw)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1.0]])


def rotation_y(pitch: float) -> np.ndarray:
    """float64 [3, 3]: nose down by pitch (ISO 8855)."""
    c, s = np.cos(pitch), np.sin(pitch)
    return np.array([[c, 0, s], [0, 1.0, 0], [-s, 0, c]])


def pose(x: float, y: float, z: float, yaw: float, pitch: float = 0.0) -> np.ndarray:
    """float64 [4, 4]: body to parent."""
    out = np.eye(4)
    out[:3, :3] = rotation_z(yaw) @ rotation_y(pitch)
    out[:3, 3] = (x, y, z)
    return out


@dataclass(frozen=True)
class View:
    """A camera at a moment: world points to pixels."""

    camera: Camera
    camera_to_world: np.ndarray

    @cached_property
    def rotation(self) -> np.ndarray:
        """float64 [3, 3]: world directions to camera directions."""
        return np.ascontiguousarray(self.camera_to_world[:3, :3].T)

    @cached_property
    def position(self) -> np.ndarray:
        """float64 [3]: the optical centre in the world."""
        return self.camera_to_world[:3, 3]

    @property
    def focal(self) -> float:
        """Focal length in pixels."""
        return float(self.camera.K[0, 0])

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World points [N, 3] to camera points [N, 3]."""
        return (points - self.position) @ self.rotation.T

    def to_pixels(self, points: np.ndarray) -> np.ndarray:
        """Camera points [N, 3], all in front of the camera, to pixels [N, 2]."""
        K = self.camera.K
        scale = 1.0 / points[:, 2:3]
        return points[:, :2] * scale * (K[0, 0], K[1, 1]) + (K[0, 2], K[1, 2])


def clip_near(polygon: np.ndarray, near: float = NEAR_M) -> np.ndarray:
    """Cuts a polygon [N, 3] in the camera frame at z = near; returns [M, 3], M may be 0."""
    inside = polygon[:, 2] >= near
    if inside.all():
        return polygon
    kept = []
    for a, b, a_in, b_in in zip(polygon, np.roll(polygon, -1, 0), inside, np.roll(inside, -1), strict=True):
        if a_in:
            kept.append(a)
        if a_in != b_in:
            kept.append(a + (b - a) * ((near - a[2]) / (b[2] - a[2])))
    return np.array(kept).reshape(-1, 3)


def fixed_point(pixels: np.ndarray) -> np.ndarray:
    """Pixels [..., 2] to OpenCV's fixed-point corners, int32. OpenCV counts from pixel centres, we from corners."""
    limited = np.minimum(np.maximum(pixels, -_FIXED_LIMIT), _FIXED_LIMIT)
    return np.rint((limited - 0.5) * (1 << SUBPIXEL_BITS)).astype(np.int32)
