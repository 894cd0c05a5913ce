"""Torchvision's semantic segmentation models."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.segmentation import LRASPP

from drivetrain import (
    IGNORE,
    Batch,
    CameraBatch,
    CameraLabels,
    Model,
    ModelContext,
    Prediction,
    UserError,
    near_matches,
    normalise_images,
)

from .config import AuxSegmentationConfig, SegmentationConfig
from .weights import build_net, published

TASK = "semantic_segmentation"


class Segmenter(Model):
    """A torchvision segmentation network ``net``; the body may run under autocast, upsampling and losses are float32.

    Losses: ``cross_entropy``, the sum over counted pixels of their class's weight times the cross entropy, with the sum of
    those weights; ``aux`` alike for the auxiliary head, its sum times ``aux_weight``.
    """

    net: Any  # torchvision's models name their parts as they like
    weight_of_id: Tensor

    def __init__(self, net: nn.Module, class_weights: list[float], aux_weight: float = 0.0):
        super().__init__()
        self.net, self.num_classes, self.aux_weight = net, len(class_weights), aux_weight
        weight_of_id = torch.zeros(IGNORE + 1)  # so that the weight of a mask is a lookup, IGNORE included
        weight_of_id[: self.num_classes] = torch.tensor(class_weights)
        self.register_buffer("weight_of_id", weight_of_id, persistent=False)

    def logits(self, images: Tensor) -> dict[str, Tensor]:
        """Normalised pictures [B, 3, H, W] to float32 logits [B, C, h, w] at the heads' own, smaller size."""
        features = self.net.backbone(images)
        if isinstance(self.net, LRASPP):
            return {"cross_entropy": self.net.classifier(features).float()}
        out = {"cross_entropy": self.net.classifier(features["out"]).float()}
        if self.training and self.aux_weight:
            out["aux"] = self.net.aux_classifier(features["aux"]).float()
        return out

    def losses(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        camera = batch.camera
        unlabelled = ~camera.labelled[TASK]
        mask = camera.targets[TASK]["mask"].masked_fill(unlabelled[:, None, None], IGNORE).long()
        weight = self.weight_of_id[mask].sum()
        factors = {"cross_entropy": 1.0, "aux": self.aux_weight}
        logits = self._training_logits(normalise_images(camera.images))
        return {name: (factors[name] * self._cross_entropy(low, mask), weight) for name, low in logits.items()}

    def predict(self, batch: Batch) -> list[Prediction]:
        camera = batch.camera
        logits = self.logits(normalise_images(camera.images))["cross_entropy"]
        masks = [
            sample_at_original(logits[i : i + 1], camera, i)[0].argmax(0).to(torch.uint8).cpu().numpy()
            for i in range(len(batch))
        ]
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

    def _cross_entropy(self, logits: Tensor, mask: Tensor) -> Tensor:
        full = F.interpolate(logits, size=mask.shape[-2:], mode="bilinear", align_corners=False)
        weights = self.weight_of_id[: self.num_classes]
        return F.cross_entropy(full, mask, weight=weights, ignore_index=IGNORE, reduction="sum")


class _Export(nn.Module):
    outputs = ("logits",)

    def __init__(self, model: Segmenter):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        logits = self.model.logits(images)["cross_entropy"]
        return F.interpolate(logits, size=images.shape[-2:], mode="bilinear", align_corners=False)


def sample_at_original(maps: Tensor, camera: CameraBatch, index: int) -> Tensor:
    """``maps`` float32 [1, C, h, w] over the batch's picture ``index``, padding included, read bilinearly at the centre of
    each original pixel: [1, C, H, W]. Points outside the part that the picture fills are moved to its edge.

    Equal to `torch.nn.functional.interpolate` where the picture was stretched and not padded, at the same cost.
    """
    to_original = camera.to_original[index].double()
    axes = []
    for axis, dim in ((1, 0), (0, 1)):  # y with heights, x with widths
        original = torch.arange(int(camera.original_sizes[index, dim]), device=maps.device) + 0.5
        inside = (original - to_original[axis, 2]) / to_original[axis, axis]
        filled = camera.sizes[index, dim]
        inside = inside.clamp(min=0.0).minimum(filled.to(inside.dtype))
        axes.append((2 * inside / camera.images.shape[1 + dim] - 1).float())
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)
    return F.grid_sample(maps, grid[None], mode="bilinear", padding_mode="border", align_corners=False)


def class_weights(config: SegmentationConfig, classes: tuple[str, ...]) -> list[float]:
    """One weight a class. Raises UserError for another number of weights and for names of no class."""
    given, where = config.class_weights, "model.class_weights"
    if given is None:
        return [1.0] * len(classes)
    if isinstance(given, dict):
        for name in given:
            if name not in classes:
                raise UserError(f"{name!r} is no class of this recipe", where=where, near=near_matches(name, classes))
        return [given.get(name, 1.0) for name in classes]
    if len(given) != len(classes):
        raise UserError(f"{len(given)} weights for {len(classes)} classes", where=where,
                        remedy=f"the classes are: {', '.join(classes)}")  # fmt: skip
    return given


def _build(name: str, backbone: str, config: SegmentationConfig, context: ModelContext) -> Segmenter:
    classes = context.classes[TASK]
    aux_weight = config.aux_weight if isinstance(config, AuxSegmentationConfig) else 0.0
    options = {} if name.startswith("lraspp") else {"aux_loss": aux_weight > 0}
    heads = ("classifier",) if name.startswith("lraspp") else ("classifier", "aux_classifier")
    weights = class_weights(config, classes)
    return Segmenter(build_net(name, backbone, heads, config, len(classes), **options), weights, aux_weight)


lraspp_mobilenet_v3_large = partial(_build, "lraspp_mobilenet_v3_large", "mobilenet_v3_large")
deeplabv3_mobilenet_v3_large = partial(_build, "deeplabv3_mobilenet_v3_large", "mobilenet_v3_large")
deeplabv3_resnet50 = partial(_build, "deeplabv3_resnet50", "resnet50")
deeplabv3_resnet101 = partial(_build, "deeplabv3_resnet101", "resnet101")
fcn_resnet50 = partial(_build, "fcn_resnet50", "resnet50")
fcn_resnet101 = partial(_build, "fcn_resnet101", "resnet101")
