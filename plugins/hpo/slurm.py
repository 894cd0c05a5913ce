"""Trials as jobs of Slurm, which outlive the controller: one that comes back adopts them.

A submission is known by its name, ``STUDY.TRIAL.TOKEN``. The name is written to the trial's folder before sbatch is called, the
job's number after it; a controller that died in between finds the job by its name. A job whose name is not the one in the
folder, since sbatch seemed to fail and was called again, ends before it does anything: a trial is never run by two.
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from drivetrain import Event, ExecutorContext, Job, JobFiles, TrialExecutor, UserError

from .config import SlurmConfig
from .jobs import JobsExecutor, Process, Running, checkpoints
from .slurm_queue import LIVE, UNSURE, SlurmFailed, SlurmQueue, State, slurm

JOBS = 8
SUBMISSIONS = 5
"""Of a trial, in a row, that fail before it counts as crashed."""
FORGOTTEN_S = 60.0
"""How long Slurm must have known nothing of a job that has begun."""
_AGAIN_S = 10.0
_SCRIPT = """#!/bin/bash
[ "$(head -n 1 {claim})" = "$SLURM_JOB_NAME" ] || exit 0  # another job has this trial now
{setup}
{python} -u -m drivetrain launch {words} --slurm --ranks {ranks} &
trap 'kill -USR1 $!' USR1 TERM
wait $!; code=$?
if [ $code -gt 128 ]; then wait $!; code=$?; fi
echo $code > {exit}
exit $code
"""


def from_config(config: SlurmConfig, context: ExecutorContext) -> TrialExecutor:
    from .slurm_steps import StepsExecutor

    steps = "SLURM_JOB_ID" in os.environ if config.mode is None else config.mode == "steps"
    return StepsExecutor(config, context) if steps else SlurmExecutor(config, context)


class Claim:
    """Which job may run a trial, on disk: its name, then its number. ``exit``: where that job leaves its exit code."""

    def __init__(self, folder: Path):
        self.path, self.exit = folder.resolve() / "slurm-job", folder.resolve() / "slurm-exit"

    def read(self) -> tuple[str, str | None] | None:
        try:
            name, job = (self.path.read_text().splitlines() + ["", ""])[:2]
        except FileNotFoundError:
            return None
        return name, job or None

    def write(self, name: str, job: str | None = None) -> None:
        aside = self.path.with_suffix(".new")
        with aside.open("w") as file:
            file.write(f"{name}\n{job or ''}\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(self.path)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)


class BatchJob(JobFiles):
    """One trial's job, submitted by this controller or by an earlier one (``known``: what that one wrote down)."""

    def __init__(self, queue: SlurmQueue, claim: Claim, submit: Callable[[str], str], study: str, run: Path, log: Path,
                 known: tuple[str, str | None] | None = None):  # fmt: skip
        super().__init__(run, log)
        self._queue, self._claim, self._submit, self._study = queue, claim, submit, study
        self._from = max(checkpoints(run), default=0) if known is None else -1
        self._leaving = False
        self._failed, self._trouble = 0, ""
        self._since = self._killed = 0.0
        self._missing: float | None = None
        self.name, self.job = known or ("", None)
        if known is None:
            self._try()
        elif self.job is None:
            self._since = time.monotonic()

    def poll(self) -> tuple[str, str] | None:
        if self.job is None:
            return self._await_number()
        state = self._queue.answer.jobs.get(self.job)
        if state is None or state.name != self.name:  # another one's, as a number is given again some day
            return self._look_for_it()
        if state.state == UNSURE:
            return self._look_for_it(FORGOTTEN_S)
        self._missing = None
        return None if state.state in LIVE else self._end(state)

    def ask_to_leave(self, why: str) -> None:
        self._leaving = True
        super().ask_to_leave(why)
        if self.job is not None:
            self._cancel("--state=PENDING")
        else:
            self._claim.write("-")  # should it exist after all, it is to do nothing

    def kill(self) -> None:
        if self.job is not None and time.monotonic() - self._killed > _AGAIN_S:
            self._killed = time.monotonic()
            self._cancel()

    # ---- inside

    def _cancel(self, *words: str) -> None:
        self._queue.cancel(*words, f"--name={self.name}", str(self.job))

    def _try(self) -> None:
        """Submit under a new name; whether a failed sbatch has submitted is seen later, by that name."""
        self.make()
        self._claim.exit.unlink(missing_ok=True)
        self.name = f"{self._study}.{secrets.token_hex(4)}"
        self._claim.write(self.name)
        try:
            self.job = self._submit(self.name)
            self._claim.write(self.name, self.job)
        except SlurmFailed as error:
            self._failed, self._trouble = self._failed + 1, str(error)
        self._since = time.monotonic()

    def _await_number(self) -> tuple[str, str] | None:
        answer = self._queue.answer
        found = answer.names.get(self.name)
        if found is not None:
            self.job = found.job
            if self._leaving:
                self._cancel()
            else:
                self._claim.write(self.name, self.job)
            return None
        if answer.asked < self._since + min(self._queue.poll_s * 2**self._failed, 6 * _AGAIN_S):
            return None
        if self._leaving:
            return "left", "it was never submitted"
        if self._failed >= SUBMISSIONS:
            return "crashed", self._trouble
        self._try()
        return None

    def _look_for_it(self, wait_s: float = 0.0) -> tuple[str, str] | None:
        """Slurm's answers do not name it, or no end of it: they are older than the job, or it has ended and is forgotten. What
        it left itself counts after ``wait_s``."""
        asked = self._queue.answer.asked
        if asked <= self._since:
            return None
        self._missing = asked if self._missing is None else self._missing
        if asked - self._missing < wait_s:
            return None
        if self._claim.exit.is_file() and (code := self._claim.exit.read_text().strip()):
            return self._judge(int(code))
        return None if asked - self._missing < FORGOTTEN_S else ("crashed", f"Slurm knows nothing of job {self.job} any more")

    def _end(self, state: State) -> tuple[str, str]:
        told = f"Slurm job {state.job}: {state.state}"
        if state.state in ("COMPLETED", "FAILED"):
            return self._judge(state.code)
        if state.state == "OUT_OF_MEMORY":
            return "out of memory", told
        if state.state == "PREEMPTED" or (state.state == "CANCELLED" and self._leaving):
            return "left", told
        if state.state == "TIMEOUT":
            return self._left(told)
        return "crashed", f"{told}, not by the search" if state.state == "CANCELLED" else told

    def _judge(self, code: int) -> tuple[str, str]:
        how, why = self.outcome(code)
        return self._left(why) if how == "left" else (how, why)

    def _left(self, why: str) -> tuple[str, str]:
        """It goes on in another job; but not for ever, where each one is over before a checkpoint."""
        if self._leaving or max(checkpoints(self.run), default=0) > self._from:
            return "left", why
        return "crashed", f"{why}; it came to no checkpoint: raise search.executor.time, or lower checkpoint.every"


