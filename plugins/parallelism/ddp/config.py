"""What a recipe may say of DistributedDataParallel."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class DDPConfig(PluginConfig):
    bucket_mb: int = Field(25, gt=0, description="Gradients are reduced in buckets of this many MB")
    find_unused: bool = Field(
        False, description="Allow micro-batches that do not use every parameter: looked for in every step"
    )
