"""What became of every label and every detection at an IoU of .5: counts by class, size and distance, and what each kind of
mistake costs.

Counts are of detections from the score on at which F1, all classes together, is greatest over all pictures; slices and
resamples keep that score, so that the counts of parts add up to those of the whole. A right detection is counted with its
label's size and distance, a wrong one with its own. What a kind costs is what AP50 would gain without it, as in TIDE: a box of
the wrong place or class is put right where its label has no other, and left out else; the rest are left out; missed labels are
not asked for.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from .counting import Pairs, average_precision
from .kinds import CLASS, KINDS, LOCALISATION, Boxes, mistakes

SIZES = ("small", "medium", "large")
_AREAS = (32**2, 96**2)  # pixels, COCO's
DISTANCES = ("0-30 m", "30-50 m", "50 m on", "unknown")
_METRES = (30, 50)  # Sun et al., Scalability in Perception for Autonomous Driving: Waymo Open Dataset, 2020


class Sides(NamedTuple):
    """Labels or detections, with their area in pixels^2 and their distance in metres, NaN where unknown, float64 [N]."""

    boxes: Boxes
    area: np.ndarray
    distance: np.ndarray


class _Ranked(NamedTuple):
    """Detections of one class, ranked by score: their pictures int64 [N] and whether they are right bool [N]."""

    pictures: np.ndarray
    hit: np.ndarray


class Outcomes:
    """``score`` float [detections]; ``classes``: their names; without ``distances`` nothing is counted by them."""

    def __init__(self, labels: Sides, found: Sides, score: np.ndarray, pairs: Pairs, classes: Sequence[str],
                 distances: bool = True):  # fmt: skip
        self.classes, self.score, self.pairs = tuple(classes), score, pairs
        self.names = {"class": self.classes, "size": SIZES, **({"distance": DISTANCES} if distances else {})}
        self.of_label, self.of_found = labels.boxes.pictures, found.boxes.pictures
        self.mistakes = mistakes(labels.boxes, found.boxes, pairs)
        self.at = best_score(score, pairs)
        self.label_bins, own = _bins(labels), _bins(found)
        right = pairs.of_detection
        self.found_bins = {name: np.where(pairs.hit, bins[right], own[name]) if len(bins) else own[name]
                           for name, bins in self.label_bins.items()}  # fmt: skip
        self._lists = {kind: self._fixed(kind) for kind in (None, *range(len(KINDS)))}
        self._counted = score >= (np.inf if self.at is None else self.at)
        self._missed, self._missed_then = (self._missed_of(some) for some in (np.ones(len(score), bool), self._counted))

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        """``objects`` per class, the labels to be found; ``counts`` of ``labels``, ``tp``, ``fp`` and ``fn``, whole, by class,
        size and distance; ``errors``: ``count`` and ``ap``, what AP50 would gain, per kind. ``times`` int64 [pictures]."""
        labels = times[self.of_label] * self.pairs.wanted
        said = times[self.of_found] * self._counted
        by = {name: self._table(name, labels, said, values) for name, values in self.names.items()}
        objects = {name: row["labels"] for name, row in by["class"].items()}
        sums = {name: sum(row[name] for row in by["class"].values()) for name in ("labels", "tp", "fp", "fn")}
        return {"objects": objects, "counts": {"score": self.at, **sums, **by}, "errors": self._errors(times, labels, said)}

    def _table(self, name: str, labels: np.ndarray, said: np.ndarray, values: Sequence[str]) -> dict[str, dict[str, int]]:
        of_label, of_found, number = self.label_bins[name], self.found_bins[name], len(values)
        rows = np.stack([np.bincount(of_label, labels, number), np.bincount(of_found, said * self.pairs.hit, number),
                         np.bincount(of_found, said * self.pairs.miss, number)]).astype(np.int64)  # fmt: skip
        columns = dict(zip(("labels", "tp", "fp", "fn"), (*rows.tolist(), (rows[0] - rows[1]).tolist())))
        return {value: {column: counts[k] for column, counts in columns.items()} for k, value in enumerate(values)}

    # ---- mistakes

    def _errors(self, times: np.ndarray, labels: np.ndarray, said: np.ndarray) -> dict[str, dict[str, Any]]:
        wanted = np.bincount(self.label_bins["class"], labels, len(self.classes))
        missed = np.bincount(self.label_bins["class"], labels * self._missed, len(self.classes))
        plain = self._ap50(None, wanted, wanted, times)
        counts = np.bincount(self.mistakes.kind + 1, said, len(KINDS) + 1)[1:]
        gains = [_gain(self._ap50(kind, wanted, wanted, times), plain) for kind in range(len(KINDS))]
        rows = {name: {"count": int(count), "ap": gain} for name, count, gain in zip(KINDS, counts, gains)}
        gain = _gain(self._ap50(None, wanted, wanted - missed, times), plain)
        return {"missed": {"count": int(labels @ self._missed_then), "ap": gain}, **rows}

    def _missed_of(self, some: np.ndarray) -> np.ndarray:
        """bool [labels]: those that no detection of ``some`` found, or would have but for its place or class."""
        found = np.zeros(len(self.of_label), bool)
        for labels in (self.pairs.of_detection[some & self.pairs.hit], self.mistakes.meant[some]):
            found[labels[labels >= 0]] = True
        return self.pairs.wanted & ~found

    def _fixed(self, kind: int | None) -> list[_Ranked]:
        """Per class the detections, as they would be if mistakes of ``kind`` were put right."""
        hit, kept = self.pairs.hit.copy(), self.pairs.hit | self.pairs.miss
        classes = self.found_bins["class"].copy()
        if kind is not None:
            wrong = self.mistakes.kind == kind
            kept &= ~wrong
            if kind in (LOCALISATION, CLASS):
                rows = self._best_for_label()
                rows = rows[wrong[rows]]
                kept[rows] = hit[rows] = True
                classes[rows] = self.label_bins["class"][self.mistakes.meant[rows]]
        order = np.argsort(-self.score, kind="stable")
        order = order[kept[order]]
        ranked = [order[classes[order] == number] for number in range(len(self.classes))]
        return [_Ranked(self.of_found[rows], hit[rows]) for rows in ranked]

    def _best_for_label(self) -> np.ndarray:
        """int64 [M]: of the detections that mean a label which none has found, the best scored one of each."""
        meant = self.mistakes.meant
        rows = np.flatnonzero(meant >= 0)
        rows = rows[self.pairs.of_label[meant[rows]] < 0]
        rows = rows[np.argsort(-self.score[rows], kind="stable")]
        return rows[np.unique(meant[rows], return_index=True)[1]]

    def _ap50(self, kind: int | None, wanted: np.ndarray, asked: np.ndarray, times: np.ndarray) -> float | None:
        """Mean over the classes of which there is something to be found, ``asked`` [classes] of the ``wanted`` labels. As in
        TIDE a class of which nothing is asked any more is 0 where something is said of it, and left out else."""
        rows = [(ranked, times[ranked.pictures], int(number))
                for ranked, there, number in zip(self._lists[kind], wanted, asked) if there > 0]  # fmt: skip
        aps = [_ap(ranked, weights, number) for ranked, weights, number in rows if number or weights.any()]
        return float(np.mean(aps)) if aps else 1.0 if rows else None


def best_score(score: np.ndarray, pairs: Pairs) -> float | None:
    """The greatest score from which on F1 = 2 TP / (detections + labels) is greatest; None without a detection."""
    rows = np.flatnonzero(pairs.hit | pairs.miss)
    order = rows[np.argsort(-score[rows], kind="stable")]
    if not len(order):
        return None
    f1 = 2 * np.cumsum(pairs.hit[order]) / (np.arange(1, len(order) + 1) + pairs.wanted.sum())
    last = np.append(score[order][1:] != score[order][:-1], True)  # of equal scores
    return float(score[order[np.argmax(np.where(last, f1, -1))]])


def _bins(side: Sides) -> dict[str, np.ndarray]:
    distance = np.where(np.isnan(side.distance), len(_METRES) + 1, np.digitize(side.distance, _METRES))
    return {"class": side.boxes.classes.astype(np.int64), "size": np.digitize(side.area, _AREAS), "distance": distance}


def _ap(ranked: _Ranked, weights: np.ndarray, asked: int) -> float:
    return float(average_precision(ranked.hit[None], ~ranked.hit[None], weights, asked)[0]) if asked else 0.0


def _gain(fixed: float | None, plain: float | None) -> float | None:
    """At least 0: a gain below it is one of rounding recalls to 101 steps."""
    return None if fixed is None or plain is None else max(fixed - plain, 0.0)
