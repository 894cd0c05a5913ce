"""What can be set of Cityscapes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drivetrain import PluginConfig


class CityscapesConfig(PluginConfig):
    camera: str = Field("cam_front", pattern=r"^[a-z0-9_]+$", description="what to call the left camera")
    labels: Literal["gtFine", "gtCoarse"] = Field("gtFine", description="which masks")
    boxes: bool = Field(False, description="boxes around the instances, from instanceIds")
