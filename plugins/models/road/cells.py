"""The cells of a detector's maps, and boxes as distances from them. Pixels are those of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

NEAREST = -0.5
"""The least distance from a cell's centre to a side of its box, in strides: a cell that holds the centre of a tiny box can
give that box, though its own centre lies outside."""


class Level(NamedTuple):
    """``start``: the first of its cells, which are ``height`` rows of ``width``."""

    start: int
    height: int
    width: int
    stride: int


class Cells(NamedTuple):
    """The A cells of all levels: ``centres`` float32 [A, 2], ``strides`` float32 [A, 1]."""

    levels: tuple[Level, ...]
    centres: Tensor
    strides: Tensor


def cells_of(maps: Sequence[Tensor], strides: Sequence[int]) -> Cells:
    """The cells of ``maps`` [B, C, H / stride, W / stride], row by row."""
    levels, centres, all_strides, start = [], [], [], 0
    for x, stride in zip(maps, strides):
        height, width = x.shape[-2:]
        levels.append(Level(start, height, width, stride))
        start += height * width
        ys, xs = ((torch.arange(n, device=x.device, dtype=torch.float32) + 0.5) * stride for n in (height, width))
        centres.append(torch.stack([xs.expand(height, width), ys[:, None].expand(height, width)], -1).flatten(0, 1))
        all_strides.append(torch.full((height * width, 1), float(stride), device=x.device))
    return Cells(tuple(levels), torch.cat(centres), torch.cat(all_strides))


def decode(cells: Cells, raw: Tensor) -> Tensor:
    """Boxes [B, A, 4], x1 y1 x2 y2, from what a head says of the distances to the left, top, right and bottom side."""
    distances = (F.softplus(raw) + NEAREST) * cells.strides
    return torch.cat([cells.centres - distances[..., :2], cells.centres + distances[..., 2:]], -1)


def window(cells: Cells, boxes: Tensor, radius: int) -> tuple[Tensor, Tensor]:
    """The cells around the centres of ``boxes`` [B, N, 4], up to ``radius`` away on each level: which ones, int64 [B, N, W],
    and whether they may learn the box, bool [B, N, W]: those whose centre it holds, and the ones that hold its centre."""
    offsets = torch.arange(-radius, radius + 1, device=boxes.device)
    middle = (boxes[..., :2] + boxes[..., 2:]) / 2
    found, allowed = [], []
    for level in cells.levels:
        xs, ys = ((middle[..., i, None] / level.stride).floor().long() + offsets for i in (0, 1))  # [B, N, 2 * radius + 1]
        in_x, in_y = (_held(at, boxes[..., i::2], level.stride, offsets) for i, at in ((0, xs), (1, ys)))
        in_x, in_y = in_x & (xs >= 0) & (xs < level.width), in_y & (ys >= 0) & (ys < level.height)
        xs, ys = xs.clamp(0, level.width - 1), ys.clamp(0, level.height - 1)
        found.append((level.start + ys[..., :, None] * level.width + xs[..., None, :]).flatten(2))
        allowed.append((in_y[..., :, None] & in_x[..., None, :]).flatten(2))
    return torch.cat(found, 2), torch.cat(allowed, 2)


def _held(at: Tensor, sides: Tensor, stride: int, offsets: Tensor) -> Tensor:
    """Along one axis: whether the cells ``at`` [B, N, K] lie between the ``sides`` [B, N, 2], or hold their middle."""
    centre = (at + 0.5) * stride
    return ((centre > sides[..., :1]) & (centre < sides[..., 1:])) | (offsets == 0)


def covered(cells: Cells, regions: Tensor, valid: Tensor) -> Tensor:
    """bool [B, A]: cells whose centre lies in one of the ``valid`` [B, M] of ``regions`` [B, M, 4]."""
    corners = regions[:, :, None]
    inside = ((cells.centres > corners[..., :2]) & (cells.centres < corners[..., 2:])).all(-1)
    return (inside & valid[..., None]).any(1)
