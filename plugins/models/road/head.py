"""The detector's head and what it learns from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drivetrain import box_overlap

from .assign import slots, take, task_aligned
from .cells import NEAREST, Cells, covered
from .layers import convolution

_PRIOR = 0.01
"""What an untrained head scores (Lin et al., Focal Loss for Dense Object Detection, 2017)."""
_FIRST_DISTANCE = 2.0
"""And how far away it thinks that sides are, in strides."""


class Tower(nn.Module):
    """3x3 convolutions that all levels share, with norms of their own for each level, since statistics differ between them
    (Lyu et al., RTMDet, 2022)."""

    def __init__(self, width: int, depth: int, levels: int):
        super().__init__()
        self.convs = nn.ModuleList(convolution(width, width) for _ in range(depth))
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for _ in range(levels * depth))

    def forward(self, x: Tensor, level: int) -> Tensor:
        for i, conv in enumerate(self.convs):
            x = F.relu(self.norms[level * len(self.convs) + i](conv(x)), inplace=True)
        return x


class BoxHead(nn.Module):
    """Classes and boxes from towers of their own (a decoupled head), of maps [B, ``width``, H, W] of several levels."""

    def __init__(self, width: int, classes: int, levels: int, depth: int = 2):
        super().__init__()
        self.class_tower, self.box_tower = Tower(width, depth, levels), Tower(width, depth, levels)
        self.classify, self.regress = nn.Conv2d(width, classes, 1), nn.Conv2d(width, 4, 1)
        for conv in (self.classify, self.regress):
            nn.init.normal_(conv.weight, std=0.01)
        nn.init.constant_(self.classify.bias, math.log(_PRIOR / (1 - _PRIOR)))  # type: ignore[arg-type]
        nn.init.constant_(self.regress.bias, math.log(math.expm1(_FIRST_DISTANCE - NEAREST)))  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Logits [B, A, C] and what `decode` makes boxes of [B, A, 4], float32, level by level, row by row."""
        logits, raw = [], []
        for level, x in enumerate(maps):
            logits.append(_rows(self.classify(self.class_tower(x, level))))
            raw.append(_rows(self.regress(self.box_tower(x, level))))
        return torch.cat(logits, 1), torch.cat(raw, 1)


def _rows(x: Tensor) -> Tensor:
    return x.float().permute(0, 2, 3, 1).flatten(1, 2)


def box_losses(cells: Cells, logits: Tensor, boxes: Tensor, targets: Mapping[str, Tensor], labelled: Tensor, known: Tensor,
               most: int) -> dict[str, tuple[Tensor, Tensor]]:  # fmt: skip
    """``classes`` and ``boxes`` as (sum, weight), from ``logits`` [B, A, C] and ``boxes`` [B, A, 4] of the cells.

    ``targets`` as the table of tasks has them; ``labelled`` bool [B]; ``known`` bool [B, C], the classes that were looked for.
    Classes: binary cross entropy towards the quality of a cell's match (TOOD, equation 5, with the exponent 2); background
    inside ignore regions and classes not looked for teach nothing. Boxes: generalised IoU times that quality. A picture
    weighs what its qualities sum up to, for the classes at least 1: a picture without objects has only background.
    """
    valid = targets["valid"] & labelled[:, None]
    found = task_aligned(cells, boxes, logits, targets["boxes"], targets["classes"], valid, most)
    quality, flat = found.quality.flatten(1), slots(found.cells, targets["classes"], logits.shape[2]).flatten(1)
    wanted = torch.zeros_like(logits).flatten(1).scatter_add(1, flat, quality).view_as(logits)
    taken = wanted.new_zeros(wanted.shape[:2]).scatter_add(1, found.cells.flatten(1), found.kept.flatten(1).float()) > 0
    void = covered(cells, targets["ignore_boxes"], targets["ignore_valid"]) & ~taken
    counted = labelled[:, None, None] & known[:, None] & ~void[..., None]
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    focus = (wanted - logits.detach().sigmoid()).square()
    picture = quality.sum(1)
    _, giou = box_overlap(take(boxes, found.cells), targets["boxes"][:, :, None])
    return {
        "classes": ((entropy * focus * counted).sum(), (picture.clamp(min=1.0) * labelled).sum()),
        "boxes": ((found.quality * (1 - giou)).sum(), picture.sum()),
    }
