"""Trials as jobs of this machine: each a launcher's ranks, with a recipe, a port, devices and a log of its own."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from drivetrain import (
    Ended,
    Event,
    ExecutorContext,
    Job,
    OwnedJob,
    Report,
    TrialExecutor,
    UserError,
    job_evaluations,
    local_gpus,
)

from .config import LocalConfig

PAUSE_S = 0.2


@dataclass
class Running:
    job: Job
    process: OwnedJob
    devices: list[str]
    told: int = 0
    stopping: bool = False
    kill_at: float = field(default=float("inf"))


class LocalExecutor(TrialExecutor):
    """``slots`` ranks run at a time, on as many devices (GPUs, or cores). A job ends with this process, however that ends: its
    ranks save and leave."""

    def __init__(self, config: LocalConfig, context: ExecutorContext):
        self.context, self.ranks = context, context.ranks
        gpus = [gpu for _ in range(config.share) for gpu in local_gpus()]
        self.has_gpus = bool(gpus)
        slots = config.slots or len(gpus) or (config.trials or 1) * self.ranks
        there = min(slots, len(gpus)) if gpus else slots
        if slots > there or self.ranks > (len({*gpus}) if gpus else there):
            raise UserError(f"a trial has {self.ranks} ranks, but there are {there} slots",
                            remedy="lower search.ranks, or raise search.executor.slots (on GPUs: share)")  # fmt: skip
        self.free: list[str] = gpus[:slots] or [""] * slots
        self.most = config.trials or slots
        self.threads = max(1, len(os.sched_getaffinity(0)) // slots)
        self.memory_gb = config.memory_gb
        self._running: dict[int, Running] = {}
        self._began = time.monotonic()

    # ---- the controller's

    def has_room(self) -> bool:
        return len(self.free) >= self.ranks and len(self._running) < self.most and self._fits_memory()

    def start(self, job: Job) -> None:
        folder, run = self._folder(job.number), self._run(job.number, job.life)
        recipe = folder / ("recipe.yaml" if job.life == 0 else f"recipe-{job.life}.yaml")
        if not recipe.is_file():
            self.context.write_recipe(job.values, recipe)
        if job.weights is not None and not _checkpoints(run):
            self._take_weights(run, *job.weights)
        devices = self._take_devices()
        words = ["train", str(recipe), "--run", str(run), *self.context.words, f"train.stop_at={job.until}"]
        process = OwnedJob(words, self.ranks, run, folder / "log", self._environment(devices))
        self._running[job.number] = Running(job, process, devices)

    def stop(self, number: int, why: str) -> None:
        running = self._running[number]
        running.stopping = True
        running.kill_at = time.monotonic() + self.context.grace_s + 15
        running.process.ask_to_leave(why or "the study rests")

    def poll(self) -> list[Event]:
        for _ in range(5):
            events = [event for number in list(self._running) for event in self._look_at(number)]
            if events or not self._running:
                return events
            time.sleep(PAUSE_S)
        return []

    def recover(self, jobs: Sequence[Job]) -> list[Event]:
        """Ranks of an earlier controller are leaving by themselves, with a save; whoever does not is ended."""
        out: list[Event] = []
        for job in jobs:
            run = self._run(job.number, job.life)
            OwnedJob.await_end(run, self.context.grace_s)
            out += [Report(job.number, step, figures) for step, figures in self._evaluated(run) if step <= job.until]
            done = any(step == job.until for step, _ in self._evaluated(run)) and job.until in _checkpoints(run)
            out.append(Ended(job.number, "reached" if done else "left", "the controller was gone"))
        return out

    def clock(self) -> float:
        return time.monotonic() - self._began

    def close(self) -> None:
        for running in self._running.values():
            running.process.kill()
        self._running.clear()

    # ---- inside

    def _look_at(self, number: int) -> Iterator[Event]:
        running = self._running[number]
        ended = running.process.poll()
        if running.process.has_news() or ended is not None:
            for step, figures in self._evaluated(running.process.run):
                if running.told < step <= running.job.until:
                    running.told = step
                    yield Report(number, step, figures)
        if ended is not None:
            del self._running[number]
            self.free += running.devices
            yield Ended(number, *ended)
        elif time.monotonic() > running.kill_at:
            running.process.kill()

    def _evaluated(self, run: Path) -> list[tuple[int, dict[str, float | None]]]:
        return job_evaluations(run, self.context.figures, self.context.own_figures)

    def _take_weights(self, run: Path, donor: int, step: int) -> None:
        """Another trial's checkpoint becomes the newest one of a new run; files are shared, not copied, where that goes."""
        name = f"step-{step:08d}"
        sources = [p for life in range(100, -1, -1) if (p := self._run(donor, life) / "checkpoints" / name).is_dir()]
        if not sources:
            raise UserError(f"trial {donor} keeps no checkpoint of step {step}", remedy="raise checkpoint.keep")
        aside = run / "checkpoints" / f".{name}.taken"
        shutil.rmtree(aside, ignore_errors=True)
        shutil.copytree(sources[0], aside, copy_function=_link)
        aside.rename(run / "checkpoints" / name)

    def _folder(self, number: int) -> Path:
        return self.context.folder / "trials" / f"{number:05d}"

    def _run(self, number: int, life: int) -> Path:
        return self._folder(number) / ("run" if life == 0 else f"run-{life}")

    def _take_devices(self) -> list[str]:
        """One for each rank: no two of a trial the same, as long as there are others."""
        taken: list[str] = []
        for _ in range(self.ranks):
            other = next((device for device in self.free if device not in taken), self.free[0])
            self.free.remove(other)
            taken.append(other)
        return taken

    def _environment(self, devices: Sequence[str]) -> dict[str, str]:
        out = {"DRIVETRAIN_THREADS": os.environ.get("DRIVETRAIN_THREADS", str(self.threads))}
        if self.has_gpus:
            out["CUDA_VISIBLE_DEVICES"] = ",".join(devices)
        return out

    def _fits_memory(self) -> bool:
        if self.memory_gb is None or not self._running:
            return True
        import psutil

        return psutil.virtual_memory().available > self.memory_gb * 1e9


def _checkpoints(run: Path) -> list[int]:
    return [int(p.name.removeprefix("step-")) for p in (run / "checkpoints").glob("step-*")]


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
