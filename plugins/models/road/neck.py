"""The neck: maps of all levels that know of each other."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from .layers import ConvNorm


class Neck(nn.Module):
    """Liu et al., Path Aggregation Network (2018), with sums: down from the coarsest map to the finest, and up again.

    Any number of maps [B, channels[i], H / 2**i, W / 2**i], finest first, to as many of ``width`` channels and their sizes.
    """

    def __init__(self, channels: Sequence[int], width: int):
        super().__init__()
        steps = len(channels) - 1
        self.lateral = nn.ModuleList(ConvNorm(c, width, 1) for c in channels)
        self.finer = nn.ModuleList(ConvNorm(width, width) for _ in range(steps))
        self.shrink = nn.ModuleList(ConvNorm(width, width, stride=2) for _ in range(steps))
        self.coarser = nn.ModuleList(ConvNorm(width, width) for _ in range(steps))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        down = [lateral(x) for lateral, x in zip(self.lateral, maps)]
        for i in reversed(range(len(self.finer))):
            down[i] = self.finer[i](down[i] + F.interpolate(down[i + 1], scale_factor=2.0, mode="nearest"))
        out = down[:1]
        for i, (shrink, coarser) in enumerate(zip(self.shrink, self.coarser)):
            out.append(coarser(down[i + 1] + shrink(out[-1])))
        return out
