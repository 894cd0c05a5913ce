"""Several lines of samples, blended by weight.

A slot's places come in blocks of 1,000, each with the same numbers of draws of every line (its share by the largest
remainder), permuted by a hash. A line is drawn from in its own order, so within it every sample comes once an epoch. Weights
may change at a step: from there on blocks begin anew, a new segment. Where each line stands follows from the segments alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from threading import RLock
from typing import NamedTuple

import numpy as np

from drivetrain import hash_array, hash_key

from .lines import Line

BLOCK = 1000


class Segment(NamedTuple):
    """From step ``first`` on each line has its weight."""

    first: int
    weights: tuple[float, ...]


class _Block(NamedTuple):
    lines: np.ndarray  # uint16 [1000]: which line each place draws from
    ranks: np.ndarray  # uint16 [1000]: the how manieth of that line in the block it is


def shares(weights: Sequence[float]) -> np.ndarray:
    """int64 [lines]: how many of a block's 1,000 places each has: whole numbers by the largest remainder."""
    exact = np.asarray(weights, np.float64) * BLOCK / np.sum(weights)
    counts = np.floor(exact).astype(np.int64)
    most = np.argsort(counts - exact, kind="stable")[: BLOCK - counts.sum()]
    counts[most] += 1
    return counts


class Blend:
    """``lines`` drawn from by the weights of ``segments``; ``lanes``: how many slots are drawn from in turn."""

    def __init__(self, lines: Sequence[Line], segments: Sequence[Segment], seed: int, slots: int, micro: int, lanes: int = 1):
        self.segments = list(segments)
        self._lines, self._slots, self._micro = lines, slots, micro
        self._key = hash_key("blend", seed)
        self._blocks: OrderedDict[tuple[int, int, int], _Block] = OrderedDict()
        self._bases: dict[tuple[int, int], np.ndarray] = {}
        self._open, self._lock = lanes + 1, RLock()

    def draw(self, slot: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Places ``start`` to ``start + count`` of ``slot``: shards and places in them (`Line.draw`)."""
        lines, draws = self.lines(slot, start, count)
        shards, places = np.empty(count, np.int64), np.empty(count, np.int64)
        for number in np.unique(lines):
            mine = np.flatnonzero(lines == number)
            shards[mine], places[mine] = self._lines[number].draw(slot, int(draws[mine[0]]), len(mine))
        return shards, places

    def replacement(self, position: int, attempt: int, of: int = 0) -> tuple[int, int]:
        """Another sample of the same line and pool (`Order.replacement`)."""
        slot = position % self._slots
        lines, draws = self.lines(slot, position // self._slots, 1)
        return self._lines[int(lines[0])].replacement(int(draws[0]) * self._slots + slot, attempt, of)

    def lines(self, slot: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """int64 [count]: which line each place draws from, and its how manieth draw of this slot it is."""
        lines, draws = np.empty(count, np.int64), np.empty(count, np.int64)
        done = 0
        while done < count:
            place = start + done
            number = max(i for i, segment in enumerate(self.segments) if segment.first * self._micro <= place)
            block, at = divmod(place - self.segments[number].first * self._micro, BLOCK)
            n = min(count - done, BLOCK - at)
            if number + 1 < len(self.segments):
                n = min(n, self.segments[number + 1].first * self._micro - place)
            which, ranks = self._block(number, slot, block)
            chosen = which[at : at + n].astype(np.int64)
            before = self._base(number, slot) + block * shares(self.segments[number].weights)
            lines[done : done + n], draws[done : done + n] = chosen, before[chosen] + ranks[at : at + n]
            done += n
        return lines, draws

    def positions(self, step: int) -> np.ndarray:
        """int64 [lines]: per line the first position that no slot has drawn before ``step``, nor any after it."""
        last = max(i for i, segment in enumerate(self.segments) if segment.first <= step)
        counts = np.stack([self._after(last, slot, step) for slot in range(self._slots)], 1)
        return np.where(counts > 0, (counts - 1) * self._slots + np.arange(self._slots) + 1, 0).max(1)

    def change(self, segments: Sequence[Segment]) -> None:
        with self._lock:
            self.segments = list(segments)
            self._blocks.clear()
            self._bases.clear()

    def _base(self, number: int, slot: int) -> np.ndarray:
        """int64 [lines]: how often ``slot`` draws from each line before segment ``number``."""
        if number == 0:
            return np.zeros(len(self._lines), np.int64)
        with self._lock:
            if (number, slot) not in self._bases:
                self._bases[number, slot] = self._after(number - 1, slot, self.segments[number].first)
            return self._bases[number, slot]

    def _after(self, number: int, slot: int, step: int) -> np.ndarray:
        """int64 [lines]: how often ``slot`` draws from each line before ``step``, which is in segment ``number`` or ends it."""
        segment = self.segments[number]
        blocks, rest = divmod((step - segment.first) * self._micro, BLOCK)
        begun = np.bincount(self._block(number, slot, blocks).lines[:rest], minlength=len(self._lines))
        return self._base(number, slot) + blocks * shares(segment.weights) + begun

    def _block(self, number: int, slot: int, block: int) -> _Block:
        key = (number, slot, block)
        with self._lock:
            if key not in self._blocks:
                self._blocks[key] = self._made(*key)
                if len(self._blocks) > self._open:
                    self._blocks.popitem(last=False)
            self._blocks.move_to_end(key)
            return self._blocks[key]

    def _made(self, number: int, slot: int, block: int) -> _Block:
        counts = shares(self.segments[number].weights)
        order = np.argsort(hash_array(hash_key(self._key, number, slot, block), np.arange(BLOCK)), kind="stable")
        lines, ranks = np.empty(BLOCK, np.uint16), np.empty(BLOCK, np.uint16)
        lines[order] = np.repeat(np.arange(len(counts)), counts)
        for line in range(len(counts)):
            mine = lines == line
            ranks[mine] = np.arange(mine.sum())
        return _Block(lines, ranks)


def segments_of(history: Sequence[tuple[int, Mapping[str, float]]], names: Sequence[str]) -> list[Segment]:
    """A saved history of weights, for the lines of these names; one that was not there yet had none."""
    return [Segment(int(first), tuple(float(weights.get(name, 0)) for name in names)) for first, weights in history]
