"""What may be set of the checks."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class ExactDuplicatesConfig(PluginConfig):
    pass


class SimilarityConfig(PluginConfig):
    bits: int = Field(6, ge=0, le=15, description="bits of 64 in which the hashes of two similar pictures differ at most")
    difference: float = Field(
        4.0, gt=0, description="mean difference of their 16 x 16 grey thumbnails at most, in grey levels of 256"
    )


class NearDuplicatesConfig(SimilarityConfig):
    pass


class LeakageConfig(SimilarityConfig):
    pass


class ExposureConfig(PluginConfig):
    dark: float = Field(24.0, description="a picture whose grey levels lie below this, but for 1 %, is black")
    bright: float = Field(0.5, gt=0, le=1, description="a picture with more than this share of white pixels is over-exposed")


class BlurConfig(PluginConfig):
    deviations: float = Field(
        4.0, gt=0, description="robust standard deviations below the set's median sharpness, from which on it is blurred"
    )


class LabelSanityConfig(PluginConfig):
    outside: float = Field(2.0, ge=0, description="px that a box may reach over the picture's edge")
    smallest: float = Field(1.0, ge=0, description="px, the shortest side of a box that can be meant")
    aspect: float = Field(30.0, gt=1, description="the largest ratio of a box's sides that can be meant")
    mask_share: float = Field(0.05, ge=0, le=1, description="the least share of a box that the mask gives its class")


class LabelErrorsConfig(PluginConfig):
    iou: float = Field(0.5, gt=0, le=1, description="from which overlap on a prediction and a label are of one object")
    loose: float = Field(0.1, gt=0, le=1, description="below which overlap with any prediction a label stands alone")
    pixels: float = Field(0.5, gt=0, le=1, description="share of a class's labelled pixels that is predicted otherwise")


class BalanceConfig(PluginConfig):
    rare: float = Field(0.01, ge=0, le=1, description="a class in fewer labelled frames than this share is rare")


class InformativeConfig(PluginConfig):
    count: int = Field(50, ge=1, description="how many frames are chosen")
    diversity: float = Field(0.5, ge=0, le=1, description="weight of looking unlike what is chosen; the rest is uncertainty")
