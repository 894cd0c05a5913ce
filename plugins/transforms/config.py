"""Settings of the transforms."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from drivetrain import PluginConfig

Share = Annotated[float, Field(ge=0, le=1)]
Band = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]


def _ordered(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError(f"{list(bounds)}: the lowest comes first")
    return bounds


_Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[_Positive, _Positive], AfterValidator(_ordered)]
"""[lowest, highest], drawn evenly."""
Size = tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]]


class ResizeConfig(PluginConfig):
    size: Size = Field(description="[height, width] in pixels")
    keep_aspect: bool = Field(False, description="fit inside the size instead of stretching to it; batches are padded")


class ResizeShortestConfig(PluginConfig):
    shortest: Annotated[int, Field(gt=0)] = Field(description="length of the shorter side in pixels")
    longest: Annotated[int, Field(gt=0)] | None = Field(
        None, description="the most pixels of the longer side, for which the shorter one gives way; null: no bound"
    )


class LetterboxConfig(PluginConfig):
    size: Size = Field(description="[height, width] in pixels; what the picture leaves free of it is black and ignored")
    centred: bool = Field(True, description="in the middle; false: at the top left")


class RoiConfig(PluginConfig):
    """Either ``degrees`` or ``share``."""

    degrees: Band | None = Field(None, description="[above, below] the horizon in degrees; needs the camera's intrinsics")
    share: Band | None = Field(None, description="[above, below] the horizon in shares of the picture's height")
    horizon: float | None = Field(
        None, ge=0, le=1, description="where the horizon is, as a share of the height from the top, for cameras whose "
        "intrinsics are unknown; null: the recipe is refused for these"
    )  # fmt: skip

    @model_validator(mode="after")
    def _one_band(self):
        if (self.degrees is None) == (self.share is None):
            raise ValueError("expected degrees or share, one of them")
        band = self.degrees or self.share
        if band is None or not sum(band) or (self.degrees and max(self.degrees) >= 90):
            raise ValueError("a band has a height, and less than 90 degrees each way")
        return self


class RandomScaleCropConfig(PluginConfig):
    size: Size = Field(description="[height, width] of the crop in pixels; what is smaller is padded and ignored")
    scale: Range = Field((0.5, 2.0), description="[lowest, highest] factor of the current size, drawn evenly")


class FlipConfig(PluginConfig):
    p: Share = Field(0.5, description="probability of a mirrored picture")
    ignore: list[str] = Field(
        [], description="classes that a mirror makes wrong, such as signs with text: ignored in mirrored pictures"
    )


class ColourConfig(PluginConfig):
    """Each gain is drawn evenly from 1 - x to 1 + x, the hue's turn from -x to x."""

    strength: float = Field(0.2, ge=0, lt=1, description="of brightness, contrast and saturation where these are not set")
    brightness: float | None = Field(None, ge=0, lt=1, description="gain on all channels; null: strength")
    contrast: float | None = Field(None, ge=0, lt=1, description="gain around mid-grey; null: strength")
    saturation: float | None = Field(None, ge=0, lt=1, description="gain of the colour around its grey; null: strength")
    hue: float = Field(0.0, ge=0, le=0.5, description="largest turn of the hue, in full turns")


class BlurConfig(PluginConfig):
    p: Share = Field(0.1, description="probability of a blurred picture")
    kinds: list[Literal["gaussian", "motion"]] = Field(
        ["gaussian", "motion"], min_length=1, description="one of these at random"
    )
    sigma: Range = Field((0.5, 2.0), description="[lowest, highest] standard deviation of the gaussian in pixels")
    length: Range = Field((4, 16), description="[lowest, highest] length of the motion in pixels, in any direction")


class NoiseConfig(PluginConfig):
    p: Share = Field(0.1, description="probability of a noisy picture")
    sigma: Range = Field((2, 12), description="[lowest, highest] standard deviation in steps of 255")


class JpegConfig(PluginConfig):
    p: Share = Field(0.1, description="probability of a picture that is compressed once more")
    quality: tuple[Annotated[int, Field(ge=1, le=100)], Annotated[int, Field(ge=1, le=100)]] = Field(
        (30, 80), description="[lowest, highest] JPEG quality"
    )


class FogConfig(PluginConfig):
    p: Share = Field(0.1, description="probability of fog")
    visibility: Range = Field(
        (60, 400), description="[lowest, highest] meteorological range in metres, drawn evenly in its logarithm"
    )


class RainConfig(PluginConfig):
    p: Share = Field(0.1, description="probability of rain")
    amount: Range = Field((0.2, 1.0), description="[lowest, highest] amount, 1 being a downpour")


class NightConfig(PluginConfig):
    p: Share = Field(0.1, description="probability of night")
    light: Range = Field((0.08, 0.3), description="[lowest, highest] share of the light that is left")
    headlights: bool = Field(True, description="the road ahead is lit")
    noise: float = Field(4.0, ge=0, description="standard deviation of the sensor's noise in steps of 255")


class MosaicConfig(PluginConfig):
    size: Size = Field(description="[height, width] of the canvas in pixels")
    p: Share = Field(1.0, description="probability of a mosaic; otherwise the picture alone is fitted into the canvas")
    scale: Range = Field((0.5, 1.5), description="[lowest, highest] size of each picture, 1 filling the canvas")
    centre: Range = Field((0.25, 0.75), description="[lowest, highest] place where the four meet, as a share of the canvas")


class CopyPasteConfig(PluginConfig):
    p: Share = Field(0.5, description="probability that objects are pasted")
    classes: list[str] = Field([], description="classes of the objects that are pasted; none: all")
    most: int = Field(5, ge=1, description="the most objects that are pasted into one picture")
    hidden: Share = Field(0.7, description="an object of which more than this share is pasted over is no longer learnt")
