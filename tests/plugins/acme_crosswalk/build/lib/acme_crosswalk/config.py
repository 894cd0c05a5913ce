from pydantic import Field

from drivetrain import PluginConfig


class CrosswalkConfig(PluginConfig):
    width: int = Field(16, gt=0, description="Channels")
