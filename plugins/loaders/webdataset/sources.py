"""The shards of all sources of a recipe, counted through, and what of them is drawn from."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from threading import Lock

import numpy as np
import xxhash

from drivetrain import DataError, hash_key

from .reader import ShardSet
from .samples import OpenSource
from .selection import select, selects


@dataclass(frozen=True)
class Picked:
    """What is drawn from: some shards of some sources, whole or in part.

    ``sizes`` int64 [K]: samples of each; ``numbers`` uint32 [K]: its number, counted through all sources, None where it is
    ``first`` and those after it; ``places`` uint32 [sizes.sum()]: the samples' places in their shards, None where all of them
    are meant; ``order_id``: of all this."""

    sizes: np.ndarray
    order_id: str
    first: int = 0
    numbers: np.ndarray | None = None
    places: np.ndarray | None = None
    starts: np.ndarray | None = None

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def resolve(self, shards: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """int64 shard numbers, counted through all sources, and places in them, of shards and places of these ``sizes``."""
        if self.places is not None:
            assert self.starts is not None
            places = self.places[self.starts[shards] + places].astype(np.int64)
        return (self.first + shards if self.numbers is None else self.numbers[shards].astype(np.int64)), places


class Sources:
    """Several sources whose shards are counted through."""

    def __init__(self, sources: Sequence[OpenSource], training: bool):
        self.sources, self._training = sources, training
        self._shards = [0, *accumulate(source.shards.shards for source in sources)]
        self._withdrawn = [source.shards.withdrawn for source in sources]
        self._elsewhere, self._lock = Counter[str](), Lock()

    def pick(self, members: Sequence[int], shards: Sequence[int] | None = None) -> Picked:
        """What the sources of these numbers give, of each the first ``shards`` shards; by default all that there are.

        Raises DataError where a ``where`` or a view leaves nothing of a source to train on."""
        shards = [self.sources[i].shards.shards for i in members] if shards is None else shards
        parts = [self._part(i, n) for i, n in zip(members, shards)]
        if len(parts) == 1:
            return parts[0]
        ids = hash_key(*(part.order_id for part in parts))
        sizes = np.concatenate([part.sizes for part in parts])
        whole = all(part.numbers is None for part in parts) and all(
            n == self.sources[i].shards.shards for i, n in zip(members, shards)
        )
        if whole and list(members) == list(range(len(self.sources))):
            return Picked(sizes, f"{ids:016x}")
        numbers = np.concatenate([_numbers(part) for part in parts])
        if all(part.places is None for part in parts):
            return Picked(sizes, f"{ids:016x}", numbers=numbers)
        places = np.concatenate([_places(part) for part in parts])
        return Picked(sizes, f"{ids:016x}", 0, numbers, places, _starts(sizes))

    def find(self, shard: int) -> tuple[OpenSource, int]:
        """The source that ``shard`` belongs to, and its number there."""
        source = bisect_right(self._shards, shard) - 1
        return self.sources[source], shard - self._shards[source]

    def key(self, shard: int, place: int) -> str:
        source, own = self.find(shard)
        return source.shards.key(own, place)

    @property
    def where(self) -> str:
        return ", ".join(source.shards.path for source in self.sources)

    @property
    def sets(self) -> list[ShardSet]:
        """All that is read from: the sources' own and those that are joined to them."""
        return [shards for source in self.sources for shards in (source.shards, *(joined.shards for joined in source.joins))]

    def counters(self) -> dict[str, float]:
        """What each root has cost, by its address: ``root/ADDRESS/bytes``...; ``cache/hits``... of the cache."""
        with self._lock:
            found = Counter(self._elsewhere)
        for shards in self.sets:
            for root in shards.roots.roots:
                found.update({f"root/{root.address}/{name}": value for name, value in root.counters.items()})
            if shards.cache:
                found.update({f"cache/{name}": value for name, value in shards.cache.counters.items()})
        return dict(found)

    def add(self, counters: Mapping[str, float]) -> None:
        """Count what a worker process has cost, as `counters` names it."""
        with self._lock:
            self._elsewhere.update(counters)

    def close(self) -> None:
        for shards in self.sets:
            shards.roots.close()

    def path(self, shard: int) -> str:
        source, own = self.find(shard)
        return f"{source.shards.roots.roots[0].address}/{source.shards.name(own)}.tar"

    def is_withdrawn(self, shard: int, place: int) -> bool:
        source = bisect_right(self._shards, shard) - 1
        withdrawn = self._withdrawn[source]
        return bool(withdrawn) and (shard - self._shards[source], place) in withdrawn

    def _part(self, number: int, shards: int) -> Picked:
        source, first = self.sources[number], self._shards[number]
        base = _order_id(source.shards, shards)
        if not selects(source, self._training):
            return Picked(source.shards.sizes[:shards], base, first)
        selection = select(source, shards, self._training)
        if self._training and not len(selection.places):
            raise DataError(f"nothing of source {source.name!r} is left to train on: {_meant(source)} leaves none of its "
                            f"{len(source.shards)} frames", where=source.asked.where,
                            remedy=f"drivetrain data stats {source.shards.path} tells what there is")  # fmt: skip
        numbers = np.flatnonzero(selection.sizes)
        sizes = selection.sizes[numbers]
        own = xxhash.xxh3_64_hexdigest((base + selection.digest()).encode())
        return Picked(sizes, own, 0, (first + numbers).astype(np.uint32), selection.places, _starts(sizes))


def _meant(source: OpenSource) -> str:
    asked = source.asked
    said = {"where": asked.select, "view": asked.view, "balance": asked.balance and asked.balance.method,
            "join": ", ".join(join.name for join in asked.joins)}  # fmt: skip
    return " and ".join(f"{name} {value!r}" for name, value in said.items() if value)


def _starts(sizes: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(sizes)])


def _numbers(part: Picked) -> np.ndarray:
    return part.first + np.arange(len(part.sizes), dtype=np.uint32) if part.numbers is None else part.numbers


def _places(part: Picked) -> np.ndarray:
    """uint32: the places of all samples, one after the other."""
    if part.places is not None:
        return part.places
    return (np.arange(len(part)) - np.repeat(_starts(part.sizes)[:-1], part.sizes)).astype(np.uint32)


def _order_id(shards: ShardSet, count: int) -> str:
    """The set's, as it was when it had ``count`` shards."""
    if count == shards.shards:
        return shards.info["order_id"]
    return shards.order_id(count)
