"""Settings of torchvision's models."""

from __future__ import annotations

from pydantic import Field, model_validator

from drivetrain import MaskLossConfig, PluginConfig


class WeightsConfig(PluginConfig):
    """Pretrained weights by torchvision's names, such as ``DEFAULT``, ``COCO_V1`` or ``IMAGENET1K_V1``."""

    weights: str | None = Field(None, description="of the whole model; layers of another number of classes start anew")
    weights_backbone: str | None = Field(None, description="of the backbone alone")
    norm_momentum: float | None = Field(
        None, gt=0, le=1, description="of batch norms' running statistics; null: torchvision's (0.01 in MobileNets)"
    )

    @model_validator(mode="after")
    def _one_source(self):
        if self.weights and self.weights_backbone:
            raise ValueError("weights hold the backbone's too: leave out weights_backbone")
        return self


class SegmentationConfig(WeightsConfig, MaskLossConfig):
    """Torchvision's weights, and how the mask is learnt."""


class AuxSegmentationConfig(SegmentationConfig):
    aux_weight: float = Field(0.0, ge=0, description="weight of an auxiliary head's loss; 0: no such head")


class DetectionConfig(WeightsConfig):
    trainable_backbone_layers: int | None = Field(
        None, ge=0, le=6, description="of a pretrained backbone, counted from its end; null: torchvision's choice"
    )
    score_threshold: float = Field(0.05, ge=0, lt=1, description="detections below it are dropped")
    nms_threshold: float | None = Field(
        None, gt=0, le=1, description="IoU above which the weaker of two detections is dropped; null: torchvision's choice"
    )
    detections_per_image: int = Field(100, gt=0, description="the best of a picture that are kept")

    @model_validator(mode="after")
    def _only_pretrained_layers_are_frozen(self):
        if self.trainable_backbone_layers is not None and not (self.weights or self.weights_backbone):
            raise ValueError("trainable_backbone_layers needs weights or weights_backbone: from scratch all are trained")
        return self
