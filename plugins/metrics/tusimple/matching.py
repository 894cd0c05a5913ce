"""TuSimple's lane benchmark, many frames at once.

A lane is an x for each row of the picture, below 0 where it has none. As in TuSimple's own ``LaneEval``: a point is right
within 20 pixels across the lane (20 / cos of its angle along the row), and where both lanes have none; a lane is found by the
best prediction if 85 % of its points are right; predictions are not used up; beyond four lanes the worst one is forgiven.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PIXELS, SHARE, SLOW = 20.0, 0.85, 200
_ABSENT = -100.0


class Lanes(NamedTuple):
    """Of frames with the same rows: ``xs`` float64 [F, L, H], ``number`` int64 [F] of the lanes that are there."""

    xs: np.ndarray
    number: np.ndarray


def padded(frames: list[list[list[float]]], rows: int) -> Lanes:
    """Lanes of each frame, one after the other, each of ``rows`` points."""
    count = np.array([len(lanes) for lanes in frames], np.int64)
    xs = np.full((len(frames), max(1, count.max(initial=0)), rows), -2.0)
    for lanes, values in zip(frames, xs):
        if lanes:
            values[: len(lanes)] = lanes
    return Lanes(xs, count)


def score(truth: Lanes, found: Lanes, rows: np.ndarray, slow: np.ndarray) -> np.ndarray:
    """float64 [F, 3]: accuracy, false positives and false negatives of each frame. ``rows`` float64 [H], the pictures' rows;
    ``slow`` bool [F]: predictions that took too long, which are worth nothing."""
    best = _best_accuracy(truth, found, rows)
    there = np.arange(best.shape[1]) < truth.number[:, None]
    matched = (there & (best >= SHARE)).sum(1)
    many = truth.number > 4
    missed = truth.number - matched
    missed = np.where(many & (missed > 0), missed - 1, missed)
    total = np.where(there, best, 0).sum(1) - np.where(many, np.where(there, best, np.inf).min(1), 0)
    lanes = np.maximum(np.minimum(truth.number, 4), 1)
    wrong = np.where(found.number > 0, (found.number - matched) / np.maximum(found.number, 1), 0)
    out = np.stack([total / lanes, wrong, missed / lanes], 1)
    out[slow | (found.number > truth.number + 2)] = 0, 0, 1
    return out


def _best_accuracy(truth: Lanes, found: Lanes, rows: np.ndarray) -> np.ndarray:
    """float64 [F, L]: of the predicted lane that has most points of each label right."""
    wide = PIXELS / np.cos(_angles(truth.xs, rows))
    labels, said = (np.where(lanes.xs >= 0, lanes.xs, _ABSENT) for lanes in (truth, found))
    best = np.zeros(labels.shape[:2])
    for lane in range(said.shape[1]):
        right = (np.abs(said[:, None, lane] - labels) < wide[..., None]).sum(2) / len(rows)
        best = np.where((lane < found.number)[:, None], np.maximum(best, right), best)
    return best


def _angles(xs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64 [F, L]: of a line fitted to a lane's points by least squares, 0 along the rows' normal."""
    there = xs >= 0
    count = np.maximum(there.sum(2), 1)
    centred = np.where(there, rows - (there * rows).sum(2, keepdims=True) / count[..., None], 0)
    spread = (centred**2).sum(2)
    slope = (centred * np.where(there, xs, 0)).sum(2) / np.where(spread > 0, spread, 1)
    return np.arctan(slope)
