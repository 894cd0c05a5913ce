"""KITTI's precision and orientation curves over 41 recalls, with each frame counted any number of times."""

from __future__ import annotations

import numpy as np

from .matching import CLASSES, DIFFICULTIES, Found, Steps

_POINTS = 41


class Counted:
    """What was found of one class at one difficulty, in all frames, ranked once."""

    def __init__(self, frames: list[Found]):
        self.labels = np.array([found.labels for found in frames], np.int64)
        taken, of_taken = _gathered([(found.taken,) for found in frames], 1)
        steps, of_steps = _gathered([found.steps for found in frames], len(Steps._fields))
        order, ranks = np.argsort(-taken[0], kind="stable"), np.argsort(-steps[0], kind="stable")
        self.taken, self.of_taken = taken[0][order], of_taken[order]
        self.steps, self.of_steps = steps[:, ranks], of_steps[ranks]

    def curves(self, times: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """float64 [41] each: the best precision, and the best orientation similarity, from each recall on."""
        thresholds = _thresholds(np.repeat(self.taken, times[self.of_taken]), int(self.labels @ times))
        hits, misses, similar = np.cumsum(self.steps[1:] * times[self.of_steps], 1)
        place = np.searchsorted(-self.steps[0], -thresholds, side="right") - 1
        said = np.maximum(hits[place] + misses[place], 1)  # a whole number, or 0 above 0
        curves = np.zeros((2, _POINTS))
        curves[:, : len(place)] = hits[place] / said, similar[place] / said
        best = np.maximum.accumulate(curves[:, ::-1], 1)[:, ::-1]
        return best[0], best[1]


def _gathered(frames: list[tuple[np.ndarray, ...]], fields: int) -> tuple[np.ndarray, np.ndarray]:
    """float64 [fields, N] of all frames, and which frame each column is from."""
    numbers = np.repeat(np.arange(len(frames)), np.array([len(frame[0]) for frame in frames], np.int64))
    return np.concatenate([np.zeros((fields, 0)), *(np.stack(frame) for frame in frames)], 1), numbers


def _thresholds(taken: np.ndarray, labels: int) -> np.ndarray:
    """The scores, falling, at which recall is nearest to 0, 1/40, 2/40...; ``taken`` [T] falls."""
    if not len(taken):
        return taken
    ranks = np.arange(1, len(taken) + 1)
    left, right = ranks / labels, (ranks + 1) / labels
    out, recall, start = [], 0.0, 0
    while start < len(taken):
        skipped = (right[start:-1] - recall) < (recall - left[start:-1])  # the last is never skipped
        start += int(skipped.argmin()) if len(skipped) and not skipped.all() else len(skipped)
        out.append(taken[start])
        recall, start = recall + 1 / (_POINTS - 1), start + 1
    return np.array(out)


def figures(cells: dict[tuple[str, str], Counted], times: np.ndarray) -> dict[str, dict]:
    """class -> ``bbox`` and ``aos`` -> difficulty -> ``AP_R40``, ``AP_R11`` in percent; classes without a label are None."""
    return {name: _of_class(name, cells, times) for name in CLASSES}


def _of_class(name: str, cells: dict[tuple[str, str], Counted], times: np.ndarray) -> dict[str, dict]:
    out: dict[str, dict] = {"bbox": {}, "aos": {}}
    for level in DIFFICULTIES:
        cell = cells[name, level]
        known = bool(cell.labels @ times)
        for kind, curve in zip(out, cell.curves(times)):
            out[kind][level] = {
                "AP_R40": 100 * float(curve[1:].mean()) if known else None,  # since 08.10.2019 without recall 0
                "AP_R11": 100 * float(curve[::4].mean()) if known else None,
            }
    return out
