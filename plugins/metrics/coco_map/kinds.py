"""What kind of mistake each wrong detection is, as TIDE has it (Bolya et al., TIDE: A General Toolbox for Identifying Object
Detection Errors, 2020), at its thresholds of IoU: 0.5 for a box that is right, 0.1 for one that is on the object at all.

- ``localisation``: of the right class, on a label, but badly: an IoU from 0.1 to 0.5.
- ``class``: well on a label of another class.
- ``duplicate``: well on a label that a detection of a higher score has found.
- ``background``: on no label, an IoU of at most 0.1.
- ``both``: of another class and badly on its label.
- ``missed``: a label that no detection found, and none would have found with the right class or a better box.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from pycocotools import mask

from .counting import Pairs

RIGHT, ON_OBJECT = 0.5, 0.1
KINDS = ("localisation", "class", "duplicate", "background", "both")
LOCALISATION, CLASS, DUPLICATE, BACKGROUND, BOTH = range(len(KINDS))
_NONE = -1


class Boxes(NamedTuple):
    """Labels or detections of all pictures."""

    pictures: np.ndarray  # int64 [N]
    classes: np.ndarray  # int64 [N]
    xywh: np.ndarray  # float64 [N, 4], pixels


class Mistakes(NamedTuple):
    """Of each detection its ``kind``, int64 [N], -1 where it is right or does not count, and ``meant``, int64 [N], the label
    that it would have found but for a mistake of localisation or class, -1 for none."""

    kind: np.ndarray
    meant: np.ndarray


def mistakes(labels: Boxes, found: Boxes, pairs: Pairs) -> Mistakes:
    """Of every detection that is wrong at an IoU of .5."""
    out = Mistakes(np.full(len(found.pictures), _NONE), np.full(len(found.pictures), _NONE))
    wanted, wrong = (rows[np.argsort(boxes.pictures[rows], kind="stable")] for boxes, rows in
                     ((labels, np.flatnonzero(pairs.wanted)), (found, np.flatnonzero(pairs.miss))))  # fmt: skip
    pictures = np.unique(found.pictures[wrong])
    ends = [np.searchsorted(boxes.pictures[rows], [pictures, pictures + 1]).T
            for boxes, rows in ((labels, wanted), (found, wrong))]  # fmt: skip
    for (first, last), (start, stop) in zip(*ends):
        own, said = wanted[first:last], wrong[start:stop]
        same = found.classes[said][:, None] == labels.classes[own][None]
        iou = mask.iou(found.xywh[said], labels.xywh[own], [0] * len(own)) if len(own) else np.zeros((len(said), 0))
        kind, meant = _of_picture(np.asarray(iou), same, pairs.of_label[own] >= 0)
        out.kind[said], out.meant[said] = kind, np.where(meant >= 0, own[meant] if len(own) else _NONE, _NONE)
    return out


def _of_picture(iou: np.ndarray, same: np.ndarray, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """int64 [D] each: kinds of D wrong detections, and the label meant. ``iou`` float64 and ``same`` (class) bool [D, L];
    ``used`` bool [L]: found by another."""
    if not iou.shape[1]:
        return np.full(len(iou), BACKGROUND), np.full(len(iou), _NONE)
    own, other = np.where(same, iou, 0), np.where(same, 0, iou)
    best, best_other = own.max(1), other.max(1)
    near = (best >= ON_OBJECT) & (best < RIGHT)
    tests = [near, best_other >= RIGHT, (own * used).max(1) >= RIGHT, iou.max(1) <= ON_OBJECT]
    kind = np.select(tests, [LOCALISATION, CLASS, DUPLICATE, BACKGROUND], BOTH)
    return kind, np.select([kind == LOCALISATION, kind == CLASS], [own.argmax(1), other.argmax(1)], _NONE)
