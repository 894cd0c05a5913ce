"""One frame of KITTI's object benchmark, matched at every score threshold at once.

As the devkit's ``evaluate_object`` does (Geiger et al., Are we ready for autonomous driving?, 2012): a label that is too
small, hidden or cut off, or of a neighbouring class, neither counts nor makes a detection wrong; a detection lower than the
smallest label, of any class, may take a label and then counts for nothing; what lies in a DontCare region is not wrong.
Which detection a label takes depends on those above the threshold, so a frame's counts are steps of the threshold: here each
step is one row, and labels are walked once for all rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

CLASSES = ("Car", "Pedestrian", "Cyclist")
DIFFICULTIES = ("easy", "moderate", "hard")
OVERLAP = {"Car": 0.7, "Pedestrian": 0.5, "Cyclist": 0.5}
_NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting"}
_MIN_HEIGHT, _MAX_OCCLUSION, _MAX_TRUNCATION = (40, 25, 25), (0, 1, 2), (0.15, 0.3, 0.5)


@dataclass
class Objects:
    """Labels or detections of a frame: ``names`` in lower case; ``boxes`` float64 [N, 4], x1 y1 x2 y2 in pixels; ``alpha`` in
    radians; ``truncation``, ``occlusion`` of labels, ``score`` of detections, float64 [N]."""

    names: np.ndarray
    boxes: np.ndarray
    alpha: np.ndarray
    truncation: np.ndarray
    occlusion: np.ndarray
    score: np.ndarray


class Steps(NamedTuple):
    """What a frame adds to the counts as the threshold falls to ``score``: float64 [K] each."""

    score: np.ndarray
    hits: np.ndarray
    misses: np.ndarray
    similarity: np.ndarray


class Found(NamedTuple):
    """``labels``: how many were to be found; ``taken``: scores of the detections that recall is counted by, float64 [T]."""

    labels: int
    taken: np.ndarray
    steps: Steps


NOTHING = Found(0, np.zeros(0), Steps(*(np.zeros(0) for _ in range(4))))


def match_frame(labels: Objects, found: Objects) -> dict[tuple[str, str], Found]:
    """(class, difficulty) -> what was found of it."""
    iou, of_found = overlaps(found.boxes, labels.boxes)
    dont_care = of_found[:, labels.names == "dontcare"]
    return {
        (name, DIFFICULTIES[level]): _match(name, level, labels, found, iou, dont_care)
        for name in CLASSES
        for level in range(3)
    }


def overlaps(one: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float64 [N, M]: intersection over union, and over the area of ``one``; 0 where boxes only touch."""
    low, high = np.maximum(one[:, None, :2], other[None, :, :2]), np.minimum(one[:, None, 2:], other[None, :, 2:])
    sides = high - low
    inside = np.where((sides > 0).all(2), sides[..., 0] * sides[..., 1], 0)
    area, other_area = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) for boxes in (one, other))
    with np.errstate(invalid="ignore", divide="ignore"):  # boxes without area meet nothing
        return _known(inside / (area[:, None] + other_area - inside)), _known(inside / area[:, None])


def _known(ratio: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(ratio), ratio, 0)


def _match(name: str, level: int, labels: Objects, found: Objects, iou: np.ndarray, dont_care: np.ndarray) -> Found:
    wanted, spared = _labels_of(name, level, labels)
    low = found.boxes[:, 3] - found.boxes[:, 1]
    low = np.abs(low) < _MIN_HEIGHT[level]
    counted = (found.names == name.lower()) & ~low
    rows = np.flatnonzero(wanted | spared)
    if not len(rows) and not counted.any():
        return NOTHING
    hit = iou[:, rows] > OVERLAP[name]
    near = np.flatnonzero((counted | low) & hit.any(1))  # the only ones that may take a label
    alone = np.flatnonzero(counted & ~hit.any(1))
    excused = np.any(dont_care > OVERLAP[name], 1)
    pairs = _Pairs(iou[np.ix_(near, rows)], hit[near], found.score[near], low[near], wanted[rows])
    turned = labels.alpha[rows][None] - found.alpha[near][:, None]
    return Found(
        int(wanted.sum()), _taken(pairs), _joined(_steps(pairs, turned, excused[near]), found.score[alone], excused[alone])
    )


def _labels_of(name: str, level: int, labels: Objects) -> tuple[np.ndarray, np.ndarray]:
    """bool [labels]: those to be found, and those that may be."""
    own, near = labels.names == name.lower(), labels.names == _NEIGHBOUR.get(name.lower(), "")
    height = labels.boxes[:, 3] - labels.boxes[:, 1]
    hard = (labels.occlusion > _MAX_OCCLUSION[level]) | (labels.truncation > _MAX_TRUNCATION[level])
    hard |= height < _MIN_HEIGHT[level]
    return own & ~hard, near | (own & hard)


class _Pairs(NamedTuple):
    """Candidates [D] against labels [G], both in the order of their files."""

    iou: np.ndarray
    hit: np.ndarray  # bool [D, G]
    score: np.ndarray
    low: np.ndarray  # bool [D]: may take a label, and then counts for nothing
    wanted: np.ndarray  # bool [G]


def _taken(pairs: _Pairs) -> np.ndarray:
    """The scores by which recall is counted: each label takes the best scored of the detections on it that are left."""
    left, taken = np.ones(len(pairs.score), bool), []
    for label in range(len(pairs.wanted)):
        free = np.flatnonzero(left & pairs.hit[:, label])
        if len(free):
            best = free[np.argmax(pairs.score[free])]
            left[best] = False
            if pairs.wanted[label] and not pairs.low[best]:
                taken.append(pairs.score[best])
    return np.array(taken, np.float64)


def _steps(pairs: _Pairs, turned: np.ndarray, excused: np.ndarray) -> Steps:
    """The counts of the candidates at each of their scores, as differences from the next higher one."""
    scores = np.unique(pairs.score)[::-1]
    left = pairs.score[None] >= scores[:, None]  # [K, D]
    seen, every = left.copy(), np.arange(len(scores))
    hits, similar = np.zeros(len(scores)), np.zeros(len(scores))
    for label in range(len(pairs.wanted)):
        best, some = _best(left & pairs.hit[:, label], pairs.iou[:, label], pairs.low)
        left[every[some], best[some]] = False
        if pairs.wanted[label]:
            right = some & ~pairs.low[best]
            hits += right
            similar += np.where(right, (1 + np.cos(turned[best, label])) / 2, 0)
    misses = (seen & left & ~pairs.low & ~excused).sum(1)
    return Steps(scores, *(np.diff(values, prepend=0) for values in (hits, misses, similar)))


def _best(free: np.ndarray, iou: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [K], bool [K]: which candidate a label takes at each step, and whether any: the greatest overlap among those that
    count, the first of equals; where there is none, the first of the low ones."""
    if not free.shape[1]:
        return np.zeros(len(free), np.int64), np.zeros(len(free), bool)
    proper = free & ~low
    best = np.where(proper.any(1), np.where(proper, iou, -1).argmax(1), free.argmax(1))
    return best, np.any(free, 1)


def _joined(steps: Steps, alone: np.ndarray, excused: np.ndarray) -> Steps:
    """With the detections that lie on no label: wrong but for those in a DontCare region."""
    wrong = alone[~excused]
    none = np.zeros(len(wrong))
    more = Steps(wrong, none, none + 1, none)
    return Steps(*(np.concatenate(pair) for pair in zip(steps, more)))
