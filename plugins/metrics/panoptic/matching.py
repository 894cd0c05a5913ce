"""Panoptic quality of one picture (Kirillov et al., Panoptic Segmentation, 2019), with panopticapi's rules of void and crowd.

A match has the same class and an IoU over 1/2, its union without the prediction's pixels on void. An unmatched prediction
that lies for more than half on void, or on a crowd of its class, is not wrong; a crowd is never missed; of several crowds of a
class only the last in the file counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

TP, FP, FN, IOU = range(4)
_PLACES = 1 << 24  # ids are 24 bits
_UNKNOWN = 1
"""Pixels of an id that the picture's segments do not name; 0 is void."""


@dataclass
class Segments:
    """A picture's segments in the order of its file: ``ids`` and ``classes`` (places in the list of classes) int64 [S],
    ``crowd`` bool [S], ``area`` int64 [S] as the file states it, -1 where it does not."""

    ids: np.ndarray
    classes: np.ndarray
    crowd: np.ndarray
    area: np.ndarray


class Places:
    """Segment ids to their places, by a table of all 24 bits that is made once."""

    def __init__(self) -> None:
        self._table = np.full(_PLACES, _UNKNOWN, np.uint16)
        self._table[0] = 0

    def of(self, pixels: np.ndarray, ids: np.ndarray) -> np.ndarray:
        """uint16 of the shape of ``pixels`` (int32 ids): 0 void, 1 unknown, 2 + k the k-th of ``ids``."""
        self._table[ids] = np.arange(2, len(ids) + 2)
        places = self._table.take(pixels)
        self._table[ids] = _UNKNOWN
        return places


def shared_pixels(truth: np.ndarray, found: np.ndarray, rows: int, columns: int) -> np.ndarray:
    """int64 [rows, columns]: pixels of each pair of places (`Places.of`)."""
    pairs = truth.astype(np.intp)
    pairs *= columns
    pairs += found
    return np.bincount(pairs.ravel(), minlength=rows * columns).reshape(rows, columns)


def match(shared: np.ndarray, truth: Segments, found: Segments, classes: int) -> np.ndarray:
    """float64 [classes, 4]: true and false positives, false negatives, and the sum of the matches' IoUs.

    ``shared``: `shared_pixels` with the rows void, unknown, then ``truth``, the columns void, unknown, then ``found``."""
    inside, on_void = shared[2:, 2:], shared[0, 2:]
    area = shared[:, 2:].sum(0)
    of_truth = np.where(truth.area >= 0, truth.area, shared[2:].sum(1))
    union = of_truth[:, None] + area[None] - inside - on_void[None]
    same = (truth.classes[:, None] == found.classes[None]) & ~truth.crowd[:, None]
    iou = np.where(same, inside / np.maximum(union, 1), 0)
    rows, columns = np.nonzero(iou > 0.5)
    missed, wrong = ~truth.crowd, np.ones(len(found.ids), bool)
    missed[rows] = wrong[columns] = False
    wrong &= ~(on_void + _in_crowds(inside, truth, found) > 0.5 * area)
    counted = (truth.classes[rows], found.classes[wrong], truth.classes[missed])
    counts = [np.bincount(one, minlength=classes) for one in counted]
    return np.stack([*counts, np.bincount(truth.classes[rows], iou[rows, columns], classes)], 1)


def _in_crowds(inside: np.ndarray, truth: Segments, found: Segments) -> np.ndarray:
    """int64 [found]: pixels of each on the last crowd of its class."""
    last = {int(truth.classes[k]): k for k in np.flatnonzero(truth.crowd)}
    places = [last.get(int(one), -1) for one in found.classes]
    return np.array([inside[place, k] if place >= 0 else 0 for k, place in enumerate(places)], np.int64)


def quality(counts: np.ndarray, names: list[str], things: np.ndarray) -> dict[str, Any]:
    """``All``, ``Things`` and ``Stuff`` with ``pq``, ``sq``, ``rq`` and ``n``, the number of classes that occur, and
    ``per_class``. ``counts`` float64 [classes, 4] of `match`, summed over pictures; None where no class occurs."""
    tp, fp, fn, iou = counts.T
    half = tp + 0.5 * fp + 0.5 * fn
    there = half > 0
    sums = np.stack([iou / np.where(there, half, 1), iou / np.where(tp > 0, tp, 1), tp / np.where(there, half, 1)])
    groups = {"All": there, "Things": there & things, "Stuff": there & ~things}
    out: dict[str, Any] = {name: _mean(sums[:, group]) for name, group in groups.items()}
    out["per_class"] = {name: _of_class(sums[:, k], counts[k]) for k, name in enumerate(names)}
    return out


def _mean(sums: np.ndarray) -> dict[str, float | int | None]:
    means = sums.mean(1).tolist() if sums.shape[1] else (None, None, None)
    return {**dict(zip(("pq", "sq", "rq"), means)), "n": sums.shape[1]}


def _of_class(sums: np.ndarray, counts: np.ndarray) -> dict[str, float | int]:
    tp, fp, fn = (int(count) for count in counts[:IOU])
    return {**dict(zip(("pq", "sq", "rq"), sums.tolist())), "tp": tp, "fp": fp, "fn": fn, "iou_sum": float(counts[IOU])}
