"""What the heads of the multi-task model share: the maps that they read, and what they are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

from drivetrain import CameraBatch

from .layers import ConvNorm

Terms = dict[str, tuple[Tensor, Tensor]]


class Maps(NamedTuple):
    """``levels`` [B, C, H / s, W / s] of the neck, at strides 8, 16, 32; ``middle``, their sum, at stride 8; ``fine``, the same
    with the backbone's finest, at stride 4, None where no head reads it."""

    levels: Sequence[Tensor]
    middle: Tensor
    fine: Tensor | None


class Head(nn.Module):
    """One task's part of a model. Bodies may run under autocast; what `forward` gives is float32."""

    field: ClassVar[str]
    """Of `drivetrain.CameraLabels`, which `predict` fills."""
    reads_stride_4: ClassVar[bool] = False
    regresses: ClassVar[bool] = False
    """Whether its losses are distances, and not logarithms of probabilities: uncertainty weighs them by half."""

    def forward(self, maps: Maps) -> Any:
        """Float32 tensors over the padded picture."""
        raise NotImplementedError

    def losses(self, said: Any, camera: CameraBatch) -> Terms:
        """Of what `forward` said, as `drivetrain.Model.losses` has them."""
        raise NotImplementedError

    def predict(self, said: Any, camera: CameraBatch) -> list[Any]:
        """Per picture the value of ``field``, in original pixels."""
        raise NotImplementedError

    def predict_from(self, outputs: Mapping[str, Tensor], camera: CameraBatch) -> list[Any]:
        """The same of what `exported` gives."""
        raise NotImplementedError

    def exported(self, said: Any, size: tuple[int, int]) -> dict[str, Tensor]:
        """What a car reads of it, by name, for pictures of ``size`` (height, width) before padding."""
        raise NotImplementedError


class Fuse(nn.Module):
    """All levels in one map: added from the coarsest to the finest (Kirillov et al., Panoptic Feature Pyramid Networks,
    2019), and with the backbone's map at stride 4 where ``fine`` is its number of channels; the one 3x3 convolution of that
    size, which costs most, is shared by the heads that read it."""

    def __init__(self, fine: int | None, width: int):
        super().__init__()
        self.lateral = None if fine is None else ConvNorm(fine, width, 1)
        self.join = None if fine is None else ConvNorm(width, width)

    def forward(self, fine: Tensor, levels: Sequence[Tensor]) -> Maps:
        middle = levels[-1]
        for level in reversed(levels[:-1]):
            middle = level + doubled(middle)
        if self.lateral is None or self.join is None:
            return Maps(levels, middle, None)
        return Maps(levels, middle, self.join(self.lateral(fine) + doubled(middle)))


def doubled(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2.0, mode="nearest")
