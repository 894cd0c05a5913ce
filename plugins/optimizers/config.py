"""Settings of the optimizers and of the learning rate schedules."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from drivetrain import PluginConfig

Beta = Annotated[float, Field(ge=0, lt=1)]


class AdamWConfig(PluginConfig):
    lr: float = Field(1e-3, gt=0, description="learning rate; the schedule's factor multiplies it")
    betas: tuple[Beta, Beta] = Field((0.9, 0.999), description="decay of the running gradient and of its square")
    eps: float = Field(1e-8, gt=0, description="added to the denominator")
    weight_decay: float = Field(1e-2, ge=0, description="decoupled weight decay")


class SGDConfig(PluginConfig):
    lr: float = Field(1e-2, gt=0, description="learning rate; the schedule's factor multiplies it")
    momentum: float = Field(0.9, ge=0, lt=1, description="share of the last update that is kept")
    nesterov: bool = Field(False, description="look ahead along the momentum")
    weight_decay: float = Field(1e-4, ge=0, description="L2 penalty added to the gradient")

    @model_validator(mode="after")
    def _nesterov_needs_momentum(self):
        if self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0")
        return self


class ConstantConfig(PluginConfig):
    warmup_steps: int = Field(0, ge=0, description="steps over which the rate rises linearly to its full value")


class CosineConfig(ConstantConfig):
    final: float = Field(0.0, ge=0, le=1, description="factor at the last step")


class OneCycleConfig(PluginConfig):
    rise: float = Field(0.3, gt=0, lt=1, description="share of the run over which the rate rises to its full value")
    start: float = Field(0.04, gt=0, le=1, description="factor at the first step")
    final: float = Field(4e-6, ge=0, le=1, description="factor at the last step")


class PolyConfig(ConstantConfig):
    power: float = Field(0.9, gt=0, description="exponent of what is left of the run")


class StepConfig(ConstantConfig):
    milestones: tuple[Annotated[float, Field(gt=0, lt=1)], ...] = Field(
        (2 / 3, 8 / 9), description="where the rate drops, as shares of the run, rising"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="factor of each drop")

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"milestones {list(value)} do not rise")
        return value
