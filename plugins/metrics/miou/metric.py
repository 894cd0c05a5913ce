"""Mean intersection over union (Jaccard index) as Cityscapes' and PASCAL VOC's evaluators define it.

One confusion matrix is counted over all frames. With rows of truth and columns of predictions, the IoU of a class is
``tp / (row + column - tp)`` (Everingham et al., The PASCAL VOC Challenge, 2015, section 4). A pixel whose truth is void
counts nowhere; a valid pixel that is predicted as void is a miss of its class. A class that occurs in neither truth nor
(valid) prediction is left out of the mean; one that is only predicted has an IoU of 0 and is in it.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from drivetrain import IGNORE, Camera, Encoded, Frame, MetricContext, Prediction

from .counting import confusion, figures

if TYPE_CHECKING:
    from .config import MiouConfig

_IDS = 256  # masks are uint8


def build(config: MiouConfig, context: MetricContext) -> MeanIoU:
    return MeanIoU(context.task, context.classes, config.size)


class MeanIoU:
    """The metric ``miou`` of ``classes``; ``size`` (height, width) or None for the source's own resolution."""

    def __init__(self, task: str, classes: tuple[str, ...], size: tuple[int, int] | None = None):
        self.task, self.classes, self.size = task, classes, size
        # One more column than classes: valid pixels that are predicted as none of them.
        self.matrix = np.zeros((len(classes), len(classes) + 1), np.int64)
        self.frames = 0

    def update(self, prediction: Prediction, truth: Frame) -> None:
        """Count the pixels of every predicted camera that has a mask; both masks uint8 [H, W] of class ids.

        Raises ValueError for a mask of another size than its truth and for a truth outside the classes.
        """
        cameras = {name: c for name, c in truth.cameras.items() if name in prediction.cameras and c.semantic is not None}
        for name, camera in cameras.items():
            self._count(prediction.cameras[name].semantic, self._valid_truth(camera), f"frame {truth.key!r}, {name}")
        self.frames += bool(cameras)

    def _valid_truth(self, camera: Camera) -> np.ndarray:
        """The mask with `IGNORE` wherever the picture is not labelled, or not for the class that is there."""
        mask = camera.semantic
        assert isinstance(mask, np.ndarray), "truth and prediction are decoded"
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

    def _count(self, predicted: np.ndarray | Encoded | None, truth: np.ndarray, what: str) -> None:
        shape = predicted.shape if isinstance(predicted, np.ndarray) else None
        if not isinstance(predicted, np.ndarray) or shape != truth.shape:
            raise ValueError(f"{what}: the predicted mask is {shape}, its truth {truth.shape}")
        if self.size is not None:
            predicted, truth = (_resample(mask, self.size) for mask in (predicted, truth))
        try:
            self.matrix += confusion(truth, predicted, len(self.classes))
        except ValueError as error:
            raise ValueError(f"{what}: {error}") from None

    def state(self) -> tuple[np.ndarray, int]:
        """The confusion matrix int64 [C, C + 1] and the number of frames."""
        return self.matrix.copy(), self.frames

    def merge(self, state: tuple[np.ndarray, int]) -> None:
        self.matrix = self.matrix + state[0]
        self.frames += state[1]

    def compute(self) -> dict[str, Any]:
        """``miou``, ``iou`` per class, ``pixel_accuracy``, ``mean_accuracy`` (recall's mean over the classes in the
        truth), ``frames`` and ``at``, the resolution; a figure of which nothing is known is None."""
        found = figures(self.matrix, self.classes)
        return {
            **{name: found[name] for name in ("miou", "iou", "pixel_accuracy")},
            "mean_accuracy": found["mean_class_accuracy"],
            "frames": self.frames,
            "at": "source" if self.size is None else "{}x{}".format(*self.size),
        }


def _resample(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """``mask`` at ``size`` (height, width): the source pixel under each output pixel's centre."""
    return cv2.resize(mask, size[::-1], interpolation=cv2.INTER_NEAREST_EXACT)
