"""What Slurm says of jobs, asked for all of them at once, and what an end that it tells of means."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

from drivetrain import outer_environment

TIMEOUT_S = 120.0
LIVE = frozenset((
    "PENDING", "RUNNING", "SUSPENDED", "STOPPED", "COMPLETING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD",
    "SPECIAL_EXIT", "RESIZING", "RESV_DEL_HOLD", "SIGNALING", "STAGE_OUT",
))  # fmt: skip
"""States in which a job has processes or may get some again."""
UNSURE = "not in the queue, and no end on record"
_NOT_FOR_US = ("SLURM_", "SQUEUE_", "SACCT_", "SCANCEL_")
"""Beginnings of variables that are of a job that this process runs in, or of what its user likes to see: other jobs are hidden
by SQUEUE_PARTITION, say."""
_OF_NO_JOB = ("SLURM_CONF", "SLURM_CLUSTERS", "SLURM_JWT")
"""But for those that say where Slurm is and who asks."""
_NO_ACCOUNTING = "accounting storage is disabled"


class SlurmFailed(Exception):
    """A command of Slurm's did not do what it was asked to, or gave no answer in time."""


@dataclass(frozen=True)
class State:
    """``code``: the exit code of the job's script, negative for a signal's number."""

    job: str
    name: str
    state: str
    code: int = 0


@dataclass(frozen=True)
class Answer:
    """Of a query that was made after ``asked`` (seconds of the monotonic clock), by job id and by job name."""

    asked: float
    jobs: dict[str, State]
    names: dict[str, State]


class SlurmQueue:
    """Jobs of this user, looked up every ``poll_s`` in a thread: a controller daemon that is slow holds up nothing, and a query
    that fails changes nothing."""

    def __init__(self, poll_s: float):
        self.poll_s = poll_s
        self.answer = Answer(0.0, {}, {})
        self.trouble = ""
        """What the last query failed with."""
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="slurm")
        self._asking: Future[Answer] | None = None
        self._next = 0.0

    def look(self, jobs: Sequence[str]) -> Answer:
        """The newest answer there is; asks anew where it is time to. ``jobs``: those to look for among ended ones too."""
        if self._asking is None and time.monotonic() >= self._next:
            self._asking = self._threads.submit(_query, tuple(jobs))
        if self._asking is not None and self._asking.done():
            self._take(self._asking)
            self._asking, self._next = None, time.monotonic() + self.poll_s
        return self.answer

    def cancel(self, *words: str) -> None:
        """``scancel``; whether it worked is seen from the job's state."""
        self._threads.submit(slurm, "scancel", *words)

    def _take(self, asking: Future[Answer]) -> None:
        try:
            self.answer, self.trouble = asking.result(), ""
        except SlurmFailed as error:
            self.trouble = str(error)


def slurm(*words: str, timeout_s: float = TIMEOUT_S) -> str:
    """What a command of Slurm's prints. Raises SlurmFailed."""
    inherited = {k: v for k, v in outer_environment().items() if not k.startswith(_NOT_FOR_US) or k in _OF_NO_JOB}
    try:
        done = subprocess.run(words, env=inherited, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise SlurmFailed(f"{words[0]}: {error}") from error
    if done.returncode:
        raise SlurmFailed(done.stderr.strip() or f"{words[0]} ended with {done.returncode}")
    return done.stdout


def _query(jobs: Sequence[str]) -> Answer:
    """The controller daemon's view; of jobs that it has forgotten, the accounting's."""
    asked = time.monotonic()
    shown = slurm("squeue", f"--user={os.getuid()}", "--states=all", "--noheader",
                  "--Format=JobID:24,State:24,exit_code:16,Name:256")  # fmt: skip
    states = [State(job, name.strip(), state, exit_code(code)) for job, state, code, name in _fields(shown, 4)]
    found = {state.job for state in states}
    states += _accounted([job for job in jobs if job not in found])
    return Answer(asked, {s.job: s for s in states}, {s.name: s for s in states})


def _fields(text: str, count: int) -> list[list[str]]:
    rows = [line.split(None, count - 1) for line in text.splitlines()]
    return [row for row in rows if len(row) == count]


def _accounted(jobs: Sequence[str]) -> list[State]:
    """Ends on record of jobs that squeue does not show. An accounting that calls one running is late, or has missed it."""
    if not jobs:
        return []
    try:
        shown = slurm("sacct", f"--jobs={','.join(jobs)}", "--allocations", "--noheader", "--parsable2",
                      "--format=JobIDRaw,State,ExitCode,JobName")  # fmt: skip
    except SlurmFailed as error:
        if _NO_ACCOUNTING in str(error):
            return []
        raise
    rows = [line.split("|", 3) for line in shown.splitlines() if line.count("|") >= 3]
    found = [State(job, name, state.partition(" ")[0].rstrip("+"), exit_code(code)) for job, state, code, name in rows]
    return [replace(state, state=UNSURE) if state.state in LIVE else state for state in found]


def exit_code(text: str) -> int:
    """Of ``CODE:SIGNAL`` as sacct gives it, or of a wait status as squeue does."""
    code, colon, number = text.partition(":")
    if colon:
        return -int(number) if int(number) else int(code)
    return os.waitstatus_to_exitcode(int(code))
