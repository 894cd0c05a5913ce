"""The shards of all sources of a recipe, counted through."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

import numpy as np

from drivetrain import hash_key

from .samples import OpenSource


class Sources:
    """Several sources as one line of shards: ``sizes`` int64, samples in each; ``order_id`` of them all."""

    def __init__(self, sources: Sequence[OpenSource]):
        self._sources = sources
        self.sizes = np.concatenate([source.shards.sizes for source in sources])
        ids = [source.shards.info["order_id"] for source in sources]
        self.order_id = ids[0] if len(ids) == 1 else f"{hash_key(*ids):016x}"
        self._shards = [0, *accumulate(source.shards.shards for source in sources)]
        self._samples = np.concatenate([[0], np.cumsum(self.sizes)])

    def __len__(self) -> int:
        return int(self._samples[-1])

    def find(self, shard: int) -> tuple[OpenSource, int]:
        """The source that ``shard`` belongs to, and its number there."""
        source = bisect_right(self._shards, shard) - 1
        return self._sources[source], shard - self._shards[source]

    def locate(self, number: int) -> tuple[int, int]:
        """The shard that holds sample ``number`` in natural order, and its place inside."""
        shard = int(np.searchsorted(self._samples, number, "right")) - 1
        return shard, number - int(self._samples[shard])

    def key(self, shard: int, place: int) -> str:
        source, own = self.find(shard)
        return source.shards.key(own, place)

    @property
    def where(self) -> str:
        return ", ".join(source.shards.path for source in self._sources)

    def counters(self) -> dict[str, float]:
        """What each root of all sources, counted through, has cost: ``root/0/bytes``..."""
        roots = [root for source in self._sources for root in source.shards.roots.roots]
        return {f"root/{i}/{name}": value for i, root in enumerate(roots) for name, value in root.counters.items()}

    def close(self) -> None:
        for source in self._sources:
            source.shards.roots.close()

    def path(self, shard: int) -> str:
        source, own = self.find(shard)
        return f"{source.shards.roots.roots[0].address}/{source.shards.name(own)}.tar"
