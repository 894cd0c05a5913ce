"""Geometry of pictures. Pixels: x right, y down, pixel (0, 0) covers [0, 1) x [0, 1), so a resize is a pure scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class View:
    """Where a picture's pixels go: ``matrix`` float64 [3, 3] from original to output pixels (scale, flip and shift along
    the axes), ``size`` (height, width) of the output. Output outside the original is padding: black, and ignored."""

    matrix: np.ndarray
    size: tuple[int, int]

    @staticmethod
    def identity(height: int, width: int) -> View:
        return View(np.eye(3), (height, width))

    def then(self, matrix: np.ndarray, size: tuple[int, int]) -> View:
        """This view followed by ``matrix`` [3, 3], from its output pixels to those of ``size``."""
        return View(matrix @ self.matrix, size)

    def scaled(self, height: int, width: int) -> View:
        """This view followed by a stretch to ``height`` x ``width``."""
        return self.then(np.diag([width / self.size[1], height / self.size[0], 1.0]), (height, width))

    def boxes(self, xyxy: np.ndarray) -> np.ndarray:
        """Boxes float32 [N, 4] of the original in output pixels, not clipped."""
        return map_boxes(self.matrix, xyxy)

    @property
    def to_original(self) -> np.ndarray:
        """float64 [3, 3] from output to original pixels."""
        return np.linalg.inv(self.matrix)


def map_boxes(matrix: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Boxes float32 [N, 4] moved by an axis-aligned ``matrix`` [3, 3]; a flip keeps x1 <= x2 and y1 <= y2."""
    xyxy = np.asarray(xyxy, np.float64).reshape(-1, 2, 2)
    moved = xyxy * np.diag(matrix)[:2] + matrix[:2, 2]
    return np.concatenate([moved.min(1), moved.max(1)], 1).astype(np.float32)
