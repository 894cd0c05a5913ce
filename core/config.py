"""The base of plugins' configs."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class PluginConfig(BaseModel):
    """A pydantic model that refuses unknown keys and does not turn a string into a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
