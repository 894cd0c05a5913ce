"""A Prediction: a Frame's label types plus scores, in original pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from .frame import Boxes, CameraLabels
from .geometry import map_boxes

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import CameraBatch


@dataclass
class Prediction:
    """What a model says of one frame: per camera, ``boxes`` and ``lanes`` with float32 scores in the picture's original
    pixels; at the picture's original size ``semantic`` and ``drivable`` uint8 [H, W], ids of the recipe's classes of the
    task, and ``depth`` float32 [H, W] in metres, above 0."""

    key: str
    cameras: dict[str, CameraLabels] = field(default_factory=dict)


def boxes_in_original(camera: CameraBatch, index: int, xyxy: Tensor, names: Sequence[str], scores: Tensor) -> Boxes:
    """Detections of the batch's picture ``index``, ``xyxy`` [N, 4] in the batch's pixels, as Boxes in the original's, clipped
    to it; what is left of none is dropped."""
    height, width = camera.original_sizes[index].tolist()
    moved = map_boxes(camera.to_original[index].double().cpu().numpy(), xyxy.float().cpu().numpy())
    moved = moved.clip(0, (width, height, width, height))
    boxes = Boxes(moved, list(names), scores=scores.float().cpu().numpy())
    return boxes.select(np.all(moved[:, 2:] > moved[:, :2], axis=1))
