"""The shards of all sources of a recipe, counted through."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate

from .samples import OpenSource
from .shards import order_id


class Sources:
    """Several sources as one line of shards: ``sizes`` samples in each; ``order_id`` of them all."""

    def __init__(self, sources: Sequence[OpenSource]):
        self._sources = sources
        named = [(name, size) for source in sources for name, size in zip(source.shards.names, source.shards.sizes)]
        self.sizes = [size for _, size in named]
        self.order_id = order_id(named)
        self._shards = [0, *accumulate(len(source.shards.names) for source in sources)]
        self._samples = [0, *accumulate(self.sizes)]

    def __len__(self) -> int:
        return self._samples[-1]

    def find(self, shard: int) -> tuple[OpenSource, int]:
        """The source that ``shard`` belongs to, and its number there."""
        source = bisect_right(self._shards, shard) - 1
        return self._sources[source], shard - self._shards[source]

    def locate(self, number: int) -> tuple[int, int]:
        """The shard that holds sample ``number`` in natural order, and its place inside."""
        shard = bisect_right(self._samples, number) - 1
        return shard, number - self._samples[shard]

    def key(self, shard: int, place: int) -> str:
        source, own = self.find(shard)
        return source.shards.key(own, place)

    def path(self, shard: int) -> str:
        source, own = self.find(shard)
        return str(source.shards.folder / f"{source.shards.names[own]}.tar")
