"""An executor without jobs: a Python function gives the figures, a virtual clock the time."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

from drivetrain import Ended, Event, ExecutorContext, Job, Report, TrialExecutor, UserError, Values

from .config import SimulatedConfig

Objective = Callable[[Values, int], Mapping[str, "float | None"]]
"""Figures of a point after a step. To play a failure it raises `Failure`."""


class Failure(Exception):
    """A trial ends as ``how`` says, one of drivetrain's outcomes."""

    def __init__(self, how: str, why: str = ""):
        self.how, self.why = how, why


@dataclass
class Running:
    job: Job
    step: int
    stopping: bool = False


class SimulatedExecutor(TrialExecutor):
    """``slots`` jobs at a time; ``seconds(values)`` of a step; ``every`` so many steps a report, and one where a job ends."""

    def __init__(self, objective: Objective, slots: int = 1, seconds: Callable[[Values], float] = lambda values: 1.0,
                 startup_s: float = 0.0, every: int | None = None):  # fmt: skip
        self.objective, self.slots, self.seconds, self.startup_s, self.every = objective, slots, seconds, startup_s, every
        self.now, self.steps_done, self.busy_s = 0.0, 0, 0.0
        self.lives: dict[int, tuple[int, int]] = {}
        """Trial -> (life, step) of its newest checkpoint."""
        self._running: dict[int, Running] = {}
        self._queue: list[tuple[float, int, int]] = []
        self._count = 0

    def has_room(self) -> bool:
        return len(self._running) < self.slots

    def start(self, job: Job) -> None:
        life, step = self.lives.get(job.number, (0, 0))
        if life != job.life or (job.life, step) == (0, 0):
            step = job.weights[1] if job.weights else 0
        self._running[job.number] = running = Running(job, step)
        self._schedule(running, self.startup_s)

    def stop(self, number: int, why: str) -> None:
        self._running[number].stopping = True

    def poll(self) -> list[Event]:
        if not self._queue:
            return []
        self.now, _, number = heappop(self._queue)
        running = self._running[number]
        if running.stopping:
            return [self._end(number, "left")]
        try:
            figures = self.figures(running)
        except Failure as failure:
            return [self._end(number, failure.how, failure.why)]
        self.lives[number] = running.job.life, running.step
        report = Report(number, running.step, figures)
        if running.step >= running.job.until:
            return [report, self._end(number, "reached")]
        self._schedule(running)
        return [report]

    def figures(self, running: Running) -> Mapping[str, float | None]:
        """Of a trial at ``running.step``."""
        return self.objective(running.job.values, running.step)

    def recover(self, jobs: Sequence[Job]) -> list[Event]:
        return [Ended(job.number, "left", "the controller was gone") for job in jobs]

    def clock(self) -> float:
        return self.now

    def close(self) -> None:
        self._running.clear()
        self._queue.clear()

    def _schedule(self, running: Running, wait_s: float = 0.0) -> None:
        until = running.job.until
        goal = until if self.every is None else min(until, (running.step // self.every + 1) * self.every)
        took = wait_s + (goal - running.step) * self.seconds(running.job.values)
        self.steps_done += goal - running.step
        self.busy_s += took
        running.step = goal
        self._count += 1
        heappush(self._queue, (self.now + took, self._count, running.job.number))

    def _end(self, number: int, how: str, why: str = "") -> Ended:
        del self._running[number]
        return Ended(number, how, why)


def from_config(config: SimulatedConfig, context: ExecutorContext) -> TrialExecutor:
    module, _, name = config.objective.partition(":")
    try:
        objective = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError) as error:
        raise UserError(f"no function {config.objective!r}: {error}", remedy="expected package.module:function") from error
    return SimulatedExecutor(objective, config.slots, lambda values: config.seconds_per_step, config.startup_s, config.every)
