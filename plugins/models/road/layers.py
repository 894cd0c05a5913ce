"""What our networks are built of."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def convolution(channels: int, out: int, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    """One that a norm and a ReLU follow: without a bias, its weights as in He et al., Delving Deep into Rectifiers (2015)."""
    conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


class ConvNorm(nn.Module):
    """Convolution, batch norm, ReLU: [B, C, H, W] to [B, C', H / stride, W / stride]."""

    def __init__(self, channels: int, out: int, kernel: int = 3, stride: int = 1, activate: bool = True):
        super().__init__()
        self.conv = convolution(channels, out, kernel, stride)
        self.norm = nn.BatchNorm2d(out)
        self.activate = activate

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x))
        return F.relu(x, inplace=True) if self.activate else x


class Residual(nn.Module):
    """He et al., Deep Residual Learning (2016): two convolutions, half as wide between them, beside the identity."""

    def __init__(self, channels: int):
        super().__init__()
        self.narrow = ConvNorm(channels, channels // 2)
        self.widen = ConvNorm(channels // 2, channels, activate=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + self.widen(self.narrow(x)), inplace=True)


class Context(nn.Module):
    """He et al., Spatial Pyramid Pooling (2014), its windows of 5, 9 and 13 as repeated pooling of 5: a cell sees far."""

    def __init__(self, channels: int):
        super().__init__()
        self.narrow = ConvNorm(channels, channels // 2, 1)
        self.join = ConvNorm(4 * (channels // 2), channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = [self.narrow(x)]
        for _ in range(3):
            pooled.append(F.max_pool2d(pooled[-1], 5, 1, 2))
        return self.join(torch.cat(pooled, 1))
