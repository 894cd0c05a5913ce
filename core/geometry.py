"""Geometry of pictures. Pixels: x right, y down, pixel (0, 0) covers [0, 1) x [0, 1), so a resize is a pure scaling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

Window = tuple[float, float, float, float]
"""x1 y1 x2 y2 in pixels."""


@dataclass(frozen=True)
class Optics:
    """How a camera projects, as far as a straight line goes; distortion is left aside. ``intrinsics`` float64 [3, 3] of the
    original's pixels; ``sensor_to_ego`` float64 [4, 4], None where unknown: then the camera counts as level."""

    intrinsics: np.ndarray
    sensor_to_ego: np.ndarray | None = None

    @property
    def pitch(self) -> float:
        """Tangent of the angle from the optical axis down to the horizon, in the camera's own upright plane.

        A direction (0, t, 1) of the camera (x right, y down, z forward) is level where it is at right angles to the ego
        frame's z, which the camera sees as the third row of its rotation."""
        if self.sensor_to_ego is None:
            return 0.0
        up = np.asarray(self.sensor_to_ego)[2, :3]
        return float(-up[2] / up[1]) if abs(up[1]) > 1e-6 else float("nan")


@dataclass(frozen=True)
class View:
    """Where a picture's pixels go: ``matrix`` float64 [3, 3] from original to output pixels (scale, flip and shift along
    the axes), ``size`` (height, width) of the output. Output outside the original is padding: black, and ignored.

    ``window``: the part of the output that is this picture's, where it shares the output with others; None: all of it.
    ``optics`` of the camera, None where its intrinsics are unknown."""

    matrix: np.ndarray
    size: tuple[int, int]
    window: Window | None = None
    optics: Optics | None = None

    @staticmethod
    def identity(height: int, width: int, optics: Optics | None = None) -> View:
        return View(np.eye(3), (height, width), None, optics)

    def then(self, matrix: np.ndarray, size: tuple[int, int]) -> View:
        """This view followed by ``matrix`` [3, 3], from its output pixels to those of ``size``."""
        window = self.window and _window(map_boxes(matrix, np.array([self.window])))
        return View(matrix @ self.matrix, size, window, self.optics)

    def scaled(self, height: int, width: int) -> View:
        """This view followed by a stretch to ``height`` x ``width``."""
        return self.then(np.diag([width / self.size[1], height / self.size[0], 1.0]), (height, width))

    def shifted(self, x: float, y: float, size: tuple[int, int]) -> View:
        """This view moved by ``x``, ``y`` pixels and cut, or padded, to ``size``."""
        return self.then(np.array([[1.0, 0, x], [0, 1, y], [0, 0, 1]]), size)

    def mirrored(self) -> View:
        """This view with left and right exchanged."""
        return self.then(np.array([[-1.0, 0, self.size[1]], [0, 1, 0], [0, 0, 1]]), self.size)

    def within(self, window: Window) -> View:
        """This view, of which only ``window`` is shown."""
        return View(self.matrix, self.size, window, self.optics)

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
    def bounds(self) -> tuple[int, int, int, int]:
        """x1 y1 x2 y2 in whole pixels: the window, as far as it lies in the output."""
        height, width = self.size
        if self.window is None:
            return 0, 0, width, height
        x1, y1, x2, y2 = map(round, self.window)
        return max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)

    @property
    def to_original(self) -> np.ndarray:
        """float64 [3, 3] from output to original pixels."""
        return np.linalg.inv(self.matrix)

    @property
    def intrinsics(self) -> np.ndarray | None:
        """float64 [3, 3] of the output's pixels; a mirrored picture is one of the mirrored world. None where unknown."""
        if self.optics is None:
            return None
        return _upright(self.matrix @ np.asarray(self.optics.intrinsics, np.float64))

    @property
    def horizon(self) -> float | None:
        """Row of the output at which level ground ends, at the column of the principal point; it may lie outside. None
        where unknown."""
        if self.optics is None or np.isnan(self.optics.pitch):
            return None
        intrinsics = self.optics.intrinsics
        row = intrinsics[1, 2] + intrinsics[1, 1] * self.optics.pitch
        return float(self.matrix[1, 1] * row + self.matrix[1, 2])


def map_boxes(matrix: np.ndarray, xyxy: np.ndarray) -> np.ndarray:
    """Boxes float32 [N, 4] moved by an axis-aligned ``matrix`` [3, 3]; a flip keeps x1 <= x2 and y1 <= y2."""
    xyxy = np.asarray(xyxy, np.float64).reshape(-1, 2, 2)
    moved = xyxy * np.diag(matrix)[:2] + matrix[:2, 2]
    return np.concatenate([moved.min(1), moved.max(1)], 1).astype(np.float32)


def _window(boxes: np.ndarray) -> Window:
    x1, y1, x2, y2 = boxes[0].tolist()
    return x1, y1, x2, y2


def _upright(intrinsics: np.ndarray) -> np.ndarray:
    """With positive focal lengths: an axis that a flip has turned is turned in the world too."""
    turned = np.sign(np.diag(intrinsics))
    return intrinsics @ np.diag([turned[0], turned[1], 1.0])


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
