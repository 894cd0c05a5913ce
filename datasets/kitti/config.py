"""What can be set of KITTI."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class KittiConfig(PluginConfig):
    camera: str = Field("cam_front", pattern=r"^[a-z0-9_]+$", description="what to call the left colour camera")
