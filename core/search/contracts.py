"""What plugins of a search implement: algorithms that propose, schedulers that stop or promote, executors that run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .space import Space, Values
from .trials import Event, Job, LossVector, Move, Trial


@dataclass(frozen=True)
class AlgorithmContext:
    """``trials``: how many there will be at the most, None if nobody knows; ``objectives``: how many losses a trial has;
    ``constrained``: whether a trial may violate limits."""

    space: Space
    seed: int
    objectives: int = 1
    trials: int | None = None
    constrained: bool = False


class SearchAlgorithm:
    """Proposes points. Every point that is tried is told with ``begin``, also those of others, and once its losses are known
    with ``tell``; after a controller's restart all of that comes again, from the journal, in the same order, but for `ask`."""

    ASKS = 4
    """How often it is asked for a trial's point as long as its answers were tried before; then chance draws one."""

    is_sequence = False
    """Its points follow each other whatever it is told: one sequence, which no rung begins anew."""

    def ask(self, number: int) -> Values | None:
        """A point for trial ``number``; it may be refused, and asked for again. None: there is none left."""
        raise NotImplementedError

    def begin(self, number: int, values: Values) -> None:
        """This point is being tried."""

    def tell(self, number: int, values: Values, losses: LossVector | None, violation: float = 0.0) -> None:
        """Its losses (None: it failed), and by how much it passes the study's constraints. Where trials stop at rungs, points
        of which it was never asked come too, and one that counted as the worst there may come again with losses of its own."""

    def forget(self, number: int) -> None:
        """Nothing will be known of a point that has begun."""


@dataclass(frozen=True)
class SchedulerContext:
    """``steps`` of a whole trial; ``every``: steps from one evaluation to the next, None: at the end alone."""

    space: Space
    steps: int
    seed: int
    every: int | None = None
    trials: int | None = None


class TrialScheduler:
    """Decides how far trials go. ``rungs``: the steps at which trials are compared, rising, the last one a trial's end.

    Its state changes in `started`, `seen` and `ended` alone, which are called again from the journal after a restart; `verdict`
    and `next` only look. LossVector are of the first objective. This one lets all trials run to their end."""

    def __init__(self, context: SchedulerContext):
        self.context = context
        self.rungs: tuple[int, ...] = (context.steps,)

    def first(self, number: int) -> int:
        """The step up to which a new trial goes at first."""
        return self.rungs[0]

    def admits(self) -> bool:
        """Whether a new trial may begin now."""
        return True

    def started(self, trial: Trial) -> None:
        """It begins, or goes on, to ``trial.until``."""

    def seen(self, trial: Trial, step: int, loss: float) -> None:
        """Its loss after ``step``."""

    def ended(self, trial: Trial) -> None:
        """It has an outcome."""

    def verdict(self, trial: Trial) -> str | None:
        """After `seen`: why it is to stop for good; None: it need not."""
        return None

    def next(self, full: bool) -> Move | None:
        """A paused trial that is to go on; ``full``: no new trial will begin."""
        return None


@dataclass(frozen=True)
class ExecutorContext:
    """``folder`` of the study. ``steps`` of a whole trial, ``ranks`` of its job, ``grace_s`` that it has to save and leave in.
    ``figures``: what to report of evaluations; ``own_figures``: metric -> the name of its own one. ``write_recipe(values,
    path)`` writes the recipe of a trial. ``words``: options about plugins for a command line."""

    folder: Path
    steps: int
    ranks: int = 1
    figures: Sequence[str] = ()
    own_figures: Mapping[str, str] = field(default_factory=dict)
    grace_s: float = 60.0
    write_recipe: Callable[[Values, Path], None] = lambda values, path: None
    words: Sequence[str] = ()
    say: Callable[[str], None] = print


class TrialExecutor:
    """Runs jobs of trials, each apart from the controller's process, and tells what becomes of them."""

    HERE = False
    """Whether all jobs run on this host: then what they read is looked for before the first one."""

    def has_room(self) -> bool:
        """Whether one more job can start now."""
        raise NotImplementedError

    def start(self, job: Job) -> None:
        raise NotImplementedError

    def stop(self, number: int, why: str) -> None:
        """Ask a trial's job to save and leave after its current step; `poll` tells when it has. Nothing to do where its end
        is among the events that were told last."""
        raise NotImplementedError

    def poll(self) -> list[Event]:
        """What has happened since the last call; waits for a moment where nothing has."""
        raise NotImplementedError

    def recover(self, jobs: Sequence[Job]) -> list[Event]:
        """``jobs`` were running as an earlier controller ended. Those that still run may go on and are told by `poll`; reports
        and ends of the others are returned, each known to be dead. LEFT: it goes on from its checkpoint."""
        raise NotImplementedError

    def clock(self) -> float:
        """Seconds of this session."""
        raise NotImplementedError

    def close(self) -> None:
        """None of its jobs is left, but for those that outlive a controller and are found again by `recover`."""
