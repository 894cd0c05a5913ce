"""Torchvision's semantic segmentation models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation import LRASPP

from drivetrain import (
    IGNORE,
    Batch,
    CameraLabels,
    MaskLoss,
    Model,
    ModelContext,
    Prediction,
    UserError,
    classes_at_original,
    normalise_images,
)

from .config import AuxSegmentationConfig, SegmentationConfig
from .weights import build_net, published

TASK = "semantic_segmentation"


class Segmenter(Model):
    """A torchvision segmentation network ``net``; the body may run under autocast, upsampling and losses are float32.

    Losses: those of ``loss``, at the pixels' own size; ``aux``, the cross entropy among them for the auxiliary head, its sum
    times ``aux_weight``.
    """

    net: Any  # torchvision's models name their parts as they like

    def __init__(self, net: nn.Module, loss: MaskLoss, aux_weight: float = 0.0):
        super().__init__()
        self.net, self.loss, self.aux_weight = net, loss, aux_weight

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised pictures [B, 3, H, W] to float32 logits [B, C, h, w] at the heads' own, smaller size."""
        features = self.net.backbone(images)
        if isinstance(self.net, LRASPP):
            return {"out": self.net.classifier(features).float()}
        out = {"out": self.net.classifier(features["out"]).float()}
        if self.training and self.aux_weight:
            out["aux"] = self.net.aux_classifier(features["aux"]).float()
        return out

    def losses(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        camera = batch.camera
        unlabelled = ~camera.labelled[TASK]
        mask = camera.targets[TASK]["mask"].masked_fill(unlabelled[:, None, None], IGNORE)
        logits = self._training_logits(normalise_images(camera.images))
        terms = self.loss(logits["out"], mask)
        if "aux" in logits:
            total, weight = self.loss.cross_entropy(logits["aux"], mask)
            terms["aux"] = (self.aux_weight * total, weight)
        return terms

    def predict(self, batch: Batch) -> list[Prediction]:
        return self.predict_from({"logits": self.logits(normalise_images(batch.camera.images))["out"]}, batch)

    def predict_from(self, outputs: Mapping[str, Tensor], batch: Batch) -> list[Prediction]:
        masks = classes_at_original(outputs["logits"], batch.camera)
        return [Prediction(k, {batch.camera_name: CameraLabels(semantic=m)}) for k, m in zip(batch.keys, masks)]

    def published_weights(self, name: str) -> Mapping[str, Tensor] | None:
        return published(name)

    def export_module(self) -> nn.Module:
        """float32 [B, 3, H, W] normalised pictures to float32 logits [B, C, H, W]."""
        return _Export(self).eval()

    def _training_logits(self, images: Tensor) -> dict[str, Tensor]:
        try:
            return self.logits(images)
        except ValueError as error:  # torch's batch norm of a single value a channel (DeepLab's pooled branch)
            if len(images) > 1:
                raise
            raise UserError(f"this model cannot be trained on one picture at a time: {error}",
                            remedy="set batch.micro to 2 or more") from error  # fmt: skip


class _Export(nn.Module):
    outputs = ("logits",)

    def __init__(self, model: Segmenter):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model.logits(images)["out"]
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


def _build(name: str, backbone: str, config: SegmentationConfig, context: ModelContext) -> Segmenter:
    classes = context.classes[TASK]
    aux_weight = config.aux_weight if isinstance(config, AuxSegmentationConfig) else 0.0
    options = {} if name.startswith("lraspp") else {"aux_loss": aux_weight > 0}
    heads = ("classifier",) if name.startswith("lraspp") else ("classifier", "aux_classifier")
    net = build_net(name, backbone, heads, config, len(classes), **options)
    return Segmenter(net, MaskLoss(config, classes), aux_weight)


lraspp_mobilenet_v3_large = partial(_build, "lraspp_mobilenet_v3_large", "mobilenet_v3_large")
deeplabv3_mobilenet_v3_large = partial(_build, "deeplabv3_mobilenet_v3_large", "mobilenet_v3_large")
deeplabv3_resnet50 = partial(_build, "deeplabv3_resnet50", "resnet50")
deeplabv3_resnet101 = partial(_build, "deeplabv3_resnet101", "resnet101")
fcn_resnet50 = partial(_build, "fcn_resnet50", "resnet50")
fcn_resnet101 = partial(_build, "fcn_resnet101", "resnet101")
