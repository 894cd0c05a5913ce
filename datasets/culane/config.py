"""What can be set of CULane."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class CulaneConfig(PluginConfig):
    camera: str = Field("cam_front", pattern=r"^[a-z0-9_]+$", description="what to call the only camera")
