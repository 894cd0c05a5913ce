"""A look at every shard of a set, in processes: for what is not worth keeping a set's frames in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from drivetrain import process_pool

from .reader import ShardSet
from .storage.config import StorageConfig

_AT_ONCE = 4096
_T = TypeVar("_T")


def over_shards(shards: ShardSet, look: Callable[[ShardSet, int], _T], workers: int) -> Iterator[_T]:
    """``look(shards, number)`` of every shard, in their order; ``look`` and what it returns can be pickled."""
    workers = min(workers, shards.shards)
    if workers < 2:
        yield from (look(shards, number) for number in range(shards.shards))
        return
    with process_pool(workers, _start, shards.addresses, shards.storage, look) as pool:
        for first in range(0, shards.shards, _AT_ONCE):  # a million waiting answers would fill the memory
            yield from pool.map(_look, range(first, min(first + _AT_ONCE, shards.shards)))


_worker: tuple[ShardSet, Callable[[ShardSet, int], Any]] | None = None


def _start(addresses: Sequence[str], storage: StorageConfig | None, look: Callable[[ShardSet, int], Any]) -> None:
    global _worker
    _worker = ShardSet(addresses, storage), look


def _look(number: int) -> Any:
    assert _worker is not None
    shards, look = _worker
    return look(shards, number)
