"""Which sample is drawn where: a pure function of (order_id, seed, slots, window, position).

An epoch's permuted shards form one line of N samples, cut into as many stretches (lanes) as there are slots; slot m draws
from lane m, shuffled inside pools of about ``window`` shards. Draw ``g = p * slots + m``, with ``p`` the place in slot m,
belongs to epoch ``g // N``, so every N successive draws see each sample once and one step may span two epochs.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from threading import RLock
from typing import NamedTuple

import numpy as np

from drivetrain import hash_array, hash_key

_IN_POOL = 8  # attempts to replace a damaged sample from its own pool


class _Epoch(NamedTuple):
    shards: np.ndarray  # uint32 [S]: the shards in the epoch's order
    starts: np.ndarray  # int64 [S + 1]: where each begins on the epoch's line


class _Place(NamedTuple):
    epoch: int
    x: int  # on the epoch's line, before the shuffle
    low: int  # the pool is [low, high)
    high: int
    run: int  # how many successive draws of the slot lie in the same lane and pool


class Order:
    """The order of a set whose shards hold ``sizes`` samples, for ``slots`` micro-batches a step.

    ``lanes`` is how many slots are drawn from in turn (a rank's share): so many pools are kept open, 4 bytes a sample;
    two epochs are held at 12 bytes a shard each.
    """

    def __init__(self, sizes: Sequence[int] | np.ndarray, order_id: str, seed: int, slots: int, window: int, lanes: int = 1):
        self.sizes = np.asarray(sizes, np.int64)
        self.total, self.slots, self.window = int(self.sizes.sum()), slots, window
        assert self.total > 0, "an empty set has no order"
        self._key = hash_key(order_id, seed)
        wanted = min(slots, -(-slots * window // len(self.sizes)))
        self.joined = next(d for d in range(wanted, slots + 1) if slots % d == 0)
        self._epochs: OrderedDict[int, _Epoch] = OrderedDict()
        self._pools: OrderedDict[tuple[int, int], np.ndarray] = OrderedDict()
        self._open, self._lock = lanes + 1, RLock()

    def draw(self, slot: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws ``start`` to ``start + count`` of ``slot``: shard numbers and places inside them, int64 [count] each."""
        shards, places = np.empty(count, np.int64), np.empty(count, np.int64)
        done = 0
        with self._lock:
            while done < count:
                at = self._locate(slot, start + done)
                n = min(count - done, at.run)
                offset = at.x - at.low
                line = at.low + self._shuffled(at)[offset : offset + n].astype(np.int64)
                shards[done : done + n], places[done : done + n] = self._on_shards(at.epoch, line)
                done += n
        return shards, places

    def replacement(self, position: int, attempt: int, of: int = 0) -> tuple[int, int]:
        """Another sample of the pool that ``position`` draws from, chosen by hash(position, attempt); of the whole set
        where several attempts were in vain, since a pool may be as small as one sample. ``of``: 0 for the sample itself,
        n for its n-th partner, whose attempt 0 is the partner; it may be the sample."""
        with self._lock:
            at = self._locate(position % self.slots, position // self.slots)
            low, high = (at.low, at.high) if attempt < _IN_POOL else (0, self.total)
            line = low + hash_key(self._key, position, attempt, *([of] if of else [])) % (high - low)
            shards, places = self._on_shards(at.epoch, np.array([line]))
        return int(shards[0]), int(places[0])

    def _locate(self, slot: int, p: int) -> _Place:
        epoch = (p * self.slots + slot) // self.total
        start, end = self._lane(epoch, slot), self._lane(epoch, slot + 1)
        x = start + p + (slot - epoch * self.total) // self.slots
        if self.joined > 1:
            first = slot // self.joined * self.joined
            low, high = self._lane(epoch, first), self._lane(epoch, first + self.joined)
        else:
            low, high = self._windowed(epoch, start, end, x)
        return _Place(epoch, x, low, high, min(end, high) - x)

    def _lane(self, epoch: int, slot: int) -> int:
        """Where lane ``slot`` starts on the epoch's line: the epoch's draws that fall into slots below it."""
        return self._below((epoch + 1) * self.total, slot) - self._below(epoch * self.total, slot)

    def _below(self, draws: int, slot: int) -> int:
        return draws // self.slots * slot + min(draws % self.slots, slot)

    def _windowed(self, epoch: int, start: int, end: int, x: int) -> tuple[int, int]:
        """The lane's shards, cut into equal groups of about ``window``: the part of the group around ``x`` in the lane."""
        starts = self._epoch(epoch).starts
        first, last, at = (int(np.searchsorted(starts, v, "right")) - 1 for v in (start, end - 1, x))
        n = last - first + 1
        groups = max(1, round(n / self.window))
        i = ((at - first + 1) * groups - 1) // n
        low, high = starts[first + n * i // groups], starts[first + n * (i + 1) // groups]
        return max(start, int(low)), min(end, int(high))

    def _on_shards(self, epoch: int, line: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shards, starts = self._epoch(epoch)
        t = np.searchsorted(starts, line, "right") - 1
        return shards[t].astype(np.int64), line - starts[t]

    def _epoch(self, epoch: int) -> _Epoch:
        if epoch not in self._epochs:
            hashes = hash_array(hash_key(self._key, epoch), np.arange(len(self.sizes)))
            shards = np.argsort(hashes, kind="stable").astype(np.uint32)
            self._epochs[epoch] = _Epoch(shards, np.concatenate([[0], np.cumsum(self.sizes[shards])]))
            if len(self._epochs) > 2:
                self._epochs.popitem(last=False)
        return self._epochs[epoch]

    def _shuffled(self, at: _Place) -> np.ndarray:
        """uint32 [high - low]: the pool's permutation, kept while the pool is open."""
        key = (at.epoch, at.low)
        if key not in self._pools:
            hashes = hash_array(hash_key(self._key, at.epoch, at.low), np.arange(at.high - at.low))
            self._pools[key] = np.argsort(hashes, kind="stable").astype(np.uint32)
            if len(self._pools) > self._open:
                self._pools.popitem(last=False)
        self._pools.move_to_end(key)
        return self._pools[key]


def evaluation_share(batches: int, rank: int, world: int) -> range:
    """The batches of ``rank``, out of ``batches`` in natural order; shares differ by one at most."""
    return range(rank * batches // world, (rank + 1) * batches // world)
