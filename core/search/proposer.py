"""Who is asked for the next point: the given ones first, then the algorithm, and never one that was tried before.

Trials that stop at rungs are compared there, so an algorithm learns a rung's losses apart from the others'. As in BOHB (Falkner
et al. 2018) each rung has a model of its own, and the furthest one with enough losses is asked; that goes with any algorithm.
What stops below a rung counts as no better than the worst that came up to it: a model that knew the best ones alone would take
all the rest of the space for as good, and look there.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from ..seeding import Rng
from .contracts import SearchAlgorithm
from .earlier import Observation
from .space import Space, Values, key_of
from .trials import LossVector, Trial

DRAWN_AGAIN = 200
"""How often chance is tried where an algorithm repeats itself."""


class Proposer:
    """``make(level)`` makes the algorithm of a rung. ``earlier``: what it knows from the start. ``seconds``: what algorithms
    have taken."""

    def __init__(self, space: Space, rungs: Sequence[int], make: Callable[[int], SearchAlgorithm], name: str, seed: int,
                 given: Sequence[Values] = (), earlier: Iterable[Observation] = ()):  # fmt: skip
        self.space, self.rungs, self.name, self.seed, self.given = space, tuple(rungs), name, seed, tuple(given)
        self.levels = [make(level) for level in range(len(self.rungs))]
        self.told = [0] * len(self.rungs)
        self.enough = max(10, len(space.parameters) + 1)
        self.seconds = 0.0
        self._begun_at: dict[int, int] = {}
        self._known: list[set[int]] = [set() for _ in self.rungs]
        self._worst: dict[int, LossVector] = {}
        self._stopped: list[tuple[int, Trial, float]] = []
        self._asked: tuple[int, int] | None = None
        for one in earlier:
            self.tell(Trial(one.trial, one.values, "earlier"), one.step, one.losses, one.violation)

    def propose(self, number: int, seen: Container[str]) -> tuple[dict[str, Any], str] | None:
        """(values, origin) of trial ``number``, which are not in ``seen``; None: nothing is left to try."""
        for values, origin in self._proposals(number):
            if values is None:
                return None
            if key_of(values) not in seen:
                return dict(values), origin
        return self._left(seen)

    def begin(self, trial: Trial) -> None:
        asked, self._asked = self._asked, None
        level = asked[1] if asked and asked[0] == trial.number else self._level()
        self._begun_at[trial.number] = level
        self._timed(lambda: self.levels[level].begin(trial.number, trial.values))

    def tell(self, trial: Trial, step: int, losses: LossVector, violation: float) -> None:
        """Its losses after ``step``; those between rungs teach nothing."""
        if step in self.rungs:
            self._tell(self.rungs.index(step), trial, losses, violation)

    def end(self, trial: Trial, failed: bool, violation: float = 0.0) -> None:
        """It has an outcome, or waits at a rung: what its level still waits for does not come, or not soon. ``violation``: that
        of its last figures."""
        level = self._begun_at.get(trial.number)
        if level is not None:
            self._end_at(level, trial, failed, violation)
        rung = bisect_right(self.rungs, trial.step) - 1
        if 0 <= rung < len(self.rungs) - 1 and not self.levels[0].is_sequence:
            self._stopped.append((rung, replace(trial), violation))
            for above in range(rung + 1, len(self.rungs)):
                if self.told[above] >= self.enough:
                    self._tell_of_stopped(above, *self._stopped[-1])

    # ---- inside

    def _end_at(self, level: int, trial: Trial, failed: bool, violation: float) -> None:
        if failed:
            self._tell(level, trial, None, 0.0)
        elif len(self.rungs) == 1 and trial.losses is not None:  # stopped between rungs: its last figures count
            self._tell(level, trial, trial.losses, violation)
        else:
            del self._begun_at[trial.number]
            self._timed(lambda: self.levels[level].forget(trial.number))

    def _proposals(self, number: int) -> Iterator[tuple[Values | None, str]]:
        if number < len(self.given):
            rng, asked = Rng(self.seed, "given", number), self.given[number]
            for _ in range(DRAWN_AGAIN):
                values = self.space.draw(rng, asked)
                if values.keys() >= asked.keys():  # what is drawn lets all of it count
                    yield values, "given"
        level = self._level()
        self._asked = (number, level)
        for _ in range(SearchAlgorithm.ASKS):
            yield self._timed(lambda: self.levels[level].ask(number)), self.name
        rng = Rng(self.seed, "instead", number)
        for _ in range(DRAWN_AGAIN):
            yield self.space.draw(rng), "chance"

    def _left(self, seen: Container[str]) -> tuple[dict[str, Any], str] | None:
        """The first point that was not tried, where there are few enough to look through."""
        points = self.space.every_point() if self.space.size is not None else iter(())
        return next(((point, "chance") for point in points if key_of(point) not in seen), None)

    def _level(self) -> int:
        if self.levels[0].is_sequence:
            return 0
        return max((level for level, told in enumerate(self.told) if told >= self.enough), default=0)

    def _tell(self, level: int, trial: Trial, losses: LossVector | None, violation: float) -> None:
        self.told[level] += losses is not None
        if self._begun_at.get(trial.number) == level:
            del self._begun_at[trial.number]
        self._known[level].add(trial.number)
        self._timed(lambda: self.levels[level].tell(trial.number, trial.values, losses, violation))
        if losses is not None:
            self._worst[level] = max(self._worst.get(level, losses), losses)
            if self.told[level] == self.enough:
                for one in self._stopped:
                    self._tell_of_stopped(level, *one)

    def _tell_of_stopped(self, level: int, rung: int, trial: Trial, violation: float) -> None:
        if rung < level and trial.number not in self._known[level]:
            self._known[level].add(trial.number)
            worst = self._worst[level]
            self._timed(lambda: self.levels[level].tell(trial.number, trial.values, worst, violation))

    def _timed(self, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            return call()
        finally:
            self.seconds += time.perf_counter() - began
