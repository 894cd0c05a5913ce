"""Successive halving without waiting: a rung's best trials go on as soon as they are known to be among its best."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from heapq import heappop, heappush

from drivetrain import Move, SchedulerContext, Trial, TrialScheduler

from .config import HalvingConfig, HyperbandConfig
from .stopping import needs_evaluations, needs_rungs


class Rung:
    """The losses at a step, and which of the trials there have not gone on."""

    def __init__(self) -> None:
        self._losses: list[tuple[float, int]] = []
        self._here: list[tuple[float, int]] = []
        self._gone: set[int] = set()

    def add(self, number: int, loss: float) -> None:
        insort(self._losses, (loss, number))
        heappush(self._here, (loss, number))

    def leave(self, number: int) -> None:
        self._gone.add(number)

    def place(self, number: int, loss: float) -> tuple[int, int]:
        """(how many are better, how many there are)."""
        return bisect_left(self._losses, (loss, number)), len(self._losses)

    def best(self, eta: float) -> int | None:
        """The best of those that have not gone on, if it is among the best one in ``eta`` of all."""
        while self._here and self._here[0][1] in self._gone:
            heappop(self._here)
        if not self._here:
            return None
        loss, number = self._here[0]
        better, count = self.place(number, loss)
        return number if better < int(count / eta) else None


class Asha(TrialScheduler):
    """Li et al. 2020. ``promote``: algorithm 2 there. ``stop``: trials run on, and stop at a rung where they are not among the
    best one in eta of those that came before (as Ray and Syne Tune have it)."""

    def __init__(self, config: HalvingConfig, context: SchedulerContext, offset: int = 0):
        super().__init__(context)
        self.eta, self.mode = config.eta, config.mode
        if config.mode == "stop":
            needs_evaluations(context)
        self.rungs = rungs_of(config, context)
        self._rungs = [Rung() for _ in self.rungs]
        self._losses: dict[int, tuple[int, float]] = {}
        self.offset = min(offset, len(self.rungs) - 1)

    def first(self, number: int) -> int:
        return self.rungs[self.offset] if self.mode == "promote" else self.rungs[-1]

    def started(self, trial: Trial) -> None:
        """Whoever goes beyond a rung has gone on from it."""
        for step, rung in zip(self.rungs, self._rungs):
            if step == trial.step and trial.until > step:
                rung.leave(trial.number)

    def seen(self, trial: Trial, step: int, loss: float) -> None:
        if step in self.rungs[self.offset :]:
            index = self.rungs.index(step)
            self._rungs[index].add(trial.number, loss)
            self._losses[trial.number] = index, loss

    def ended(self, trial: Trial) -> None:
        for rung in self._rungs:
            rung.leave(trial.number)

    def verdict(self, trial: Trial) -> str | None:
        if self.mode == "promote":
            return None
        if trial.step in self.rungs[self.offset : -1] and trial.losses_at(trial.step) is None:
            return f"its evaluation gives the objective no value at step {trial.step}"
        if trial.number not in self._losses:
            return None
        index, loss = self._losses[trial.number]
        if self.rungs[index] != trial.step or index == len(self.rungs) - 1:
            return None
        better, count = self._rungs[index].place(trial.number, loss)
        if better < max(1, math.ceil(count / self.eta)):
            return None
        return f"{better} of {count - 1} others were better at step {trial.step}"

    def next(self, full: bool) -> Move | None:
        """From the highest rung that has one."""
        if self.mode == "promote":
            for index in range(len(self.rungs) - 2, self.offset - 1, -1):
                number = self._rungs[index].best(self.eta)
                if number is not None:
                    return Move(number, self.rungs[index + 1])
        return None


class Hyperband(TrialScheduler):
    """Li et al. 2018, without waiting: brackets of ASHA whose first rungs differ, each given trials such that all cost about
    the same. With a model per rung, as drivetrain's controller keeps it, this is BOHB (Falkner et al. 2018)."""

    def __init__(self, config: HyperbandConfig, context: SchedulerContext):
        super().__init__(context)
        self.rungs = rungs_of(config, context)
        count = min(config.brackets or max(1, len(self.rungs) - 1), len(self.rungs))
        self.brackets = [Asha(config, context, offset) for offset in range(count)]
        self._shares = [self._share(offset, config.eta) for offset in range(count)]
        self._bracket_of: dict[int, int] = {}
        self._begun = [0] * count

    def _share(self, offset: int, eta: float) -> float:
        """Trials of a bracket, for the cost of one whole trial: those at its first rung, one in eta of them at the next..."""
        cost = sum(
            (step - before) * eta ** -n
            for n, (before, step) in enumerate(zip((0, *self.rungs[offset:]), self.rungs[offset:]))
        )  # fmt: skip
        return self.rungs[-1] / cost

    def _next_bracket(self) -> int:
        """The one that is furthest behind its share."""
        return min(range(len(self.brackets)), key=lambda b: (self._begun[b] + 1) / self._shares[b])

    def first(self, number: int) -> int:
        return self.brackets[self._next_bracket()].first(number)

    def started(self, trial: Trial) -> None:
        if trial.number not in self._bracket_of:
            self._bracket_of[trial.number] = bracket = self._next_bracket()
            self._begun[bracket] += 1
        self._of(trial).started(trial)

    def seen(self, trial: Trial, step: int, loss: float) -> None:
        self._of(trial).seen(trial, step, loss)

    def ended(self, trial: Trial) -> None:
        if trial.number in self._bracket_of:
            self._of(trial).ended(trial)

    def verdict(self, trial: Trial) -> str | None:
        return self._of(trial).verdict(trial)

    def next(self, full: bool) -> Move | None:
        return next((move for bracket in self.brackets if (move := bracket.next(full))), None)

    def _of(self, trial: Trial) -> Asha:
        return self.brackets[self._bracket_of[trial.number]]


def rungs_of(config: HalvingConfig, context: SchedulerContext) -> tuple[int, ...]:
    """first, first * eta, ... and the last step; each at an evaluation where trials are not ended for it. Raises UserError
    where that is the last step alone."""
    first = config.first or max(1, round(context.steps / config.eta**3))
    rungs = []
    step = float(first)
    while step < context.steps:
        rungs.append(round(step))
        step *= config.eta
    if config.mode == "stop" and context.every:
        rungs = [max(1, round(r / context.every)) * context.every for r in rungs]
    rungs = sorted({r for r in rungs if r < context.steps})
    needs_rungs(rungs, context, "first")
    return (*rungs, context.steps)
