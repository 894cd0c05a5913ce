"""Named parts of what is evaluated: which frames each is, by what the shard sets' index says of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from .contracts import Loader, Metric, Scored, Source
from .where import Where

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Slices:
    """``where``: name -> its expression; ``masks``: name -> bool [frames]; ``places``: a frame's key -> its row there."""

    where: Mapping[str, str] = field(default_factory=dict)
    masks: Mapping[str, np.ndarray] = field(default_factory=dict)
    places: Mapping[str, int] = field(default_factory=dict)

    @staticmethod
    def open(where: Mapping[str, str], sources: Iterable[Source], loader: Loader) -> Slices:
        """Over all frames of ``sources``. Raises RecipeError for a name that their indexes do not have."""
        if not where:
            return Slices()
        parsed = {name: Where.parse(text, f"slice {name}") for name, text in where.items()}
        rows, classes = _rows(list(parsed.values()), sources, loader)
        masks = {name: one.mask(rows, classes) for name, one in parsed.items()}
        return Slices(where, masks, {key: number for number, key in enumerate(rows.column("key").to_pylist())})

    def times(self, scored: Scored, name: str | None) -> np.ndarray:
        """How often each entry of ``scored`` counts in a slice, int64 [N] of 0 and 1; None is the whole."""
        if name is None:
            return np.ones(len(scored.keys), np.int64)
        return self.masks[name][[self.places[key] for key in scored.keys]].astype(np.int64)

    def figures(self, metrics: Mapping[str, Metric]) -> dict[str, dict[str, Any]]:
        """Slice -> ``where`` and, of every metric that can be sliced, its figures."""
        scored = scored_of(metrics)
        return {
            name: {"where": text, **{entry: one.figures(self.times(one, name)) for entry, one in scored.items()}}
            for name, text in self.where.items()
        }


def scored_of(metrics: Mapping[str, Metric]) -> dict[str, Scored]:
    """What the metrics have seen, frame by frame, of those that tell."""
    return {entry: metric.scored() for entry, metric in metrics.items() if can_be_sliced(metric)}  # type: ignore[attr-defined]


def can_be_sliced(metric: Metric) -> bool:
    return hasattr(metric, "scored")


def _rows(wheres: list[Where], sources: Iterable[Source], loader: Loader) -> tuple[pa.Table, dict[str, set[str]]]:
    """The columns that are needed, of all sources one after the other, and the classes of each task."""
    import pyarrow as pa

    tables: list[pa.Table] = []
    classes: dict[str, set[str]] = {}
    for source in sources:
        shards = loader.open(source.shards, source.overlays)
        columns = {"key": None} | dict.fromkeys(c for one in wheres for c in one.columns(shards.index.schema.names))
        tables.append(shards.index.select(list(columns)))
        for task, infos in shards.classes.items():
            classes.setdefault(task, set()).update(info.name for info in infos)
    return pa.concat_tables(tables, promote_options="default"), classes
