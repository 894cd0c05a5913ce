"""What can be said of the synthetic world."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from drivetrain import PluginConfig

Label = Literal["semantic", "boxes", "drivable", "lanes", "depth", "instances"]


class SyntheticConfig(PluginConfig):
    frames: int = Field(200, gt=0, description="How many frames the split has")
    width: int = Field(640, ge=64, le=4096, description="Width of the pictures in pixels")
    height: int = Field(360, ge=36, le=4096, description="Height of the pictures in pixels")
    frames_per_scene: int = Field(8, gt=0, description="Consecutive frames of one drive")
    seed: int = Field(0, ge=0, description="Another seed is another world")
    quality: int = Field(92, ge=1, le=100, description="JPEG quality")
    labels: tuple[Label, ...] = Field(
        ("semantic", "boxes"), description="What is labelled: semantic, boxes, drivable, lanes, depth, instances (with boxes)"
    )

    @field_validator("labels")
    @classmethod
    def _instances_are_of_boxes(cls, labels: tuple[Label, ...]) -> tuple[Label, ...]:
        if "instances" in labels and "boxes" not in labels:
            raise ValueError("instances are numbered as the boxes are: name boxes too")
        return labels
