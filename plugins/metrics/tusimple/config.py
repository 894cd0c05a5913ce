"""What can be set of TuSimple's measure of Frames."""

from __future__ import annotations

from pydantic import Field

from drivetrain import PluginConfig


class TusimpleConfig(PluginConfig):
    first_row: int = Field(160, ge=0, description="of the pictures, where lanes are compared first")
    last_row: int = Field(710, ge=0, description="where they are compared last")
    step: int = Field(10, gt=0, description="rows from one to the next")

    def rows(self) -> list[int]:
        return list(range(self.first_row, self.last_row + 1, self.step))
