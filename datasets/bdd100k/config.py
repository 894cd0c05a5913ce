"""What can be set of BDD100K."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from drivetrain import PluginConfig


class Bdd100kConfig(PluginConfig):
    camera: str = Field("cam_front", pattern=r"^[a-z0-9_]+$", description="what to call the only camera")
    labels: tuple[Literal["detection", "drivable", "lanes", "semantic"], ...] = Field(
        ("detection",), min_length=1, description="which are read: some of detection, drivable and lanes; or semantic"
    )

    @field_validator("labels")
    @classmethod
    def _semantic_stands_alone(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        if "semantic" in labels and len(labels) > 1:
            raise ValueError("semantic masks are of other pictures (10k) than the other labels: name them alone")
        return labels
