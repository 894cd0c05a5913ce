"""What can be set of TuSimple."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class TusimpleConfig(PluginConfig):
    camera: str = Field("cam_front", pattern=r"^[a-z0-9_]+$", description="what to call the only camera")
