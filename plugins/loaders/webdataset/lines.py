"""One line of samples that is drawn from, also while its sets grow.

Shards that a set has gained enter at an epoch's start: a line has generations, the first from position 0 on, each later one
from the position at which an epoch of the one before it ends. A generation numbers its draws from its own start E: position
g is its draw g - E, in its slot (g - E) mod slots, so each slot still has one lane and every epoch each sample once.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from .order import Order
from .sources import Picked


class _Generation(NamedTuple):
    first: int  # the position from which it is drawn
    shards: tuple[int, ...]  # how many of each source
    picked: Picked
    order: Order


class Line:
    """``pick(shards of each source)`` says what is drawn from, ``shards`` how many there are now; ``order`` makes an Order."""

    def __init__(self, pick: Callable[[Sequence[int]], Picked], shards: Sequence[int], order: Callable[[Picked], Order]):
        self._pick, self._there, self._order = pick, tuple(shards), order
        self._generations = [self._generation(0, self._there)]
        self._slots = self._generations[0].order.slots

    @property
    def newest(self) -> Picked:
        return self._generations[-1].picked

    @property
    def joined(self) -> int:
        """How many slots share one pool."""
        return self._generations[-1].order.joined

    def draw(self, slot: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Draws ``start`` to ``start + count`` of ``slot``: shards, counted through all sources, and places, int64 [count]."""
        shards, places = np.empty(count, np.int64), np.empty(count, np.int64)
        done = 0
        while done < count:
            position = (start + done) * self._slots + slot
            number = self._number(position)
            generation, n = self._generations[number], count - done
            if number + 1 < len(self._generations):
                n = min(n, -((position - self._generations[number + 1].first) // self._slots))
            own = position - generation.first
            drawn = generation.order.draw(own % self._slots, own // self._slots, n)
            shards[done : done + n], places[done : done + n] = generation.picked.resolve(*drawn)
            done += n
        return shards, places

    def replacement(self, position: int, attempt: int, of: int = 0) -> tuple[int, int]:
        """Another sample of the pool that ``position`` draws from (`Order.replacement`)."""
        generation = self._generations[self._number(position)]
        shard, place = generation.order.replacement(position - generation.first, attempt, of)
        shards, places = generation.picked.resolve(np.array([shard]), np.array([place]))
        return int(shards[0]), int(places[0])

    # ---- what a checkpoint holds

    def state(self) -> list[Any]:
        """A generation each: first position, order_id, shards of each source."""
        return [[g.first, g.picked.order_id, list(g.shards)] for g in self._generations]

    def restored(self, state: Sequence[Any]) -> list[_Generation] | str:
        """The generations of a saved state, or how what is there now differs from them."""
        generations = []
        for first, saved, shards in state:
            if len(shards) != len(self._there) or any(n > there for n, there in zip(shards, self._there)):
                return f"{_count(shards)} when it was saved, {_count(self._there)} now"
            generation = self._generation(int(first), tuple(shards))
            if generation.picked.order_id != saved:
                return f"order_id {saved!r} when it was saved, {generation.picked.order_id!r} now"
            generations.append(generation)
        return generations

    def go_on(self, generations: list[_Generation]) -> None:
        self._generations = generations

    def grow(self, position: int) -> None:
        """What there is now is drawn from the end of the epoch that is under way at ``position``."""
        while len(self._generations) > 1 and self._generations[-1].first >= position:
            self._generations.pop()  # not one draw was made of it
        last = self._generations[-1]
        if last.shards != self._there:
            epochs = -((last.first - position) // len(last.picked))
            fresh = self._generation(last.first + epochs * len(last.picked), self._there)
            self._generations = [fresh] if fresh.first == last.first else [*self._generations, fresh]

    def _generation(self, first: int, shards: tuple[int, ...]) -> _Generation:
        picked = self._pick(shards)
        return _Generation(first, shards, picked, self._order(picked))

    def _number(self, position: int) -> int:
        return bisect_right(self._generations, position, key=lambda generation: generation.first) - 1


def _count(shards: Sequence[int]) -> str:
    return f"{' + '.join(map(str, shards))} shards"
