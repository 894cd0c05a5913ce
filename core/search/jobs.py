"""A trial's job on this host: a launcher's ranks that end with the process that started them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ..errors import DISK_FULL, DIVERGED, GATE_FAILED, OUT_OF_MEMORY, REQUEUE, USER_ERROR
from ..launcher import Command, free_port, local_command, some_port
from ..owner import OWNER, as_owner
from ..run import RunFolder
from ..supervise import clear_shared_memory, end_session
from ..watch import EXIT_FILE, noted_exit
from . import trials as t
from .asking import figures_of

RUN = "DRIVETRAIN_TRIAL_RUN"
"""The variable by which all processes of a trial's job are found, also those whose launcher is gone."""
_GPUS = "CUDA_VISIBLE_DEVICES"
_HOW = {0: t.REACHED, GATE_FAILED: t.REACHED, REQUEUE: t.LEFT, DIVERGED: t.DIVERGED, OUT_OF_MEMORY: t.OUT_OF_MEMORY,
        DISK_FULL: t.NO_SPACE, USER_ERROR: t.INFEASIBLE}  # fmt: skip

_KILLED = re.compile(r"exits with return code = -(\d+)")
"""What DeepSpeed's launcher prints of a rank that a signal has ended, as its last word."""


class JobFiles:
    """What a trial's job leaves on disk, wherever it runs: its run is in the folder ``run``, what it prints goes to ``log``."""

    def __init__(self, run: Path, log: Path):
        self.run, self.log = run, log
        self._folder = RunFolder(run)
        self._size, self._log_from = -1, 0

    def make(self) -> None:
        """As they are before a job begins."""
        study = self.run.resolve().parents[2].name
        life = self.run.name.removeprefix("run")
        self._folder.make(name=f"{study}-{self.run.parent.name}{life}", group=study, job_type="trial")
        self._folder.stop_file.unlink(missing_ok=True)
        self._folder.exit_file.unlink(missing_ok=True)
        self._log_from = self.log.stat().st_size if self.log.is_file() else 0

    def has_news(self) -> bool:
        """Whether its records have changed since the last time that this was asked."""
        try:
            size = self._folder.metrics.stat().st_size
        except FileNotFoundError:
            return False
        self._size, before = size, self._size
        return size != before

    def ask_to_leave(self, why: str) -> None:
        """All ranks save and leave after the step that they are in."""
        self._folder.stop_file.write_text(f"{REQUEUE} {why}\n")

    def outcome(self, code: int) -> tuple[str, str]:
        """(how a job ended, why) whose launcher's exit code is ``code``, by what its ranks could say."""
        if code:
            code = noted_exit(self._folder.exit_file) or code
        how = _HOW.get(code, t.CRASHED)
        if code < 0:
            return how, _ended_by(-code)
        return how, "" if how == t.REACHED else self._last_error() or f"exit code {code}"

    def _last_error(self) -> str:
        try:
            with self.log.open("rb") as file:
                file.seek(self._log_from)
                lines = file.read()[-20_000:].decode(errors="replace").splitlines()
        except FileNotFoundError:
            return ""
        told = [line.partition("error: ")[2] for line in lines if "error: " in line]
        killed = [f"a rank {_ended_by(int(found[1]))}" for line in lines if (found := _KILLED.search(line))]
        others = [line for line in lines if line.strip() and "[launch.py:" not in line]
        return (told or killed or others or [""])[-1].strip()


def _ended_by(number: int) -> str:
    return f"ended by signal {number}: {signal.strsignal(number)}"


class OwnedJob(JobFiles):
    """``words`` of ``drivetrain`` on ``ranks`` ranks of this host, which leave with this process. ``started_by``: words of
    another launcher, such as srun's, which ends its ranks at SIGTERM; ``environment`` then has MASTER_ADDR."""

    def __init__(self, words: Sequence[str], ranks: int, run: Path, log: Path, environment: Mapping[str, str],
                 started_by: Sequence[str] = ()):  # fmt: skip
        super().__init__(run, log)
        self.make()
        self._killed_before = killed_for_memory()
        self._kill_with = signal.SIGTERM if started_by else signal.SIGKILL
        added = {OWNER: as_owner(), RUN: str(run.resolve()), EXIT_FILE: str(self._folder.exit_file)}
        command = self._command(words, ranks, _GPUS in environment, started_by)
        with log.open("ab") as out:
            self._process = subprocess.Popen(
                command.words, env={**os.environ, **command.environment, **added, **environment}, stdin=subprocess.DEVNULL,
                stdout=out, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    @staticmethod
    def _command(words: Sequence[str], ranks: int, chosen: bool, started_by: Sequence[str]) -> Command:
        if ranks > 1 and not started_by:
            return local_command(ranks, free_port(), "deepspeed", words, chosen)
        meet = {"MASTER_PORT": str(some_port())} if started_by else {}
        return Command([*started_by, sys.executable, "-u", "-m", "drivetrain", *words], meet)

    def poll(self) -> tuple[str, str] | None:
        """(how it ended, why), once none of its processes is left; None while it runs."""
        if self._process.poll() is None:
            return None
        end_session(self._process, signal.SIGKILL)
        kill_all_of(self.run)
        clear_shared_memory()
        return self.outcome(self._process.returncode)

    def kill(self) -> None:
        end_session(self._process, self._kill_with)
        kill_all_of(self.run)

    @staticmethod
    def await_end(run: Path, grace_s: float) -> None:
        """Ranks of an owner that is gone save and leave; what is left after ``grace_s`` is ended."""
        end = time.monotonic() + grace_s
        while time.monotonic() < end and any(True for _ in _processes_of(run)):
            time.sleep(0.2)
        kill_all_of(run)

    def outcome(self, code: int) -> tuple[str, str]:
        how, why = super().outcome(code)
        if how == t.CRASHED and killed_for_memory() > self._killed_before:
            return t.OUT_OF_MEMORY, "the host's memory was full: the system killed a process"
        return how, why


def job_evaluations(run: Path, figures: Iterable[str], own: Mapping[str, str]) -> list[tuple[int, dict[str, float | None]]]:
    """(step, figures) of each evaluation of a run that is not superseded; ``own``: metric -> the name of its own figure."""
    out, training = [], {}
    for record in RunFolder(run).records():
        if record["kind"] == "training":
            training = record
        elif record["kind"] == "evaluation":
            out.append((record["step"], figures_of(figures, record, training, own)))
    return out


def local_gpus() -> list[str]:
    """The GPUs of this host that this process may use, as CUDA_VISIBLE_DEVICES names them; none on a machine without."""
    listed = os.environ.get(_GPUS)
    if listed is not None:
        return [name.strip() for name in listed.split(",") if name.strip() not in ("", "-1")]
    return [str(n) for n in range(len(list(Path("/dev").glob("nvidia[0-9]*"))))]


def kill_all_of(run: Path) -> None:
    for pid in _processes_of(run):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


def _processes_of(run: Path) -> Iterator[int]:
    mark = f"{RUN}={run.resolve()}".encode()
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            found = mark in path.read_bytes().split(b"\0")
        except OSError:
            continue
        if found:
            yield int(path.parent.name)


def killed_for_memory(root: str = "") -> int:
    """How many processes the system has killed so far because memory was full: of this one's control group, if it is in one
    that counts them (of version 2), else of the host."""
    group = next((line[3:] for line in _lines(f"{root}/proc/self/cgroup") if line.startswith("0::/")), "/")
    for counts in (f"{root}/sys/fs/cgroup{group}/memory.events", f"{root}/proc/vmstat"):
        for line in _lines(counts):
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    return 0


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
