from pydantic import Field

from drivetrain import PluginConfig


class CrosswalkConfig(PluginConfig):
    width: int = Field(16, gt=0, description="Channels")


class SignsConfig(PluginConfig):
    lr: float = Field(1e-3, gt=0, description="Size of a step")
