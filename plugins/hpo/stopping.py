"""Schedulers that only ever stop a trial, or do nothing."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import Any

from drivetrain import SchedulerContext, Trial, TrialScheduler, UserError

from .config import MedianConfig


def none(config: Any, context: SchedulerContext) -> TrialScheduler:
    return TrialScheduler(context)


def needs_evaluations(context: SchedulerContext) -> None:
    """Raises UserError where a trial is evaluated at its end alone."""
    if context.every is None:
        raise UserError("trials are stopped by their evaluations, and there is none before the end", where="search.scheduler",
                        remedy="set evaluation.every")  # fmt: skip


def needs_rungs(before_the_end: Sequence[int], context: SchedulerContext, key: str) -> None:
    """Raises UserError where trials would be compared at their end alone: the scheduler would do nothing."""
    if not before_the_end:
        raise UserError(f"trials are compared nowhere before their end, step {context.steps}", where="search.scheduler",
                        remedy=f"lower search.scheduler.{key} (and evaluation.every), or raise train.steps")  # fmt: skip


class MedianStop(TrialScheduler):
    """A trial stops whose best loss so far is worse than the median of the other trials' running means at the same step
    (Golovin et al. 2017, Vizier, 3.2.2)."""

    def __init__(self, config: MedianConfig, context: SchedulerContext):
        super().__init__(context)
        needs_evaluations(context)
        self.config = config
        self._sums: dict[int, tuple[float, int, float]] = {}
        self._means: dict[int, list[float]] = {}

    def seen(self, trial: Trial, step: int, loss: float) -> None:
        total, count, best = self._sums.get(trial.number, (0.0, 0, loss))
        self._sums[trial.number] = total, count, best = total + loss, count + 1, min(best, loss)
        insort(self._means.setdefault(step, []), total / count)

    def verdict(self, trial: Trial) -> str | None:
        means, known = self._means.get(trial.step, []), self._sums.get(trial.number)
        if known is None or trial.step < self.config.warmup_steps or len(means) <= self.config.startup:
            return None
        _total, _count, best = known
        others = len(means) - 1
        better = bisect_left(means, best)  # its own mean is not below its best loss
        return (
            f"{better} of {others} others were better at step {trial.step}" if better > self.config.quantile * others else None
        )
