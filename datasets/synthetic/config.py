"""What can be said of the synthetic world."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class SyntheticConfig(PluginConfig):
    frames: int = Field(200, gt=0, description="How many frames the split has")
    width: int = Field(640, ge=64, le=4096, description="Width of the pictures in pixels")
    height: int = Field(360, ge=36, le=4096, description="Height of the pictures in pixels")
    frames_per_scene: int = Field(8, gt=0, description="Consecutive frames of one drive")
    seed: int = Field(0, ge=0, description="Another seed is another world")
    quality: int = Field(92, ge=1, le=100, description="JPEG quality")
