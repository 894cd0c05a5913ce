"""What a recipe may say of fully sharded data parallelism."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class FSDPConfig(PluginConfig):
    unit_parameters: int = Field(
        1_000_000, gt=0, description="Blocks of at least this many parameters are gathered, and freed, each on its own"
    )
