"""What can be set of ``drivetrain score coco``."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class CocoScorerConfig(PluginConfig):
    errors: bool = Field(False, description="also counts by class and size, and the kinds of mistakes with what each costs")
