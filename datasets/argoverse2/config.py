"""What can be set of Argoverse 2."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class Argoverse2Config(PluginConfig):
    boxes: bool = Field(False, description="the annotated 3D boxes as they project onto the pictures")
    stereo: bool = Field(False, description="the stereo pair too")
    lidar: bool = Field(False, description="the lidar sweep too")
