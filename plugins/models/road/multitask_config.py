"""Settings of ``road_multitask``, task by task."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from drivetrain import MaskLossConfig, PluginConfig

from .config import BoxesConfig, Size, TimmConfig


class LaneConfig(PluginConfig):
    rows: int = Field(36, ge=2, description="in which lanes are looked for, evenly from top to the lower edge")
    columns: int = Field(100, ge=2, description="places in a row that are told from each other")
    top: float = Field(0.35, ge=0, lt=1, description="share of the picture's height above which no lane is looked for")
    lanes_per_class: int = Field(1, ge=1, description="lanes of one class that a picture may have, from left to right")
    threshold: float = Field(0.5, ge=0, le=1, description="probability above which a lane crosses a row")
    least_rows: int = Field(3, ge=2, description="rows that a lane must cross to be one")


class DepthConfig(PluginConfig):
    farthest: float = Field(120.0, gt=0, description="metres; what is farther teaches nothing and is never said")
    scale_free: float = Field(0.5, ge=0, le=1, description="share of an error common to a whole picture that is forgiven")


class RoadMultitaskConfig(PluginConfig):
    """A mapping of settings for each task, by its name; what a model has no task for is not looked at."""

    size: Size = Field("n", description="width and depth of backbone, neck and heads")
    width: float | None = Field(
        None, ge=0.125, le=4, description="multiple of the widths, between or beyond those of the sizes: 0.25, 0.5, 0.75, 1"
    )
    backbone: TimmConfig | None = Field(None, description="a network of timm in the place of ours, e.g. {timm: resnet50}")
    balance: Literal["fixed", "uncertainty"] = Field(
        "fixed", description="weights of the tasks' losses: task_weights, or learnt with the model"
    )
    task_weights: dict[str, Annotated[float, Field(ge=0)]] = Field({}, description="task -> weight of its losses; others 1")
    object_detection: BoxesConfig = Field(default_factory=lambda: BoxesConfig.model_validate({}))
    semantic_segmentation: MaskLossConfig = Field(default_factory=lambda: MaskLossConfig.model_validate({}))
    drivable_area: MaskLossConfig = Field(default_factory=lambda: MaskLossConfig.model_validate({}))
    lane_detection: LaneConfig = Field(default_factory=lambda: LaneConfig.model_validate({}))
    depth_estimation: DepthConfig = Field(default_factory=lambda: DepthConfig.model_validate({}))
