"""Which of the cells' boxes are predicted."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor
from torchvision.ops import batched_nms

from drivetrain import Boxes, CameraBatch, boxes_in_original

_BEFORE_NMS = 1000
"""Of a picture; the best."""


class Limits(Protocol):
    """What of a config decides."""

    score_threshold: float
    nms_threshold: float
    detections_per_image: int


def pick(camera: CameraBatch, scores: Tensor, boxes: Tensor, classes: tuple[str, ...], limits: Limits) -> list[Boxes]:
    """Per picture the best detections, in original pixels, from ``scores`` [B, A, C] and ``boxes`` [B, A, 4] of the cells: of
    those of a class that overlap, the best (non-maximum suppression, of all pictures and classes at once)."""
    best, slot = scores.flatten(1).topk(min(_BEFORE_NMS, scores[0].numel()))
    picture, rank = (best > limits.score_threshold).nonzero(as_tuple=True)
    score, slot = best[picture, rank], slot[picture, rank]
    label, xyxy = slot % len(classes), boxes[picture, slot // len(classes)]
    kept = batched_nms(xyxy, score, picture * len(classes) + label, limits.nms_threshold)
    rows = [kept[picture[kept] == i][: limits.detections_per_image] for i in range(len(boxes))]
    return [
        boxes_in_original(camera, i, xyxy[r], [classes[c] for c in label[r].tolist()], score[r]) for i, r in enumerate(rows)
    ]
