"""``drivetrain score segmentation``: a folder of masks against a folder of masks of the same names."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from drivetrain import DataError, UserError, official_pairs

from .counting import Confusions, Sparse, confusion, figures, sparse
from .instances import AVERAGES, instance_figures, weighed

if TYPE_CHECKING:
    from .config import SegmentationConfig

_PALETTE = 3  # the colour type at byte 25 of a PNG whose pixels are places in a palette


def build(config: SegmentationConfig) -> Callable[..., Any]:
    if config.instances is not None and not AVERAGES.keys() & set(config.names()):
        raise UserError(f"--option instances: none of the classes has instances in Cityscapes: {', '.join(AVERAGES)}",
                        remedy="name them by --classes road,sidewalk,... in the order of ids")  # fmt: skip
    return partial(SegmentationScored, classes=config.names(), ignore=config.ignore, instances=config.instances)


class SegmentationScored:
    """Masks of class ids as PNGs of one channel and 8 bits, read a pair at a time; of each pair its confusions stay, and of
    ``instances``, a folder, what `weighed` gives."""

    nothing = None

    def __init__(self, truth: Path, predictions: Path, ids: Sequence[str] | None, classes: Sequence[str], ignore: int,
                 instances: Path | None = None):  # fmt: skip
        pairs = official_pairs(truth, predictions, ".png", ids)
        self.keys = self.scenes = [key for key, _, _ in pairs]
        self.classes = tuple(classes)
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:  # a thread holds one pair of masks
            counted = threads.map(lambda pair: self._count(pair[1], pair[2], ignore), pairs)
            self.confusions = Confusions(counted, len(classes))
            self.weighed: np.ndarray | None = None
            if instances is not None:
                weigh = lambda pair: self._weigh(_beside(instances, truth, pair[1]), pair[2])
                self.weighed = np.stack(list(threads.map(weigh, pairs)))

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

    def _weigh(self, instances: Path, found: Path) -> np.ndarray:
        labelled, predicted = _read(instances), read_mask(found)
        if labelled is None or labelled.dtype != np.uint16 or labelled.shape != predicted.shape:
            raise DataError("is no PNG of one channel and 16 bits, as large as its mask", where=str(instances),
                            remedy="expected Cityscapes' gtFine_instanceIds.png, named as the mask is")  # fmt: skip
        return weighed(labelled, predicted, self.classes)

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        matrix = self.confusions.total(times)
        found = {"n_images": int(times.sum()), **figures(matrix, self.classes)}
        if self.weighed is None:
            return found
        return found | instance_figures(matrix, np.tensordot(times, self.weighed, 1), self.classes)


def _beside(folder: Path, truth: Path, label: Path) -> Path:
    """Of a mask's name, or of Cityscapes' own for instances where the mask has Cityscapes' own."""
    return folder / label.relative_to(truth).with_name(re.sub("label(Train)?Ids", "instanceIds", label.name))


def _read(path: Path) -> np.ndarray | None:
    try:
        return cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_UNCHANGED)
    except (cv2.error, OSError):
        return None


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
