"""What a recipe may say of DeepSpeed."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class DeepSpeedConfig(PluginConfig):
    zero_stage: int = Field(1, ge=0, le=3, description="Cut over ranks: 1 optimizer state, 2 also gradients, 3 also weights")
    bucket_mb: int = Field(50, gt=0, description="Gradients are reduced in buckets of this many MB")
