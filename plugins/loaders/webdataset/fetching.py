"""What a stream fetches ahead into the node's cache: the chunks that its plans will need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from drivetrain import local_world_from_environment

from .making import Samples
from .pipeline import Plan
from .reader import ShardSet
from .storage.ahead import ReadAhead

_WASTED = 2  # bytes that may be fetched for one that is used
_AHEAD_A_ROOT, _AHEAD_THREADS = 2, 16  # chunks that are fetched at once


class Fetching:
    """Read-ahead for the plans of one stream, which draws from ``shards`` shards at once. ``sharing``: the ranks whose slots
    draw from the same ones, where there are few shards."""

    def __init__(self, samples: Samples, shards: int, sharing: float = 1):
        self._samples, self._shards, self._sharing = samples, shards, sharing
        self._sets = [found for found in samples.sources.sets if found.cache]
        self._running = set[ReadAhead]()

    @contextmanager
    def ahead_of(self, plans: Iterator[Plan]) -> Iterator[ReadAhead | None]:
        """Ends with the block. None, and nothing is fetched ahead, without a cache; where it lacks the room for all that is
        drawn from at once: a chunk would be gone before the next sample of it is drawn; and where most of a chunk would be
        other nodes' samples: the ranges of its own cost less."""
        room = min((found.cache.limit for found in self._sets if found.cache), default=0)
        here = local_world_from_environment()  # processes that share the cache
        fits = here * sum(map(self._open_bytes, self._sets)) <= room
        if not self._sets or not fits or self._sharing > _WASTED * here:
            yield None
            return
        chunk = max(found.cache.chunk for found in self._sets if found.cache)
        threads = min(_AHEAD_THREADS, sum(max(1, found.roots.remote) for found in self._sets) * _AHEAD_A_ROOT)
        ahead = ReadAhead(plans, lambda plan: self._samples.chunks(plan.requests), limit=room // (2 * here * chunk),
                          threads=threads)  # fmt: skip
        self._running.add(ahead)
        try:
            yield ahead
        finally:
            ahead.close()
            self._running.discard(ahead)

    def close(self) -> None:
        for ahead in list(self._running):
            ahead.close()

    def _open_bytes(self, found: ShardSet) -> int:
        return found.tar_bytes * min(found.shards, self._shards) // max(1, found.shards)
