"""What executors of real jobs share: a trial's files, how a job is watched, and how it is told to leave."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from drivetrain import Ended, Event, ExecutorContext, Job, Report, TrialExecutor, UserError, job_evaluations

PAUSE_S = 0.2
MARGIN_S = 15.0
"""What a job may take beyond its ranks' own grace before it is ended."""


class Process(Protocol):
    """A job that runs, wherever that is."""

    def poll(self) -> tuple[str, str] | None:
        """(how it ended, why), once none of its processes is left; None while it runs, or while nobody can tell."""

    def has_news(self) -> bool:
        """Whether its records may have changed since the last time that this was asked."""

    def ask_to_leave(self, why: str) -> None:
        """All ranks save and leave after the step that they are in."""

    def kill(self) -> None:
        """End it at once; `poll` tells when it is gone. May be called again and again."""


@dataclass
class Running:
    job: Job
    process: Process
    told: int = 0
    kill_at: float = field(default=float("inf"))


class TrialFiles:
    """The folders of a study's trials, as executors fill and read them."""

    def __init__(self, context: ExecutorContext):
        self.context = context

    def folder(self, number: int) -> Path:
        return self.context.folder / "trials" / f"{number:05d}"

    def run(self, job: Job) -> Path:
        return self._life(job.number, job.life)

    def log(self, job: Job) -> Path:
        return self.folder(job.number) / "log"

    def prepare(self, job: Job) -> list[str]:
        """All that a job needs is on disk; returns the words of the command line that say what it trains."""
        recipe = self.folder(job.number) / ("recipe.yaml" if job.life == 0 else f"recipe-{job.life}.yaml")
        if not recipe.is_file():
            self.context.write_recipe(job.values, recipe)
        run = self.run(job)
        if job.weights is not None and not checkpoints(run):
            self._take_weights(run, *job.weights)
        return [str(recipe), "--run", str(run), *self.context.words, f"train.stop_at={job.until}"]

    def evaluated(self, job: Job) -> list[Report]:
        found = job_evaluations(self.run(job), self.context.figures, self.context.own_figures)
        return [Report(job.number, step, figures) for step, figures in found if step <= job.until]

    def has_reached(self, job: Job) -> bool:
        """Whether it has done all that it was to do, and saved it."""
        return any(r.step == job.until for r in self.evaluated(job)) and job.until in checkpoints(self.run(job))

    def _take_weights(self, run: Path, donor: int, step: int) -> None:
        """Another trial's checkpoint becomes the newest one of a new run; files are shared, not copied, where that goes."""
        name = f"step-{step:08d}"
        sources = {int(p.parents[1].name[4:] or 0): p for p in self.folder(donor).glob(f"run*/checkpoints/{name}")}
        if not sources:
            raise UserError(f"trial {donor} keeps no checkpoint of step {step}", remedy="raise checkpoint.keep")
        aside = run / "checkpoints" / f".{name}.taken"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(sources[max(sources)], aside, copy_function=_link)
        aside.rename(run / "checkpoints" / name)

    def _life(self, number: int, life: int) -> Path:
        return self.folder(number) / ("run" if life == 0 else f"run-{life}")


class JobsExecutor(TrialExecutor):
    """Runs jobs that write a run's folder which this process sees too. Subclasses say how one begins (`_begin`), whether there
    is room, and what becomes of jobs that were running as an earlier controller ended."""

    def __init__(self, context: ExecutorContext):
        self.context, self.files = context, TrialFiles(context)
        self._running: dict[int, Running] = {}
        self._began = time.monotonic()

    def _begin(self, job: Job, words: list[str]) -> Process:
        """Start it; ``words`` follow ``train`` or ``launch``."""
        raise NotImplementedError

    def _refresh(self) -> None:
        """Before jobs are looked at: ask once for all of them."""

    def _gone(self, job: Job, process: Process) -> None:
        """It has ended, and `poll` is about to tell."""

    def start(self, job: Job) -> None:
        words = self.files.prepare(job)
        self._running[job.number] = Running(job, self._begin(job, words))

    def stop(self, number: int, why: str) -> None:
        if running := self._running.get(number):  # else its end is told together with the report that it is stopped for
            running.kill_at = time.monotonic() + self.context.grace_s + MARGIN_S
            running.process.ask_to_leave(why or "the study rests")

    def poll(self) -> list[Event]:
        for _ in range(5):
            self._refresh()
            events = [event for number in list(self._running) for event in self._look_at(number)]
            if events or not self._running:
                return events
            time.sleep(PAUSE_S)
        return []

    def recover(self, jobs: Sequence[Job]) -> list[Event]:
        return [event for job in jobs for event in self._recover(job)]

    def _recover(self, job: Job) -> list[Event]:
        """A job of an earlier controller that is known to be dead, unless it was adopted: what its records say of it."""
        how = "reached" if self.files.has_reached(job) else "left"
        return [*self.files.evaluated(job), Ended(job.number, how, "the controller was gone")]

    def clock(self) -> float:
        return time.monotonic() - self._began

    def close(self) -> None:
        for running in self._running.values():
            running.process.kill()
        self._running.clear()

    def _look_at(self, number: int) -> Iterator[Event]:
        running = self._running[number]
        ended = running.process.poll()
        if running.process.has_news() or ended is not None:
            for report in self.files.evaluated(running.job):
                if report.step > running.told:
                    running.told = report.step
                    yield report
        if ended is not None:
            del self._running[number]
            self._gone(running.job, running.process)
            yield Ended(number, *ended)
        elif time.monotonic() > running.kill_at:
            running.process.kill()


def checkpoints(run: Path) -> list[int]:
    """The steps of a run's checkpoints."""
    return [int(p.name.removeprefix("step-")) for p in (run / "checkpoints").glob("step-*")]


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
