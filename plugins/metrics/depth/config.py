"""What can be set of the errors of depth."""

from __future__ import annotations

from pydantic import Field, model_validator

from drivetrain import PluginConfig


class DepthConfig(PluginConfig):
    min_m: float = Field(1e-3, gt=0, description="metres; truth below it does not count, predictions are raised to it")
    max_m: float = Field(80, gt=0, description="metres; truth beyond it does not count, predictions are cut to it")

    @model_validator(mode="after")
    def _is_a_range(self):
        if self.min_m >= self.max_m:
            raise ValueError(f"min_m is {self.min_m:g}, max_m {self.max_m:g}: nothing is between them")
        return self
