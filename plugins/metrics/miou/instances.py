"""Cityscapes' instance-level IoU of semantic masks, in which a distant car counts as much as a near one.

Cordts et al., The Cityscapes Dataset (2016), section 4.1: iTP / (iTP + FP + iFN), where each labelled instance's pixels weigh
what an instance of its class has on average in the dataset, over what it has itself. As evalPixelLevelSemanticLabeling.py of
cityscapesScripts counts it, whose averages and ids these are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

AVERAGES = {
    "person": (24, 3462.4756337644), "rider": (25, 3930.4788056518), "car": (26, 12794.0202738185),
    "truck": (27, 27855.1264367816), "bus": (28, 35732.1511111111), "train": (31, 67583.7075812274),
    "motorcycle": (32, 6298.7200839748), "bicycle": (33, 4672.3249222261),
}  # fmt: skip
"""Class -> its id in Cityscapes' files, and the average pixels of an instance."""
_GROUPS = 1000
"""Instance k of a class is ID * 1000 + k; up to here it is the class alone, of groups that nobody took apart."""


def weighed(instances: np.ndarray, predicted: np.ndarray, classes: Sequence[str]) -> np.ndarray:
    """float64 [C, 2]: hits and misses of each class's instances, weighed, in a picture. ``instances`` [H, W] as in
    gtFine_instanceIds.png, ``predicted`` uint8 [H, W] ids of ``classes``."""
    ids, places, sizes = np.unique(instances, return_inverse=True, return_counts=True)
    places = places.ravel()
    known = {AVERAGES[name][0]: (number, AVERAGES[name][1]) for number, name in enumerate(classes) if name in AVERAGES}
    chosen = [known.get(value // _GROUPS, (-1, 0.0)) if value > _GROUPS else (-1, 0.0) for value in ids.tolist()]
    numbers, averages = (np.array(column) for column in zip(*chosen))
    hits = np.bincount(places, predicted.ravel() == numbers[places], len(ids))
    out = np.zeros((len(classes), 2))
    one = numbers >= 0
    np.add.at(out, numbers[one], (np.stack([hits, sizes - hits], 1) * (averages / sizes)[:, None])[one])
    return out


def instance_figures(matrix: np.ndarray, counted: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """``iiou`` of the classes that have instances and ``mean_iiou`` over those that occur, from a matrix of `confusion` and the
    sum of `weighed`."""
    false = matrix[:, :-1].sum(0) - np.diagonal(matrix)
    found: dict[str, float | None] = {}
    for number, name in enumerate(classes):
        if name in AVERAGES:
            hits, misses = counted[number].tolist()
            whole = hits + misses + int(false[number])
            found[name] = hits / whole if whole else None
    occurring = [value for value in found.values() if value is not None]
    return {"mean_iiou": sum(occurring) / len(occurring) if occurring else None, "iiou": found}
