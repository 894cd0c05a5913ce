"""``segformer``: transformers' SegFormer, with our mask losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from drivetrain import (
    IGNORE,
    Batch,
    CameraBatch,
    CameraLabels,
    MaskLoss,
    Model,
    ModelContext,
    Prediction,
    block_names,
    classes_at_original,
    normalise_images,
    pad_to_multiple,
)

from .config import SegformerConfig
from .library import built, configuration, saved_weights, transformers
from .sizes import SEGFORMER

TASK = "semantic_segmentation"
_MULTIPLE = 32
"""Pictures are padded so that every stage, and the windows in which its attention is reduced, divide them."""


class Segformer(Model):
    """Xie et al., SegFormer (2021). The body may run under autocast; upsampling and losses are float32.

    Losses: those of `drivetrain.MaskLoss`, at the pixels' own size.
    """

    net: Any

    def __init__(self, net: nn.Module, loss: MaskLoss):
        super().__init__()
        self.net, self.loss = net, loss

    def logits(self, images: Tensor) -> Tensor:
        """Normalised, padded pictures [B, 3, H, W] to float32 logits [B, C, h, w] at stride 4."""
        return self.net(images).logits.float()

    def losses(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        camera = batch.camera
        mask = camera.targets[TASK]["mask"].masked_fill(~camera.labelled[TASK][:, None, None], IGNORE)
        return self.loss(self.logits(_images(camera)), pad_to_multiple(mask, _MULTIPLE, IGNORE))

    def predict(self, batch: Batch) -> list[Prediction]:
        images = _images(batch.camera)
        return _predictions(self.logits(images), batch, (images.shape[2], images.shape[3]))

    def predict_from(self, outputs: Mapping[str, Tensor], batch: Batch) -> list[Prediction]:
        return _predictions(outputs["logits"], batch)

    def published_weights(self, name: str) -> Mapping[str, Tensor] | None:
        return saved_weights(type(self.net), name)

    def layer_names(self) -> list[str]:
        """The encoder's stages and the head."""
        return block_names(self.net.segformer, "net.segformer.") + ["net.decode_head"]

    def export_module(self) -> nn.Module:
        """float32 [B, 3, H, W] normalised pictures to float32 logits [B, C, H, W]."""
        return _Export(self).eval()


def _images(camera: CameraBatch) -> Tensor:
    return pad_to_multiple(normalise_images(camera.images), _MULTIPLE)


def _predictions(logits: Tensor, batch: Batch, size: tuple[int, int] | None = None) -> list[Prediction]:
    """Of ``logits`` [B, C, h, w] that lie over ``size``, their own where that is None."""
    masks = classes_at_original(logits, batch.camera, size)
    return [Prediction(k, {batch.camera_name: CameraLabels(semantic=m)}) for k, m in zip(batch.keys, masks)]


class _Export(nn.Module):
    outputs = ("logits",)

    def __init__(self, model: Segformer):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        padded = pad_to_multiple(images, _MULTIPLE)
        logits = F.interpolate(self.model.logits(padded), padded.shape[-2:], mode="bilinear", align_corners=False)
        return logits[..., :height, :width]


def build(config: SegformerConfig, context: ModelContext) -> Segformer:
    classes = context.classes[TASK]
    made = configuration(transformers.SegformerConfig, config, SEGFORMER, classes)
    return Segformer(built(transformers.SegformerForSemanticSegmentation, made), MaskLoss(config, classes))
