"""The confusion matrix of two masks, and mIoU from it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from drivetrain import IGNORE

Sparse = tuple[np.ndarray, np.ndarray]
_IDS = 256  # masks are uint8
_EXACT = 1 << 24  # up to which OpenCV's float32 counts are exact


def confusion(truth: np.ndarray, predicted: np.ndarray, number: int, ignore: int = IGNORE) -> np.ndarray:
    """int64 [C, C + 1] of two uint8 masks of one shape and ``number`` = C classes: rows of truth, columns of predictions, the
    last one for valid pixels that are predicted as none of the classes.

    Pixels whose truth is ``ignore`` count nowhere. Raises ValueError for a truth outside the classes."""
    counts = _pairs(truth, predicted)
    counts[ignore] = 0
    if counts[number:].any():
        ids = (np.flatnonzero(counts[number:].any(1)) + number).tolist()
        raise ValueError(f"the truth holds ids {ids}, outside the {number} classes")
    columns = [k for k in range(number) if k != ignore]
    matrix = np.zeros((number, number + 1), np.int64)
    matrix[:, columns] = counts[:number, columns]
    matrix[:, number] = counts[:number].sum(1) - matrix.sum(1)
    return matrix


def _pairs(truth: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """int64 [256, 256]: pixels of each pair of ids."""
    pairs = np.stack([predicted, truth], -1).view("<u2")
    if pairs.size <= _EXACT:  # OpenCV is several times as fast, and lets other threads run
        counts = cv2.calcHist([pairs.reshape(len(pairs), -1)], [0], None, [_IDS * _IDS], [0, _IDS * _IDS])
    else:
        counts = np.bincount(pairs.ravel(), minlength=_IDS * _IDS)
    return counts.astype(np.int64).reshape(_IDS, _IDS)


class Confusions:
    """Matrices of `confusion`, one a picture, as what is not 0 of them: most pairs of classes never meet."""

    def __init__(self, pictures: Iterable[Sparse], number: int):
        kept = list(pictures)
        self.shape = number, number + 1
        self._places = np.concatenate([np.zeros(0, np.int64), *(places for places, _ in kept)]).astype(np.int64)
        self._counts = np.concatenate([np.zeros(0, np.int64), *(counts for _, counts in kept)]).astype(np.int64)
        self._of = np.repeat(np.arange(len(kept)), np.array([len(places) for places, _ in kept], np.int64))

    def total(self, times: np.ndarray) -> np.ndarray:
        """int64 [C, C + 1]: the sum, picture k counted ``times[k]`` times."""
        whole = np.bincount(self._places, self._counts * times[self._of], self.shape[0] * self.shape[1])
        return whole.astype(np.int64).reshape(self.shape)  # float64 is exact up to 2^53 pixels


def sparse(matrix: np.ndarray) -> Sparse:
    """The places in a flattened matrix that are not 0, uint32 [N], and what is there, int64 [N]."""
    places = np.flatnonzero(matrix)
    return places.astype(np.uint32), matrix.ravel()[places]


def figures(matrix: np.ndarray, classes: Sequence[str]) -> dict[str, Any]:
    """From a matrix of `confusion`: ``miou``, ``iou`` per class, ``pixel_accuracy``, ``class_accuracy`` (recall) and its mean
    over the classes in the truth, ``frequency_weighted_iou``; a figure of which nothing is known is None."""
    hits, truth = np.diagonal(matrix), matrix.sum(1)
    union = truth + matrix[:, :-1].sum(0) - hits
    iou = [int(h) / int(u) if u else None for h, u in zip(hits, union)]
    recall = [int(h) / int(t) if t else None for h, t in zip(hits, truth)]
    correct, valid = int(hits.sum()), int(truth.sum())
    return {
        "miou": _mean(iou),
        "iou": dict(zip(classes, iou)),
        "pixel_accuracy": correct / valid if valid else None,
        "correct_pixels": correct,
        "valid_pixels": valid,
        "mean_class_accuracy": _mean(recall),
        "class_accuracy": dict(zip(classes, recall)),
        "frequency_weighted_iou": math.fsum(i * int(t) for i, t in zip(iou, truth) if i) / valid if valid else None,
    }


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None
