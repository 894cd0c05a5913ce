"""Several roots that hold one shard set, each shard on one of them or on several, read as if they were one.

Of a file's roots the one is asked that should answer first, by its requests in flight and how long they took of late; of equal
ones by hash(file, root), so that replicas share the load. A slow request is hedged: the
next root (or the same one where there is no other) is asked too, and the first good answer wins. What can be retried is,
with exponential backoff and jitter, until ``retry_s`` is over. Bytes that fail their check are proven bad only once every
root has given bad ones, twice.
"""

from __future__ import annotations

import random
import re
import time
import warnings
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from threading import Lock

from drivetrain import DataError, OutageError, hash_key

from ..shards import Damage
from .config import StorageConfig
from .pace import Pace, patience
from .stores import NotThere, Refused, Store, open_store

_HEDGED = 0.1  # of the requests
_LOOK_S = 0.25  # between two looks at what is unusually long: it is learnt while requests are under way
_BACKOFF_S = (0.05, 10.0)
_ASIDE_S = (0.5, 30.0)  # how long a root that failed is asked last

Read = Callable[[Store], bytes]
Check = Callable[[bytes], bool]


class StorageError(DataError, OSError):
    """No root gives the file, though it may be there: the run stops, nothing is replaced."""


class NoAnswer(StorageError, OutageError):
    """No root has answered for as long as a recipe grants."""


def without_secrets(address: str) -> str:
    """As it may be shown: no user, password or signed query."""
    scheme, found, rest = address.partition("://")
    return f"{scheme}://{re.sub(r'^[^/@]*@', '', rest).partition('?')[0]}" if found else address


class Root:
    """One root: its store, its threads (as many as requests may be in flight), and what it has cost."""

    def __init__(self, address: str, config: StorageConfig):
        self.address, self.store = without_secrets(address), open_store(address, config.timeout_s)
        self.absent: set[str] = set()
        self.aside_until, self.named = 0.0, False
        self._pool = ThreadPoolExecutor(config.in_flight, "drivetrain-root") if self.store.remote else None
        self.pace = Pace()
        self._in_flight: dict[Future[bytes], float] = {}  # since when
        self._failures, self._lock = 0, Lock()
        self.counters = dict.fromkeys(("seconds", "requests", "bytes", "failures", "hedges", "hedges_won", "bad_reads"), 0.0)

    def start(self, read: Read, size: int) -> Future[bytes]:
        """A remote root is read in its own threads, a local one in the caller's."""
        if self._pool:
            future = self._pool.submit(self.timed, read, size)
            with self._lock:
                self._in_flight[future] = time.monotonic()
            future.add_done_callback(self._landed)
            return future
        future = Future[bytes]()
        try:
            future.set_result(self.timed(read, size))
        except Exception as error:
            future.set_exception(error)
        return future

    def expected(self, size: int) -> float:
        """Seconds until a request that is sent now should be answered; 0 before the first answer. One that waits already says
        more of a root than the quick answers before it."""
        with self._lock:
            began = list(self._in_flight.values())
        waited = time.monotonic() - min(began) if began else 0.0
        return max(self.pace.usual(size), waited) * (len(began) + 1)

    def count(self, name: str, value: float = 1) -> None:
        with self._lock:
            self.counters[name] += value

    def close(self) -> None:
        if self._pool:
            self._pool.shutdown(wait=False, cancel_futures=True)
        self.store.close()

    def _landed(self, future: Future[bytes]) -> None:
        with self._lock:
            self._in_flight.pop(future, None)

    def timed(self, read: Read, size: int) -> bytes:
        began = time.monotonic()
        try:
            data = read(self.store)
        except (NotThere, Refused):
            self._note(began, 0, failed=False)
            raise
        except Exception:
            self._note(began, 0, failed=True)
            raise
        self._note(began, len(data), failed=False)
        self.pace.note(size, time.monotonic() - began)
        return data

    def _note(self, began: float, size: int, failed: bool) -> None:
        with self._lock:
            now = time.monotonic()
            self._failures = self._failures + 1 if failed else 0
            self.aside_until = now + min(_ASIDE_S[1], _ASIDE_S[0] * 2 ** min(self._failures, 8)) if failed else 0.0
            self.counters["seconds"] += now - began
            self.counters["requests"] += 1
            self.counters["bytes"] += size
            self.counters["failures"] += failed


def _name_once(name: str, bad: Sequence[Root]) -> None:
    """Say of each root that gave bad bytes, where another one had good ones: its counter tells how often."""
    for root in bad:
        if not root.named:
            root.named = True
            warnings.warn(f"{root.address} gave bad bytes of {name}, which another root or try had whole: restore its copy")


@dataclass
class _Round:
    """What one asking of all roots came to, where none gave a good answer."""

    bad: list[Root] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


