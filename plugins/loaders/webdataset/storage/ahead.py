"""Read-ahead: chunks that a stream will need are fetched into the node's cache in the order of their first use."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from threading import Condition, Event, Lock, Thread
from time import monotonic
from typing import BinaryIO, TypeVar

_PLANS = 1000  # plans that are looked ahead at most, where they need few chunks
_HELD = 128  # chunks held at most: each is an open file
_PAUSE = 1.0  # seconds after an error
_PATIENCE = 1.0  # seconds that closing waits for threads; one that waits for a root is left behind


@dataclass(frozen=True)
class Chunk:
    """``bring`` fetches it and gives a hold on it (`Cache.bring`); two are the same where ``name`` is."""

    name: tuple[int, ...]
    bring: Callable[[Event], BinaryIO | None]


Plan = TypeVar("Plan")


class ReadAhead:
    """Walks ``plans`` ahead of their use by as many as ``limit`` chunks, with ``threads`` threads.

    A chunk is held in the cache until the last plan that is known to need it was used. An error only means that a chunk is
    not there: whoever needs it reads the roots, and tells."""

    def __init__(self, plans: Iterable[Plan], chunks: Callable[[Plan], Iterable[Chunk]], *, limit: int, threads: int):
        self._limit = max(1, min(limit, _HELD))
        self._last: OrderedDict[tuple[int, ...], int] = OrderedDict()  # chunk -> the last plan so far that needs it
        self._holds: dict[tuple[int, ...], BinaryIO] = {}
        self._used, self._stop, self._changed, self._walking = -1, Event(), Condition(), Lock()
        self._missing = self._walk(plans, chunks)
        self._threads = [Thread(target=self._work, name="drivetrain-ahead", daemon=True) for _ in range(threads)]
        self.errors = 0
        for thread in self._threads:
            thread.start()

    def used(self, number: int) -> None:
        """Plan ``number``, counted from 0, was carried out."""
        with self._changed:
            self._used = number
            while self._last and next(iter(self._last.values())) <= number:
                name, _ = self._last.popitem(last=False)
                if (hold := self._holds.pop(name, None)) is not None:
                    hold.close()
            self._changed.notify_all()

    def close(self) -> None:
        """In bounded time, whatever the roots do."""
        self._stop.set()
        with self._changed:
            self._last.clear()
            for hold in self._holds.values():
                hold.close()
            self._holds.clear()
            self._changed.notify_all()
        deadline = monotonic() + _PATIENCE
        for thread in self._threads:
            thread.join(max(0.0, deadline - monotonic()))

    def _walk(self, plans: Iterable[Plan], chunks: Callable[[Plan], Iterable[Chunk]]) -> Iterator[Chunk]:
        for number, plan in enumerate(plans):
            self._wait_until(lambda: number - self._used <= _PLANS)  # noqa: B023
            if self._stop.is_set():
                return
            if number <= self._used:
                continue
            try:
                wanted = list(chunks(plan))
            except Exception:
                self.errors += 1
                self._stop.wait(_PAUSE)
                continue
            for chunk in wanted:
                self._wait_until(lambda: len(self._last) < self._limit or chunk.name in self._last)  # noqa: B023
                with self._changed:
                    fresh = chunk.name not in self._last
                    if number > self._used and not self._stop.is_set():
                        self._last[chunk.name] = number
                        self._last.move_to_end(chunk.name)
                    else:
                        fresh = False
                if fresh:
                    yield chunk

    def _wait_until(self, ready: Callable[[], bool]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._stop.is_set() or ready())

    def _work(self) -> None:
        while not self._stop.is_set():
            with self._walking:
                chunk = next(self._missing, None)
            if chunk is None:
                return
            try:
                hold = chunk.bring(self._stop)
            except Exception:
                self.errors += 1
                self._stop.wait(_PAUSE)
                continue
            with self._changed:
                if hold is not None and chunk.name in self._last:
                    self._holds[chunk.name] = hold
                elif hold is not None:
                    hold.close()