class SlurmExecutor(JobsExecutor):
    """A job of sbatch for each trial. Jobs go on when the controller is gone."""

    def __init__(self, config: SlurmConfig, context: ExecutorContext):
        super().__init__(context)
        self.config, self.queue, self.most = config, SlurmQueue(config.poll_s), config.trials or JOBS
        self.python, self._told = sys.executable, ""
        try:
            slurm("sbatch", "--test-only", *self._options(), "--wrap=true")
        except SlurmFailed as error:
            raise UserError(f"Slurm does not take a trial's job: {error}", remedy="see search.executor") from error

    def has_room(self) -> bool:
        return len(self._running) < self.most

    def recover(self, jobs: Sequence[Job]) -> list[Event]:
        out: list[Event] = []
        for job in jobs:
            known = Claim(self.files.folder(job.number)).read()
            if known is None:
                out += self._recover(job)
            else:
                words = self.files.prepare(job)
                self._running[job.number] = Running(job, self._job(job, words, known))
        return out

    def close(self) -> None:
        """Jobs that run are left to the controller that comes next."""
        self._running.clear()

    # ---- inside

    def _begin(self, job: Job, words: list[str]) -> Process:
        return self._job(job, words, None)

    def _job(self, job: Job, words: list[str], known: tuple[str, str | None] | None) -> BatchJob:
        folder, study = self.files.folder(job.number), f"{study_name(self.context.folder)}.{job.number:05d}"
        claim, log = Claim(folder), self.files.log(job)

        def submit(name: str) -> str:
            script = self._write_script(folder, claim, words)
            options = [f"--job-name={name}", f"--output={str(log.resolve()).replace('%', '%%')}", *self._options()]
            return slurm("sbatch", "--parsable", *options, str(script)).strip().partition(";")[0]

        return BatchJob(self.queue, claim, submit, study, self.files.run(job), log, known)

    def _write_script(self, folder: Path, claim: Claim, words: Sequence[str]) -> Path:
        script = folder.resolve() / "slurm.sh"
        quoted = {"claim": claim.path, "exit": claim.exit, "python": self.python}
        script.write_text(_SCRIPT.format(
            **{name: shlex.quote(str(value)) for name, value in quoted.items()}, setup="\n".join(self.config.setup),
            words=shlex.join(words), ranks=self.context.ranks,
        ))  # fmt: skip
        return script

    def _options(self) -> list[str]:
        c = self.config
        named = {"partition": c.partition, "account": c.account, "time": c.time}
        gpus = [f"--gpus-per-task={c.gpus}", "--gpu-bind=none"] if c.gpus else []
        return [*(f"--{name}={value}" for name, value in named.items() if value is not None), f"--ntasks={self.context.ranks}",
                f"--cpus-per-task={c.cpus}", *gpus, "--no-requeue", "--open-mode=append",
                f"--signal=B:USR1@{round(self.context.grace_s) + 60}", *c.options]  # fmt: skip

    def _refresh(self) -> None:
        jobs = [running.process.job for running in self._running.values()]  # type: ignore[attr-defined]
        self.queue.look([job for job in jobs if job is not None])
        if self.queue.trouble and self.queue.trouble != self._told:
            self.context.say(f"Slurm gives no answer, and nothing is decided until it does: {self.queue.trouble}")
        self._told = self.queue.trouble

    def _gone(self, job: Job, process: Process) -> None:
        Claim(self.files.folder(job.number)).drop()


def study_name(folder: Path) -> str:
    """Of jobs: the folder's name, and what tells it from another of that name."""
    where = hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:6]
    return f"{re.sub(r'[^A-Za-z0-9_-]', '_', folder.name)[:100]}-{where}"
