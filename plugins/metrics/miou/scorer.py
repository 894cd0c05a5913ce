"""``drivetrain score segmentation``: a folder of masks against a folder of masks of the same names."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from drivetrain import DataError, official_pairs

from .counting import Confusions, Sparse, confusion, figures, sparse

if TYPE_CHECKING:
    from .config import SegmentationConfig

_PALETTE = 3  # the colour type at byte 25 of a PNG whose pixels are places in a palette


def build(config: SegmentationConfig) -> Callable[..., Any]:
    return partial(SegmentationScored, classes=config.names(), ignore=config.ignore)


class SegmentationScored:
    """Masks of class ids as PNGs of one channel and 8 bits, read a pair at a time; of each pair its confusions stay."""

    nothing = None

    def __init__(self, truth: Path, predictions: Path, ids: Sequence[str] | None, classes: Sequence[str], ignore: int):
        pairs = official_pairs(truth, predictions, ".png", ids)
        self.keys = self.scenes = [key for key, _, _ in pairs]
        self.classes = tuple(classes)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:  # a thread holds one pair of masks
            counted = threads.map(lambda pair: self._count(pair[1], pair[2], ignore), pairs)
            self.confusions = Confusions(counted, len(classes))

    def _count(self, label: Path, found: Path, ignore: int) -> Sparse:
        truth, predicted = read_mask(label), read_mask(found)
        if truth.shape != predicted.shape:
            sizes = [f"{mask.shape[1]} x {mask.shape[0]}" for mask in (predicted, truth)]
            remedy = "masks are scored at the resolution of the truth; resize them by nearest neighbour"
            raise DataError("is {} pixels, its truth {}".format(*sizes), where=str(found), remedy=remedy)
        try:
            return sparse(confusion(truth, predicted, len(self.classes), ignore))
        except ValueError as error:
            remedy = "--classes N: ids 0 to N - 1; --ignore ID: the id that does not count"
            raise DataError(f"{error} and not {ignore}", where=str(label), remedy=remedy) from None

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        return {"n_images": int(times.sum()), **figures(self.confusions.total(times), self.classes)}


def read_mask(path: Path) -> np.ndarray:
    """uint8 [H, W]. Raises DataError for what is no picture of one channel and 8 bits."""
    data = path.read_bytes()
    try:
        if data[25:26] == bytes([_PALETTE]):
            return np.asarray(Image.open(io.BytesIO(data)))
        mask = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, OSError):
        mask = None
    if mask is None or mask.ndim != 2 or mask.dtype != np.uint8:
        what = "no picture that can be read" if mask is None else f"{mask.dtype} of shape {mask.shape}"
        raise DataError(f"is {what}, expected a mask", where=str(path),
                        remedy="expected a PNG of one channel and 8 bits whose values are class ids")  # fmt: skip
    return mask