class Roots:
    """Reads files from ``addresses``. Safe to use from several threads."""

    def __init__(self, addresses: Sequence[str], config: StorageConfig | None = None):
        self._config = config or StorageConfig()
        self.roots = [Root(address, self._config) for address in addresses]
        self._folder = self.roots[0] if len(self.roots) == 1 and not self.roots[0].store.remote else None

    def get(self, name: str, check: Check | None = None) -> bytes:
        """A whole file. Raises as `read` does."""
        return self._fetch(name, lambda store: store.get(name), check or (lambda _: True), 0)

    def read(self, name: str, offset: int, length: int, check: Check) -> bytes:
        """``length`` bytes at ``offset`` that pass ``check``.

        Raises Damage where every root that has the file gives bad bytes, NotThere where none has it, StorageError where
        one refuses it, NoAnswer where none answers in time."""
        return self._fetch(name, lambda store: store.read(name, offset, length), check, length)

    def path(self, name: str) -> Path:
        """Where a file lies on the first root, all of them folders, that has it; on the first one where none has."""
        paths = [Path(root.address) / name for root in self.roots]
        return next((path for path in paths if path.exists()), paths[0])

    @property
    def remote(self) -> int:
        """How many of the roots are remote."""
        return sum(root.store.remote for root in self.roots)

    def close(self) -> None:
        for root in self.roots:
            root.close()

    def _fetch(self, name: str, read: Read, check: Check, size: int) -> bytes:
        data = self._straight(name, read, check, size)
        return self._asked(name, read, check, size) if data is None else data

    def _straight(self, name: str, read: Read, check: Check, size: int) -> bytes | None:
        """A single folder, the common case, without choosing and waiting. None where that is not enough."""
        if self._folder is None:
            return None
        try:
            data = self._folder.timed(read, size)
        except NotThere:
            self._folder.absent.add(name)  # which needs no second look
            return None
        except (Refused, OSError):
            return None
        return data if check(data) else None

    def _asked(self, name: str, read: Read, check: Check, size: int) -> bytes:
        deadline, pause, rounds_of_bad = time.monotonic() + self._config.retry_s, _BACKOFF_S[0], 0
        while True:
            asked = self._candidates(name, size)
            result = self._ask(name, asked, read, check, size)
            if isinstance(result, bytes):
                return result
            rounds_of_bad += bool(result.bad)
            if not result.failed:
                self._judge(name, result, rounds_of_bad)
            elif time.monotonic() + pause > deadline:
                raise NoAnswer(f"{name} cannot be read: {'; '.join(result.failed)}", where=self._where(asked),
                               remedy=f"tried again for {self._config.retry_s:g} s (loader.storage.retry_s)")  # fmt: skip
            time.sleep(pause * random.uniform(0.5, 1.0))  # jitter: clients that failed together do not return together
            pause = min(2 * pause, _BACKOFF_S[1])

    def _candidates(self, name: str, size: int) -> list[Root]:
        """By when they should answer, and by hash; those put aside last."""
        now, there = time.monotonic(), [root for root in self.roots if name not in root.absent]
        if not there:
            raise NotThere(f"{name} is on no root: {self._where(self.roots)}")
        return sorted(there, key=lambda root: (root.aside_until > now, root.expected(size), hash_key(name, root.address)))

    def _judge(self, name: str, result: _Round, rounds_of_bad: int) -> None:
        """Nothing is left that another try without failures could bring, except a second look at bad bytes."""
        if result.refused:
            raise StorageError(f"{name} is refused: {'; '.join(result.refused)}", where=self._where(self.roots),
                               remedy="check the credentials and permissions of the root")  # fmt: skip
        if rounds_of_bad >= 2:
            raise Damage(f"{name}: the bytes do not match their checksum on {self._where(result.bad)}")

    def _ask(self, name: str, candidates: Sequence[Root], read: Read, check: Check, size: int) -> bytes | _Round:
        """The first good answer. The next root is asked where one fails, or takes unusually long."""
        left, running, result = deque(candidates), dict[Future[bytes], tuple[Root, bool]](), _Round()
        if self._config.hedge and len(candidates) == 1 and candidates[0].store.remote:
            left.append(candidates[0])
        hedging, answered, asked = False, set[Root](), time.monotonic()
        while left or running:
            if left and (hedging or not running):
                root = left.popleft()
                if hedging or root not in answered:
                    root.count("hedges", hedging)
                    running[root.start(read, size)], asked = (root, hedging), time.monotonic()
            if not running:
                continue
            last = [root for root, _ in running.values()][-1]
            late = asked + self._patience(size) if left and self._may_hedge() else inf
            done, _ = wait(running, min(_LOOK_S, max(0.0, late - time.monotonic())), FIRST_COMPLETED)
            done |= {future for future in running if future.cancelled()}  # by `close`, of which nobody tells who waits
            hedging = not done and time.monotonic() >= late
            if hedging:
                last.pace.waited(size, late - asked)
            for future in done:
                root, hedged = running.pop(future)
                answered.add(root)
                data = self._answer(name, root, future, check, result)
                if data is not None:
                    root.count("hedges_won", hedged)
                    _name_once(name, result.bad)
                    for other in running:
                        other.cancel()
                    return data
        return result

    def _patience(self, size: int) -> float:
        return patience((root.pace for root in self.roots), size)

    def _may_hedge(self) -> bool:
        """Where all roots are slow, asking twice makes them slower: what one root can have in flight, and a share of all."""
        hedges, requests = (sum(root.counters[what] for root in self.roots) for what in ("hedges", "requests"))
        return self._config.hedge and hedges <= self._config.in_flight + _HEDGED * requests

    def _answer(self, name: str, root: Root, future: Future[bytes], check: Check, result: _Round) -> bytes | None:
        error = future.exception()  # raised here, it would hold all callers' frames, in a cycle, until the collector comes by
        if isinstance(error, NotThere):
            root.absent.add(name)
        elif isinstance(error, Refused):
            result.refused.append(f"{root.address}: {error}")
        elif isinstance(error, OSError):
            result.failed.append(f"{root.address}: {error}")
        elif check(data := future.result()):
            return data
        else:
            root.count("bad_reads")
            result.bad.append(root)
        return None

    def _where(self, roots: Sequence[Root]) -> str:
        return ", ".join(dict.fromkeys(root.address for root in roots))
