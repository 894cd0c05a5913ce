"""What can be set of Cityscapes."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from drivetrain import PluginConfig


class CityscapesConfig(PluginConfig):
    camera: str = Field("cam_front", pattern=r"^[a-z0-9_]+$", description="what to call the left camera")
    labels: Literal["gtFine", "gtCoarse"] = Field("gtFine", description="which masks")
    boxes: bool = Field(False, description="boxes around the instances, from instanceIds")
    instances: bool = Field(False, description="with boxes, the mask of instances: n where the n-th box's is")

    @model_validator(mode="after")
    def _instances_are_of_boxes(self):
        if self.instances and not self.boxes:
            raise ValueError("instances are numbered as the boxes are: set boxes too")
        return self
