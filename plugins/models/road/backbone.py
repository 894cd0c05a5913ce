"""The backbone, and the four sizes in which our models come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from torch import Tensor, nn

from drivetrain import IMAGENET_MEAN, IMAGENET_STD

from .config import TimmConfig
from .layers import Context, ConvNorm, Residual
from .timm_backbone import TimmBackbone

STRIDES = (4, 8, 16, 32)
"""Of the backbone's feature maps; pictures are padded to a multiple of the last."""


class Size(NamedTuple):
    """``widths`` and ``depths`` (residual blocks) of the backbone's stages; ``neck``: channels of every map after it."""

    widths: tuple[int, int, int, int]
    depths: tuple[int, int, int, int]
    neck: int


_MULTIPLES = {"n": (0.25, 1 / 3), "s": (0.5, 1 / 3), "m": (0.75, 2 / 3), "l": (1.0, 1.0)}
"""Of widths and depths."""


def size_of(name: str, width: float | None = None) -> Size:
    """The size ``name``, with another multiple of its widths where ``width`` is one."""
    own, depth = _MULTIPLES[name]
    width = width or own
    wide = [8 * round(width * channels / 8) for channels in (128, 256, 512, 768, 256)]
    deep = [max(1, round(depth * blocks)) for blocks in (3, 6, 6, 3)]
    return Size(tuple(wide[:4]), tuple(deep), wide[4])  # type: ignore[arg-type]


SIZES = {name: size_of(name) for name in _MULTIPLES}


class Backbone(nn.Module):
    """A residual network that goes to stride 4 in two convolutions, since maps of a higher resolution cost most of the time of
    a small network. Normalised pictures [B, 3, H, W], sides multiples of 32, to maps [B, widths[i], H / s, W / s] at
    `STRIDES`."""

    def __init__(self, size: Size):
        super().__init__()
        self.channels: tuple[int, ...] = size.widths
        self.normalisation = (IMAGENET_MEAN, IMAGENET_STD)
        half = size.widths[0] // 2
        self.stem = nn.Sequential(ConvNorm(3, half, stride=2), ConvNorm(half, size.widths[0], stride=2))
        stages = []
        for i, (width, depth) in enumerate(zip(size.widths, size.depths)):
            down = [ConvNorm(size.widths[i - 1], width, 3, 2)] if i else []
            stages.append(nn.Sequential(*down, *(Residual(width) for _ in range(depth))))
        stages[-1].append(Context(size.widths[-1]))
        self.stages = nn.ModuleList(stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        maps = [self.stem(images)]
        for stage in self.stages:
            maps.append(stage(maps[-1]))
        return maps[1:]

    def own_names(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return weights


def backbone_of(size: Size, config: TimmConfig | None, strides: Sequence[int]) -> Backbone | TimmBackbone:
    """Ours, or timm's where there is a ``config``; its last maps are at ``strides``, which are some of the last `STRIDES`."""
    return Backbone(size) if config is None else TimmBackbone(config, strides)
