"""Which cells learn which object: task-aligned assignment, of a whole batch at once.

Feng et al., TOOD: Task-aligned One-stage Object Detection (2021). An object takes the cells whose score for its class and
whose box for it are best, both together: score**ALPHA * IoU**BETA. Looked at are only the cells near its centre, so that the
cost of an object does not depend on the size of the picture.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from drivetrain import box_overlap

from .cells import Cells, window

ALPHA, BETA = 0.5, 6.0
RADIUS = 2
_LEAST = 1e-9


class Matches(NamedTuple):
    """Per object its K best cells: ``cells`` int64 [B, N, K]; ``kept`` bool [B, N, K], those that learn it, each cell one
    object at most; ``quality`` float32 [B, N, K] in 0..1, what they are to score, 0 where not kept."""

    cells: Tensor
    kept: Tensor
    quality: Tensor


@torch.no_grad()
def task_aligned(cells: Cells, predicted: Tensor, logits: Tensor, boxes: Tensor, classes: Tensor, valid: Tensor,
                 most: int) -> Matches:  # fmt: skip
    """``predicted`` [B, A, 4] and ``logits`` [B, A, C] of the cells, ``boxes`` [B, N, 4], ``classes`` and ``valid`` [B, N] of
    the objects; ``most``: cells an object."""
    index, allowed = window(cells, boxes, RADIUS)
    allowed = allowed & valid[..., None]
    iou, _ = box_overlap(take(predicted, index), boxes[:, :, None])
    score = logits.flatten(1).gather(1, slots(index, classes, logits.shape[2]).flatten(1)).view_as(iou)
    aligned = ALPHA * F.logsigmoid(score) + BETA * iou.clamp(min=_LEAST).log()
    best = aligned.masked_fill(~allowed, -torch.inf).topk(min(most, index.shape[2]), 2).indices
    index, allowed, iou, aligned = (t.gather(2, best) for t in (index, allowed, iou, aligned))
    kept = _one_object_a_cell(index, allowed, iou, predicted.shape[1])
    return Matches(index, kept, _quality(aligned, iou, kept))


def take(values: Tensor, index: Tensor) -> Tensor:
    """Rows of ``values`` [B, A, D] at ``index`` [B, N, K]: [B, N, K, D]."""
    rows = index.flatten(1)[..., None].expand(-1, -1, values.shape[2])
    return values.gather(1, rows).view(*index.shape, values.shape[2])


def slots(index: Tensor, classes: Tensor, count: int) -> Tensor:
    """Where flattened [B, A * count] holds cell ``index`` [B, N, K] and its object's class, of ``classes`` [B, N]."""
    return index * count + classes[..., None]


def _one_object_a_cell(index: Tensor, allowed: Tensor, iou: Tensor, cells: int) -> Tensor:
    """bool [B, N, K]: a cell that several objects want is that of the highest IoU; of equal ones the first."""
    (batch, objects, _), flat = index.shape, index.flatten(1)
    claim = iou.masked_fill(~allowed, -1.0)
    highest = claim.new_full((batch, cells), -1.0).scatter_reduce(1, flat, claim.flatten(1), "amax")
    holds = allowed & (claim == highest.gather(1, flat).view_as(claim))
    number = torch.arange(objects, device=index.device)[:, None].expand_as(index).masked_fill(~holds, objects)
    first = index.new_full((batch, cells), objects).scatter_reduce(1, flat, number.flatten(1), "amin")
    return holds & (number == first.gather(1, flat).view_as(number))


def _quality(aligned: Tensor, iou: Tensor, kept: Tensor) -> Tensor:
    """The alignment, its best made the best IoU of the object (TOOD, equation 3). In logarithms: the sixth power of a small
    box's first IoU is below what float32 can divide by."""
    best = aligned.masked_fill(~kept, -torch.inf).amax(2, keepdim=True)
    most = iou.masked_fill(~kept, 0.0).amax(2, keepdim=True)
    return ((aligned - best).exp() * most).masked_fill(~kept, 0.0)
