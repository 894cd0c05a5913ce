"""The head of masks: semantic segmentation, drivable area."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch.nn.functional as F
from torch import Tensor, nn

from drivetrain import IGNORE, TASKS, CameraBatch, MaskLoss, MaskLossConfig, classes_at_original

from .heads import Head, Maps, Terms
from .layers import ConvNorm

_FINER = 2
"""How many logits, a side, a cell of the map gives: what is thinner than a cell has a place."""
_CELL = 4 // _FINER
"""Pixels, a side, that a logit covers."""
_NEVER = -1e4


class MaskHead(Head):
    """Logits [B, C, H / 2, W / 2] of the classes of ``task``, four from each cell of the map (Shi et al., Real-Time
    Super-Resolution by Sub-Pixel Convolution, 2016), which are learnt by `drivetrain.MaskLoss`. In a picture in which only some
    classes were looked for, only these are told from each other."""

    reads_stride_4 = True

    def __init__(self, task: str, config: MaskLossConfig, width: int, classes: tuple[str, ...]):
        super().__init__()
        self.task = task
        self.field = TASKS[task].prediction  # type: ignore[misc]
        self.body = ConvNorm(width, width, 1)
        self.classify = nn.Conv2d(width, len(classes) * _FINER**2, 1)
        self.loss = MaskLoss(config, classes, f"model.{task}.class_weights")

    def forward(self, maps: Maps) -> Tensor:
        return F.pixel_shuffle(self.classify(self.body(maps.fine)), _FINER).float()

    def losses(self, said: Tensor, camera: CameraBatch) -> Terms:
        known = camera.labelled_classes[self.task]
        mask = _counted(camera.targets[self.task]["mask"], known)
        height, width = (_CELL * length for length in said.shape[-2:])
        mask = F.pad(mask, (0, width - mask.shape[2], 0, height - mask.shape[1]), value=IGNORE)
        return self.loss(said.masked_fill(~known[:, :, None, None], _NEVER), mask, _CELL)

    def predict(self, said: Tensor, camera: CameraBatch) -> list[np.ndarray]:
        return classes_at_original(said, camera, (_CELL * said.shape[2], _CELL * said.shape[3]))

    def predict_from(self, outputs: Mapping[str, Tensor], camera: CameraBatch) -> list[np.ndarray]:
        return classes_at_original(outputs["logits"], camera)

    def exported(self, said: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
        """``logits`` [B, C, H, W]."""
        return {"logits": at_pixels(said, _CELL, size)}


def at_pixels(maps: Tensor, stride: int, size: tuple[int, int]) -> Tensor:
    """Maps [B, C, h, w] at ``stride`` of a padded picture, at the pixels of its first ``size``."""
    return F.interpolate(maps, scale_factor=float(stride), mode="bilinear", align_corners=False)[..., : size[0], : size[1]]


def _counted(mask: Tensor, known: Tensor) -> Tensor:
    """``mask`` uint8 [B, H, W], `IGNORE` where a class was not looked for, by ``known`` bool [B, C]."""
    ids = F.pad(known, (0, IGNORE + 1 - known.shape[1]))
    looked_for = ids.gather(1, mask.flatten(1).long()).view_as(mask)
    return mask.masked_fill(~looked_for, IGNORE)
