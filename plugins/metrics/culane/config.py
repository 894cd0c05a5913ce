"""What can be set of CULane's measure."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class CulaneConfig(PluginConfig):
    width: int = Field(1640, gt=0, description="of the pictures, pixels")
    height: int = Field(590, gt=0, description="of the pictures, pixels")
    lane_width: int = Field(30, gt=0, description="pixels with which lanes are drawn")
    iou: tuple[float, ...] = Field((0.3, 0.5, 0.7), min_length=1, description="over which a match counts")


class CulaneF1Config(PluginConfig):
    lane_width: int = Field(30, gt=0, description="pixels with which lanes are drawn; 30 is for pictures of 1640 x 590")
    iou: float = Field(0.5, gt=0, lt=1, description="over which a match counts")
