"""CULane's measure of one picture: lanes are drawn as broad bands and matched by the bands' IoU.

As in the evaluator of SCNN (Pan et al., Spatial As Deep, 2018): a lane of three or more points goes through a natural cubic
spline over its chord length, 50 steps a segment, is drawn by OpenCV at whole pixels, and each label takes at most one
prediction so that the sum of IoUs is greatest.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

_STEPS = 50


def lane_ious(labels: list[np.ndarray], found: list[np.ndarray], size: tuple[int, int], width: int) -> np.ndarray:
    """float64 [labels, found] of lanes, each float64 [P, 2] of x and y in pixels; ``size`` (height, width) of the picture; 0
    for a lane of less than two points."""
    bands, others = ([drawn(lane, size, width) for lane in lanes] for lanes in (labels, found))
    areas, other_areas = ([cv2.countNonZero(band) for band in side] for side in (bands, others))
    out = np.zeros((len(labels), len(found)))
    for i, band in enumerate(bands):
        for k, other in enumerate(others):
            inside = cv2.countNonZero(cv2.bitwise_and(band, other))
            out[i, k] = inside / max(areas[i] + other_areas[k] - inside, 1)
    return out


def matched(labels: list[np.ndarray], found: list[np.ndarray], size: tuple[int, int], width: int, over: np.ndarray
            ) -> np.ndarray:  # fmt: skip
    """int64 [T]: how many lanes are matched with an IoU above each of the thresholds ``over`` [T]."""
    iou = lane_ious(labels, found, size, width)
    best = np.array([iou[pair] for pair in assigned(iou)])
    return (best[:, None] > over).sum(0) if len(best) else np.zeros(len(over), np.int64)


def measure(tp: int, found: int, labels: int) -> dict[str, Any]:
    """``tp``, ``fp``, ``fn``, ``precision``, ``recall`` and ``Fmeasure``; None where there is nothing to be scored."""
    precision, recall = (tp / count if count else None for count in (found, labels))
    f1 = 2 * tp / (found + labels) if found and labels else None
    return {"tp": tp, "fp": found - tp, "fn": labels - tp, "precision": precision, "recall": recall, "Fmeasure": f1}


def drawn(lane: np.ndarray, size: tuple[int, int], width: int) -> np.ndarray:
    """uint8 [H, W]: 1 where the lane's band lies."""
    band = np.zeros(size, np.uint8)
    if len(lane) > 1:
        lane = lane.astype(np.float32).astype(np.float64)  # the evaluator's points are of single precision
        points = np.rint((spline(lane) if len(lane) > 2 else lane).astype(np.float32)).astype(np.int32)
        moved = np.concatenate([[True], (np.diff(points, axis=0) != 0).any(1)])
        points = points[moved] if moved.sum() > 1 else points[:2]
        cv2.polylines(band, [points[:, None]], False, 1, width)
    return band


def spline(points: np.ndarray) -> np.ndarray:
    """float64 [50 (P - 1) + 1, 2]: through ``points`` [P, 2], P from 3, without curvature at the ends."""
    length = np.hypot(*np.diff(points, axis=0).T)
    length = np.where(length > 0, length, 1e-12)[:, None]  # a point given twice
    slope = np.diff(points, axis=0) / length
    bend = np.zeros_like(points)
    system = np.diag(2 * (length[:-1] + length[1:])[:, 0])
    system += np.diag(length[1:-1, 0], 1) + np.diag(length[1:-1, 0], -1)
    bend[1:-1] = np.linalg.solve(system, 6 * np.diff(slope, axis=0))  # second derivatives
    t = np.arange(_STEPS) / _STEPS * length
    first = slope - length * (2 * bend[:-1] + bend[1:]) / 6
    cubic = np.diff(bend, axis=0) / (6 * length)
    curve = points[:-1, None] + t[..., None] * (
        first[:, None] + t[..., None] * (bend[:-1, None] / 2 + t[..., None] * cubic[:, None])
    )
    return np.concatenate([curve.reshape(-1, 2), points[-1:]])


def assigned(gain: np.ndarray) -> list[tuple[int, int]]:
    """Rows with columns, each used once, of the greatest total ``gain`` [N, M]: the Hungarian method by shortest augmenting
    paths (Kuhn, 1955; Jonker and Volgenant, 1987)."""
    if gain.shape[0] > gain.shape[1]:
        return [(row, column) for column, row in assigned(gain.T)]
    rows, columns = gain.shape
    cost = np.zeros((rows + 1, columns + 1))
    cost[1:, 1:] = -gain
    u, v, row_of = np.zeros(rows + 1), np.zeros(columns + 1), np.zeros(columns + 1, np.int64)
    for row in range(1, rows + 1):
        _augment(row, cost, u, v, row_of)
    return [(int(row_of[k]) - 1, k - 1) for k in range(1, columns + 1) if row_of[k]]


def _augment(row: int, cost: np.ndarray, u: np.ndarray, v: np.ndarray, row_of: np.ndarray) -> None:
    """Give ``row`` a column, moving others; column 0 stands for the row that looks for one."""
    least, came_from = np.full(len(v), np.inf), np.zeros(len(v), np.int64)
    used, column = np.zeros(len(v), bool), 0
    row_of[0] = row
    while True:
        used[column] = True
        at = row_of[column]
        reach = cost[at] - u[at] - v
        nearer = ~used & (reach < least)
        least[nearer], came_from[nearer] = reach[nearer], column
        step = np.where(used, np.inf, least)
        step[0] = np.inf
        nearest = int(step.argmin())
        u[row_of[used]] += step[nearest]
        v[used] -= step[nearest]
        least[~used] -= step[nearest]
        column = nearest
        if not row_of[column]:
            break
    while column:
        row_of[column] = row_of[came_from[column]]
        column = came_from[column]
