"""What can be set of nuScenes."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class NuscenesConfig(PluginConfig):
    version: str | None = Field(None, description="the folder of tables; by default the split's own")
    lidar: bool = Field(False, description="the keyframe's lidar sweep too")
