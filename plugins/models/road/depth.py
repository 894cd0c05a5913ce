"""The head of depth."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from drivetrain import CameraBatch, sample_at_original

from .heads import Head, Maps, Terms
from .layers import ConvNorm
from .masks import at_pixels
from .multitask_config import DepthConfig

TASK = "depth_estimation"
_FIRST = math.log(15.0)
"""Metres that an untrained head says, as a logarithm."""


class DepthHead(Head):
    """The logarithm of the depth in metres, [B, 1, H / 4, W / 4]."""

    field = "depth"
    reads_stride_4 = True
    regresses = True

    def __init__(self, config: DepthConfig, width: int):
        super().__init__()
        self.config = config
        self.body = ConvNorm(width, width, 1)
        self.regress = nn.Conv2d(width, 1, 1)
        nn.init.normal_(self.regress.weight, std=0.01)
        nn.init.constant_(self.regress.bias, _FIRST)  # type: ignore[arg-type]

    def forward(self, maps: Maps) -> Tensor:
        return self.regress(self.body(maps.fine)).float()

    def losses(self, said: Tensor, camera: CameraBatch) -> Terms:
        """``depth``: of each picture, over its pixels of known depth, the mean square of the error of the logarithm, less
        ``config.scale_free`` times the square of its mean (Eigen et al. 2014, equation 4); the pixels are its weight."""
        depth = camera.targets[TASK]["depth"]
        known = (depth > 0) & (depth <= self.config.farthest) & camera.labelled[TASK][:, None, None]
        said = at_pixels(said, 4, (depth.shape[1], depth.shape[2]))[:, 0]
        error = torch.where(known, said - depth.clamp(min=1e-3).log(), 0.0).flatten(1)
        pixels = known.flatten(1).sum(1).float()
        squares = error.square().sum(1) - self.config.scale_free * error.sum(1).square() / pixels.clamp(min=1)
        return {"depth": (squares.sum(), pixels.sum())}

    def predict(self, said: Tensor, camera: CameraBatch) -> list[np.ndarray]:
        return self._metres(said, camera, (4 * said.shape[2], 4 * said.shape[3]))

    def predict_from(self, outputs: Mapping[str, Tensor], camera: CameraBatch) -> list[np.ndarray]:
        return self._metres(outputs["metres"].log(), camera)

    def exported(self, said: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """``metres`` [B, 1, H, W]."""
        return {"metres": at_pixels(said, 4, size).exp()}

    def _metres(self, logarithm: Tensor, camera: CameraBatch, size: tuple[int, int] | None = None) -> list[np.ndarray]:
        """Per picture, of each original pixel, from ``logarithm`` [B, 1, h, w] over ``size``."""
        each = (sample_at_original(logarithm[i : i + 1], camera, i, size)[0, 0] for i in range(len(logarithm)))
        return [one.exp().clamp(1e-3, self.config.farthest).cpu().numpy() for one in each]
