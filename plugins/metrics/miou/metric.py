"""Mean intersection over union (Jaccard index) as Cityscapes' and PASCAL VOC's evaluators define it.

One confusion matrix is counted over all frames. With rows of truth and columns of predictions, the IoU of a class is
``tp / (row + column - tp)`` (Everingham et al., The PASCAL VOC Challenge, 2015, section 4). A pixel whose truth is void
counts nowhere; a valid pixel that is predicted as void is a miss of its class. A class that occurs in neither truth nor
(valid) prediction is left out of the mean; one that is only predicted has an IoU of 0 and is in it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from drivetrain import IGNORE, TASKS, Camera, CameraLabels, Encoded, MetricContext, PictureMetric

from .counting import Confusions, Sparse, confusion, figures, sparse

if TYPE_CHECKING:
    from .config import MiouConfig

NAMES = {"semantic_segmentation": "miou", "drivable_area": "drivable_miou"}
_IDS = 256  # masks are uint8


def build(config: MiouConfig, context: MetricContext) -> MeanIoU:
    return MeanIoU(context, config.size)


class MeanIoU(PictureMetric):
    """The metrics ``miou`` and ``drivable_miou``; ``size`` (height, width) or None for the source's own resolution. Of a
    picture what is not 0 of its confusion matrix is kept."""

    def __init__(self, context: MetricContext, size: tuple[int, int] | None = None):
        super().__init__(context)
        self.size = size
        self.field = TASKS[self.task].prediction
        self.name = NAMES[self.task]

    def match(self, predicted: CameraLabels, camera: Camera, what: str) -> Sparse | None:
        """Count the pixels of two masks, uint8 [H, W] of class ids.

        Raises ValueError for a mask of another size than its truth and for a truth outside the classes.
        """
        mask = getattr(camera, self.field)
        if mask is None:
            return None
        assert isinstance(mask, np.ndarray), "truth and prediction are decoded"
        return self._count(getattr(predicted, self.field), self._valid_truth(camera, mask), what)

    def _valid_truth(self, camera: Camera, mask: np.ndarray) -> np.ndarray:
        """The mask with `IGNORE` wherever the picture is not labelled, or not for the class that is there."""
        looked_for = camera.labelled_classes.get(self.task)
        if looked_for is not None:
            known = np.full(_IDS, IGNORE, np.uint8)
            ids = [i for i, name in enumerate(self.classes) if name in looked_for]
            known[ids] = ids
            mask = known[mask]
        if camera.ignore_regions is not None and len(camera.ignore_regions):
            mask = mask.copy()
            for x1, y1, x2, y2 in np.asarray(camera.ignore_regions).clip(0):
                mask[math.floor(y1) : math.ceil(y2), math.floor(x1) : math.ceil(x2)] = IGNORE
        return mask

    def _count(self, predicted: np.ndarray | Encoded | None, truth: np.ndarray, what: str) -> Sparse:
        shape = predicted.shape if isinstance(predicted, np.ndarray) else None
        if not isinstance(predicted, np.ndarray) or shape != truth.shape:
            raise ValueError(f"{what}: the predicted mask is {shape}, its truth {truth.shape}")
        if self.size is not None:
            predicted, truth = (_resample(mask, self.size) for mask in (predicted, truth))
        try:
            return sparse(confusion(truth, predicted, len(self.classes)))
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None

    def counted(self, kept: Sequence[Sparse]) -> Any:
        """The mean by the metric's name, ``iou`` per class, ``pixel_accuracy``, ``mean_accuracy`` (recall's mean over the
        classes in the truth) and ``at``, the resolution; a figure of which nothing is known is None."""
        confusions = Confusions(kept, len(self.classes))

        def of(times: np.ndarray) -> dict[str, Any]:
            found = figures(confusions.total(times), self.classes)
            shown = {self.name: found["miou"], **{name: found[name] for name in ("iou", "pixel_accuracy")}}
            at = "source" if self.size is None else "{}x{}".format(*self.size)
            return {**shown, "mean_accuracy": found["mean_class_accuracy"], "at": at}

        return of


def _resample(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``mask`` at ``size`` (height, width): the source pixel under each output pixel's centre."""
    return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
