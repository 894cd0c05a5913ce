"""Depth: on which flat surface each pixel lies, as the painter draws it."""

import cv2
import numpy as np

from .geometry import NEAR_M, Camera, View
from .ground_view import FAR_M

FARTHEST_M = 255.0  # what is farther is unknown: 16 bits of 1/256 m hold no more


class Surfaces:
    """numbers: int32 [H, W], which of the surfaces that were added a pixel shows, 0 for ground and sky."""

    def __init__(self, shape: tuple[int, ...]):
        self.numbers = np.zeros(shape, np.int32)
        self._planes: list[tuple[float, ...]] = [(0.0, 0.0, 0.0, 1.0, 1.0)]

    def add(self, normal: np.ndarray, points: np.ndarray) -> int:
        """The number of a flat surface with this normal [3] through points [N, 3], whose depths bound its own; camera frame."""
        middle, depths = points.mean(axis=0), points[:, 2]
        offset = float(normal @ middle)
        plane = normal / (offset if abs(offset) > 1e-9 else 1e-9)
        near = max(float(depths.min()), NEAR_M)
        self._planes.append((*plane.tolist(), near, max(float(depths.max()), near)))
        return len(self._planes) - 1

    def depth(self, camera: Camera) -> np.ndarray:
        """float32 [H, W]: metres along the optical axis, 0 where no surface is. Where a plane is n . X = 1 and a pixel's
        ray has z = 1, 1 / depth is n . ray."""
        planes = np.array(self._planes, np.float32)[self.numbers]
        inverse = (planes[..., :3] * camera.rays).sum(axis=-1)
        depth = 1 / np.clip(inverse, 1 / planes[..., 4], 1 / planes[..., 3])
        return np.where(self.numbers > 0, depth, np.float32(0))


def ground_depth(view: View) -> np.ndarray:
    """float32 [H, W]: metres along the optical axis to the flat ground, 0 for what is above the horizon."""
    rise = cv2.transform(view.camera.rays, view.camera_to_world[2:3, :3].astype(np.float32))
    depth = np.float32(view.position[2]) / np.maximum(-rise, np.float32(1e-5))
    return np.where(depth < FAR_M, depth, np.float32(0))


def depth_of(view: View, surfaces: Surfaces) -> np.ndarray:
    """float32 [H, W]: metres along the optical axis, 0 for the sky and what is beyond FARTHEST_M."""
    depth = np.where(surfaces.numbers > 0, surfaces.depth(view.camera), ground_depth(view))
    return np.where(depth < FARTHEST_M, depth, np.float32(0))
