"""Settings of the transforms."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from drivetrain import PluginConfig

Size = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]


class ResizeConfig(PluginConfig):
    size: Size = Field(description="[height, width] in pixels")
    keep_aspect: bool = Field(False, description="fit inside the size instead of stretching to it; batches are padded")


class RandomScaleCropConfig(PluginConfig):
    size: Size = Field(description="[height, width] of the crop in pixels; what is smaller is padded and ignored")
    scale: tuple[Annotated[float, Field(gt=0)], Annotated[float, Field(gt=0)]] = Field(
        (0.5, 2.0), description="[lowest, highest] factor of the current size, drawn evenly"
    )

    @model_validator(mode="after")
    def _ordered(self):
        if self.scale[0] > self.scale[1]:
            raise ValueError(f"scale {list(self.scale)}: the lowest factor comes first")
        return self


class FlipConfig(PluginConfig):
    p: float = Field(0.5, ge=0, le=1, description="probability of a mirrored picture")


class ColourConfig(PluginConfig):
    """Each gain is drawn evenly from 1 - x to 1 + x, the hue's turn from -x to x."""

    strength: float = Field(0.2, ge=0, lt=1, description="of brightness, contrast and saturation where these are not set")
    brightness: float | None = Field(None, ge=0, lt=1, description="gain on all channels; null: strength")
    contrast: float | None = Field(None, ge=0, lt=1, description="gain around mid-grey; null: strength")
    saturation: float | None = Field(None, ge=0, lt=1, description="gain of the colour around its grey; null: strength")
    hue: float = Field(0.0, ge=0, le=0.5, description="largest turn of the hue, in full turns")
