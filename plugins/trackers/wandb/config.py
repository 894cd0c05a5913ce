"""What can be set of the W&B tracker. Keys and hosts come from W&B's own environment variables and netrc, never from here."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from drivetrain import PluginConfig


class WandbConfig(PluginConfig):
    project: str = Field("drivetrain", min_length=1, description="W&B project")
    entity: str | None = Field(None, description="user or team; null: the default of the API key")
    name: str | None = Field(None, description="name of the run; null: the run's own")
    group: str | None = Field(None, description="group of runs, such as a study; null: the one that the run belongs to")
    tags: tuple[str, ...] = Field((), description="tags beside the run's own")
    mode: Literal["auto", "online", "offline", "disabled"] = Field(
        "auto", description="auto: WANDB_MODE where it is set, else online where there is an API key, else offline"
    )
    panels: int = Field(8, ge=0, description="pictures an evaluation; 0: none")
    init_timeout: float = Field(60, gt=0, description="seconds until an unreachable server makes the run an offline one")
    finish_timeout: float = Field(120, gt=0, description="seconds that the end of a run may wait for uploads")
