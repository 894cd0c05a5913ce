"""What a recipe may say of DeepSpeed."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from drivetrain import PluginConfig


class OffloadConfig(PluginConfig):
    optimizer: str | None = Field(None, description="cpu: the optimizer's state and its step on the host")
    parameters: str | None = Field(None, description="cpu: at stage 3, the parameters' partitions on the host")

    @field_validator("optimizer", "parameters")
    @classmethod
    def _is_cpu(cls, value: str | None) -> str | None:
        if value not in (None, "cpu"):
            raise ValueError(f"{value!r} is not supported, only cpu: it cannot be verified without a GPU")
        return value


class DeepSpeedConfig(PluginConfig):
    zero_stage: int = Field(1, ge=0, le=3, description="Cut over ranks: 1 optimizer state, 2 also gradients, 3 also weights")
    bucket_mb: int = Field(50, gt=0, description="Gradients are reduced in buckets of this many MB")
    offload: OffloadConfig = Field(
        default_factory=lambda: OffloadConfig.model_validate({}), description="what lies on the host and not on the GPU"
    )

    @model_validator(mode="after")
    def _offloads_what_is_cut(self):
        if self.offload.optimizer and not self.zero_stage:
            raise ValueError("offload.optimizer needs ZeRO stage 1, 2 or 3")
        if self.offload.parameters and self.zero_stage != 3:
            raise ValueError("offload.parameters needs ZeRO stage 3")
        return self
