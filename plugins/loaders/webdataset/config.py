"""What a recipe may set of the loader."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from drivetrain import PluginConfig

from .storage.config import StorageConfig

if TYPE_CHECKING:
    from drivetrain import Recipe

MIXING = 8  # shards of a window for each sample of a micro-batch


class WebDatasetConfig(PluginConfig):
    window: int = Field(
        64, ge=1, description="shards that a slot's samples are shuffled over; at least 8 x batch.micro mixes well"
    )
    prefetch: int = Field(4, ge=1, description="micro-batches that are read and decoded ahead of the one in use")
    workers: int = Field(
        0, ge=0,
        description="processes that make samples in place of train.threads: for transforms in Python, which hold its lock; "
        "the batches are the same",
    )  # fmt: skip
    max_damaged_share: float = Field(0.01, ge=0, le=1, description="share of damaged samples above which training stops")
    storage: StorageConfig = Field(StorageConfig(), description="time-outs, retries and hedging of the roots")

    def advice(self, recipe: Recipe) -> Mapping[str, str]:
        """Where a shard is one drive, successive samples of a slot are alike by ``micro / (micro + window)``, and the
        variance of a global batch is ``1 + micro / window`` of an independent draw's."""
        micro = recipe.batch.micro
        if self.window >= MIXING * micro:
            return {}
        return {"window": f"{self.window} shards mix a micro-batch of {micro} poorly where a shard is one drive; "
                          f"take at least {MIXING * micro}, {MIXING} x batch.micro"}  # fmt: skip
