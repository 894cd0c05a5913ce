"""How long a root takes to answer, by how much it is asked for: a chunk of a shard is not late where a table would be."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import median_low
from threading import Lock

_FACTOR, _FLOOR_S = 3.0, 0.05
_FIRST_S, _FIRST_RATE = 1.0, 2**20  # before enough requests have been seen; bytes a second
_SEEN = 3  # requests, of all roots, before they say something


def patience(paces: Iterable[Pace], size: int) -> float:
    """Seconds after which a request to one of these roots is asked again elsewhere: three times what all but a 20th of the last
    ones took, of the root in the middle, so that one that is slow from the start does not set the measure."""
    seen = [found for pace in paces if (found := pace.seen(size))]
    if sum(map(len, seen)) < _SEEN:
        return _FIRST_S + size / _FIRST_RATE
    return max(_FLOOR_S, _FACTOR * median_low(times[round(0.95 * (len(times) - 1))] for times in seen))


@dataclass
class _Size:
    """Requests of about one size: how long the last 200 took, and what is usual of late."""

    last: deque[float] = field(default_factory=lambda: deque(maxlen=200))
    usual: float = 0.0


class Pace:
    """Of one root. Sizes within a factor of 16 count as one; 0 is a small file of unknown size."""

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}
        self._lock = Lock()

    def note(self, size: int, seconds: float) -> None:
        with self._lock:
            seen = self._of(size)
            seen.last.append(seconds)
            seen.usual = 0.8 * seen.usual + 0.2 * seconds if seen.usual else seconds

    def waited(self, size: int, seconds: float) -> None:
        """A request has taken so long and is not answered: what a root that stalls never tells of itself."""
        with self._lock:
            seen = self._of(size)
            seen.usual = max(seen.usual, seconds)

    def usual(self, size: int) -> float:
        """Seconds; 0 before the first answer."""
        with self._lock:
            return self._of(size).usual or max(seen.usual for seen in self._sizes.values())

    def seen(self, size: int) -> list[float]:
        """Seconds that the last 200 requests of this size took, rising."""
        with self._lock:
            return sorted(self._of(size).last)

    def _of(self, size: int) -> _Size:
        return self._sizes.setdefault(size.bit_length() // 4, _Size())
