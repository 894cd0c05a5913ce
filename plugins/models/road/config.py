"""Settings of our own models."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from drivetrain import PluginConfig

Size = Literal["n", "s", "m", "l"]


class TimmConfig(PluginConfig):
    """A backbone of the timm library."""

    timm: str = Field(description="its name there, such as resnet50 or convnext_tiny; weights come by init_from")
    options: dict[str, Any] = Field({}, description="what timm is to build it with, such as drop_path_rate")


class BoxesConfig(PluginConfig):
    cells_per_object: int = Field(10, gt=0, le=75, description="the best aligned cells that learn an object, at most")
    box_weight: float = Field(2.0, ge=0, description="weight of the boxes' loss beside the classes'")
    score_threshold: float = Field(0.01, ge=0, lt=1, description="detections below it are dropped")
    nms_threshold: float = Field(0.65, gt=0, le=1, description="IoU above which the weaker of two of a class is dropped")
    detections_per_image: int = Field(100, gt=0, description="the best of a picture that are kept")


class RoadDetectorConfig(BoxesConfig):
    size: Size = Field("n", description="width and depth of backbone, neck and head")
    backbone: TimmConfig | None = Field(None, description="a network of timm in the place of ours, e.g. {timm: resnet50}")
