"""What can be set of mIoU."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from drivetrain import PluginConfig

_Pixels = Annotated[int, Field(gt=0)]


class MiouConfig(PluginConfig):
    size: tuple[_Pixels, _Pixels] | None = Field(
        None,
        description="[height, width] at which truth and prediction are compared, both resampled to the nearest pixel; "
        "null: the resolution of the source, the one that published figures use",
    )
