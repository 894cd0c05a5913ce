"""The base of plugins' configs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from .recipe import Recipe


class PluginConfig(BaseModel):
    """A pydantic model that refuses unknown keys and does not turn a string into a number."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    def advice(self, recipe: Recipe) -> Mapping[str, str]:
        """What ``recipe check`` warns of: a field's name -> why its value, though allowed, does badly in ``recipe``."""
        return {}
