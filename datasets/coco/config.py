"""What can be set of a COCO json."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class CocoConfig(PluginConfig):
    camera: str = Field("cam_front", pattern=r"^[a-z0-9_]+$", description="what to call the only camera")
    annotations: str | None = Field(None, description="the json, relative to ROOT; {split} is the split")
    images: str | None = Field(None, description="the folder of pictures, relative to ROOT; {split} is the split")
