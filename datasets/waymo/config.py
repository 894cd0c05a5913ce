"""What can be set of Waymo."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class WaymoConfig(PluginConfig):
    lidar: bool = Field(False, description="the five lidars too")
