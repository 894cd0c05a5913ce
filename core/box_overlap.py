"""How far boxes overlap."""

from __future__ import annotations

import torch
from torch import Tensor


def box_overlap(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """IoU and generalised IoU (Rezatofighi et al. 2019) of boxes [..., 4], x1 y1 x2 y2, that broadcast."""
    shared = _area(torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:]))
    hull = _area(torch.minimum(one[..., :2], other[..., :2]), torch.maximum(one[..., 2:], other[..., 2:]))
    union = _area(one[..., :2], one[..., 2:]) + _area(other[..., :2], other[..., 2:]) - shared
    iou = shared / union.clamp(min=1e-7)
    return iou, iou - (hull - union) / hull.clamp(min=1e-7)


def _area(low: Tensor, high: Tensor) -> Tensor:
    """Not by `prod`, whose gradient asks the host where zeros are."""
    width, height = (high - low).clamp(min=0).unbind(-1)
    return width * height
