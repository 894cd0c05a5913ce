"""Trials as steps of the Slurm allocation that the search itself runs in."""

from __future__ import annotations

import contextlib
import os
import re
import time

from drivetrain import Event, ExecutorContext, Job, JobFiles, OwnedJob, UserError

from .config import SlurmConfig
from .jobs import MARGIN_S, JobsExecutor, Process
from .slurm import study_name
from .slurm_queue import SlurmFailed, slurm


class StepsExecutor(JobsExecutor):
    """As many ranks at a time as the allocation has tasks (without tasks: as its CPUs allow); those of a trial share a node."""

    def __init__(self, config: SlurmConfig, context: ExecutorContext):
        super().__init__(context)
        self.config, self.free = config, allocation(config.cpus)
        self.most = config.trials or sum(self.free.values())
        if context.ranks > max(self.free.values()):
            there = ", ".join(f"{slots} on {node}" for node, slots in self.free.items())
            raise UserError(f"a trial has {context.ranks} ranks, but there are {there}: those of a trial share a node",
                            remedy="lower search.ranks, or let each trial be a job: search.executor.mode=batch")  # fmt: skip
        self.memory_mb = int(os.environ.get("SLURM_MEM_PER_NODE", 0)) * context.ranks // max(self.free.values())
        self._nodes: dict[int, str] = {}
        if "SLURM_GPUS_ON_NODE" in os.environ and not config.gpus:
            context.say("search.executor.gpus is 0: each trial takes all GPUs of its node, and others there wait for it")

    def has_room(self) -> bool:
        return len(self._running) < self.most and max(self.free.values()) >= self.context.ranks

    def _begin(self, job: Job, words: list[str]) -> Process:
        node = self._nodes[job.number] = max(self.free, key=lambda name: self.free[name])
        self.free[node] -= self.context.ranks
        return OwnedJob(["train", *words], self.context.ranks, self.files.run(job), self.files.log(job), {"MASTER_ADDR": node},
                        started_by=self._srun(job, node))  # fmt: skip

    def _srun(self, job: Job, node: str) -> list[str]:
        c = self.config
        gpus = [f"--gpus-per-task={c.gpus}", "--gpu-bind=none"] if c.gpus else []
        memory = [f"--mem={self.memory_mb}"] if self.memory_mb else []
        return [*_without_the_allocations(), "srun", f"--job-name={self._name(job)}", "--exact", "--nodes=1",
                f"--nodelist={node}", f"--ntasks={self.context.ranks}", f"--cpus-per-task={c.cpus}", *gpus, *memory,
                "--kill-on-bad-exit=1", *c.options]  # fmt: skip

    def _gone(self, job: Job, process: Process) -> None:
        self.free[self._nodes.pop(job.number)] += self.context.ranks

    def _recover(self, job: Job) -> list[Event]:
        """A step that an earlier controller left is told to save and leave, and ended if it does not."""
        end = time.monotonic() + self.context.grace_s + MARGIN_S
        files = JobFiles(self.files.run(job), self.files.log(job))
        while steps := self._steps(self._name(job)):
            files.ask_to_leave("the controller was gone")
            if time.monotonic() > end:
                _cancel(steps)
            time.sleep(1)
        return super()._recover(job)

    def _steps(self, name: str) -> list[str]:
        """Steps of that name, in any allocation of this user. Asks until there is an answer."""
        while True:
            try:
                shown = slurm("squeue", "--me", "--steps", "--noheader", "--Format=StepID:40,StepName:256")
                return [words[0] for line in shown.splitlines() if (words := line.split(None, 1))[-1].strip() == name]
            except SlurmFailed as error:
                self.context.say(f"Slurm gives no answer, and nothing is decided until it does: {error}")
                time.sleep(self.config.poll_s)

    def _name(self, job: Job) -> str:
        return f"{study_name(self.context.folder)}.{job.number:05d}"


def _without_the_allocations() -> list[str]:
    """srun takes the whole allocation's GPUs from these variables, and a step that asks for all waits for all others to end."""
    whole = ("SLURM_GPUS", "SLURM_GRES", "SLURM_NTASKS_PER_", "SLURM_TRES_PER_")
    return ["env", *(f"--unset={name}" for name in os.environ if name.startswith(whole))]


def _cancel(steps: list[str]) -> None:
    with contextlib.suppress(SlurmFailed):  # whoever still sees them tries again
        slurm("scancel", *steps)


def allocation(cpus: int) -> dict[str, int]:
    """Slots of each node of the allocation. Raises UserError outside of one."""
    nodes = os.environ.get("SLURM_JOB_NODELIST")
    if not nodes:
        raise UserError("search.executor.mode: steps need an allocation, and this is none",
                        remedy="run the search in one (salloc, sbatch), or use mode: batch")  # fmt: skip
    try:
        names = slurm("scontrol", "show", "hostnames", nodes).split()
    except SlurmFailed as error:
        raise UserError(f"the nodes of the allocation are not known: {error}") from error
    tasks = os.environ.get("SLURM_TASKS_PER_NODE", "") if "SLURM_NTASKS" in os.environ else ""
    counts = per_node(tasks) or [n // cpus for n in per_node(os.environ.get("SLURM_JOB_CPUS_PER_NODE", ""))]
    return dict(zip(names, counts))


def per_node(text: str) -> list[int]:
    """``2(x3),1``, as Slurm abbreviates it: 2, 2, 2, 1."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(count) for count, times in found for _ in range(int(times or 1))]
