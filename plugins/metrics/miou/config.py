"""What can be set of mIoU."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from drivetrain import PluginConfig

_Pixels = Annotated[int, Field(gt=0)]


class MiouConfig(PluginConfig):
    size: tuple[_Pixels, _Pixels] | None = Field(
        None,
        description="[height, width] at which truth and prediction are compared, both resampled to the nearest pixel; "
        "null: the resolution of the source, the one that published figures use",
    )


class SegmentationConfig(PluginConfig):
    classes: int | str = Field(description="how many, or their names in the order of ids, joined by commas")
    ignore: int = Field(255, ge=0, le=255, description="the id of pixels that do not count")
    instances: Path | None = Field(None, description="a folder of Cityscapes' instanceIds.png, for iIoU")

    @field_validator("classes")
    @classmethod
    def _some(cls, value: int | str) -> int | str:
        number = int(value) if str(value).strip().isdigit() else len(_split(str(value)))
        if not 1 <= number <= 256:
            raise ValueError(f"{number} classes; a mask of 8 bits has from 1 to 256")
        return value

    def names(self) -> tuple[str, ...]:
        """Of the classes; their numbers where only their number is given."""
        text = str(self.classes).strip()
        return tuple(map(str, range(int(text)))) if text.isdigit() else _split(text)


def _split(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
