"""Trials as jobs of this machine: each a launcher's ranks, with a recipe, a port, devices and a log of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from drivetrain import Event, ExecutorContext, Job, OwnedJob, UserError, local_gpus

from .config import LocalConfig
from .jobs import JobsExecutor, Process


class LocalExecutor(JobsExecutor):
    """``slots`` ranks run at a time, on as many devices (GPUs, or cores). A job ends with this process, however that ends: its
    ranks save and leave."""

    HERE = True

    def __init__(self, config: LocalConfig, context: ExecutorContext):
        super().__init__(context)
        self.ranks = context.ranks
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
        self.memory_gb, self._free_gb = config.memory_gb, 0.0
        self._devices: dict[int, list[str]] = {}

    def has_room(self) -> bool:
        return len(self.free) >= self.ranks and len(self._running) < self.most and self._fits_memory()

    def _begin(self, job: Job, words: list[str]) -> Process:
        devices = self._devices[job.number] = self._take_devices()
        environment = self._environment(devices)
        return OwnedJob(["train", *words], self.ranks, self.files.run(job), self.files.log(job), environment)

    def _gone(self, job: Job, process: Process) -> None:
        self.free += self._devices.pop(job.number)

    def _recover(self, job: Job) -> list[Event]:
        """Ranks of an earlier controller are leaving by themselves, with a save; whoever does not is ended."""
        OwnedJob.await_end(self.files.run(job), self.context.grace_s)
        return super()._recover(job)

    # ---- inside

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
        """Trials that have just begun have yet to take theirs: it is set aside for all that run, of what was free before."""
        if self.memory_gb is None:
            return True
        import psutil

        free_gb = psutil.virtual_memory().available / 1e9
        if not self._running:
            self._free_gb = free_gb
            return True
        return free_gb > self.memory_gb and (len(self._running) + 1) * self.memory_gb <= self._free_gb
