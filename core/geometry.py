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

    def points(self, xy: np.ndarray) -> np.ndarray:
        """Points float32 [N, 2] of the original in output pixels, not clipped."""
        return (xy.astype(np.float64) * np.diag(self.matrix)[:2] + self.matrix[:2, 2]).astype(np.float32)

    @property
    def mirrors(self) -> bool:
        """Whether left and right are exchanged."""
        return bool(self.matrix[0, 0] < 0)

    @property
    def to_original(self) -> np.ndarray:
        """float64 [3, 3] from output to original pixels."""
        return np.linalg.inv(self.matrix)


def map_boxes(matrix: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Boxes float32 [N, 4] moved by an axis-aligned ``matrix`` [3, 3]; a flip keeps x1 <= x2 and y1 <= y2."""
    xyxy = np.asarray(xyxy, np.float64).reshape(-1, 2, 2)
    moved = xyxy * np.diag(matrix)[:2] + matrix[:2, 2]
    return np.concatenate([moved.min(1), moved.max(1)], 1).astype(np.float32)


def clip_line(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The longest piece, float32 [M, 2], of a polyline [K, 2] inside a picture of ``size`` (height, width); M is 0 where
    there is none. Each segment is cut at the edges (Liang and Barsky 1984)."""
    start, step = points[:-1].astype(np.float64), np.diff(points.astype(np.float64), axis=0)
    limit = np.array([size[1], size[0]], np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        first, second = -start / step, (limit - start) / step
    still = step == 0  # a coordinate that does not change is inside all along, or never
    inside = (start >= 0) & (start <= limit)
    enter = np.where(still, np.where(inside, 0.0, 2.0), np.minimum(first, second)).max(1, initial=0.0)
    leave = np.where(still, np.where(inside, 1.0, -1.0), np.maximum(first, second)).min(1, initial=1.0)
    pieces = _runs(start + enter[:, None] * step, start + leave[:, None] * step, enter, leave)
    lengths = [np.hypot(*np.diff(piece, axis=0).T).sum() for piece in pieces]
    if not pieces:
        return np.zeros((0, 2), np.float32)
    return pieces[int(np.argmax(lengths))].clip(0, limit).astype(np.float32)


def _runs(start: np.ndarray, end: np.ndarray, enter: np.ndarray, leave: np.ndarray) -> list[np.ndarray]:
    """Cut segments [N, 2] that follow one another, joined; a run ends where one leaves, and where one is outside."""
    seen = enter < leave
    joins = seen[1:] & seen[:-1] & (leave[:-1] == 1) & (enter[1:] == 0)
    heads = np.flatnonzero(seen & ~np.concatenate([[False], joins]))
    tails = np.flatnonzero(seen & ~np.concatenate([joins, [False]]))
    return [np.concatenate([start[a : b + 1], end[b : b + 1]]) for a, b in zip(heads, tails)]
