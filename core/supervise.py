"""A job that comes back by itself: the launcher is run, watched and, where it crashed, run again."""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from .errors import CRASH, DISK_FULL, DIVERGED, GATE_FAILED, OUT_OF_MEMORY, REQUEUE, USER_ERROR, UserError
from .files import write_text
from .launcher import Command, outer_environment
from .run import RunFolder
from .watch import EXIT_FILE, noted_exit

FINAL = (0, USER_ERROR, GATE_FAILED, DIVERGED, OUT_OF_MEMORY, DISK_FULL, REQUEUE, 130)
"""Exit codes after which a job is not started again: it is done, cannot work or would come to the same
again, was told to leave, or was interrupted."""
MARGIN_S = 15.0
"""What a job may take beyond its own grace before it is killed."""
LONGEST_WAIT_S = 60.0
_PR_SET_PDEATHSIG = 1


class Supervisor:
    """Runs ``make()``'s commands until one ends well or ``restarts`` of them in a row came no step further.

    ``say`` tells what happens; ``grace_s`` is what the ranks have to save and leave in, once they are told to."""

    def __init__(self, folder: RunFolder, make: Callable[[], Command], restarts: int, grace_s: float,
                 say: Callable[[str], None]):  # fmt: skip
        self.folder, self.make, self.restarts, self.grace_s, self.say = folder, make, restarts, grace_s, say
        self._told: int | None = None
        self._again = self._began = False

    def run(self) -> int:
        """The exit code of the last attempt."""
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, self._hear)
        failed, furthest = 0, self._progress()
        while True:
            clear_shared_memory()
            code = self._attempt()
            if code in FINAL or self._told is not None:
                return code
            reached = self._progress()
            failed = 1 if reached > furthest else failed + 1
            furthest = max(furthest, reached)
            if failed > self.restarts:
                return code
            wait = min(2.0**failed, LONGEST_WAIT_S)
            self.say(f"the job ended with {code} after step {reached}; again in {wait:.0f} s ({failed} of {self.restarts})")
            self._wait(wait)
            if self._told is not None:
                return REQUEUE
            self._wait_until_free()

    # ---- one attempt

    def _attempt(self) -> int:
        """One command's exit code; that of a crash where there is none, since hosts that do not answer now may do so later."""
        try:
            command = self.make()
        except UserError as error:
            if not self._began:
                raise
            self.say(f"error: {error}")
            return CRASH
        self._began = True
        self.folder.exit_file.unlink(missing_ok=True)
        environment = outer_environment() | command.environment | {EXIT_FILE: str(self.folder.exit_file)}
        process = subprocess.Popen(command.words, env=environment, start_new_session=True, preexec_fn=end_with_parent)
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    return self._exit_code(process.wait(0.5))
                if self._told is not None:
                    return self._leave(process)
        except KeyboardInterrupt:
            end_session(process, signal.SIGINT)
            return 130

    def _leave(self, process: subprocess.Popen) -> int:
        """Tell the ranks through the run's folder, which all hosts see; end what does not leave in time."""
        if not self.folder.exists:
            end_session(process, signal.SIGTERM)
            return REQUEUE
        write_text(self.folder.stop_file, f"{REQUEUE} {signal.Signals(self._told or 0).name} to the launcher\n")
        end = time.monotonic() + self.grace_s + MARGIN_S
        while process.poll() is None and time.monotonic() < end and not self._again:
            time.sleep(0.2)
        self.folder.stop_file.unlink(missing_ok=True)
        if process.poll() is None:
            self.say("the ranks did not leave in time and are ended; the newest checkpoint stands")
            end_session(process, signal.SIGTERM)
            return REQUEUE
        return self._exit_code(process.returncode)

    def _exit_code(self, code: int) -> int:
        """What the ranks ended with, as far as they could say; else the launcher's own. ``deepspeed`` says 0 where a signal has
        ended its own second process, whose ranks then leave by themselves."""
        if code == 0 and self._is_held():
            return CRASH
        said = noted_exit(self.folder.exit_file) if code else None
        return said or (128 - code if code < 0 else code)

    def _hear(self, number: int, _: object) -> None:
        self._again = self._told is not None and number == signal.SIGTERM
        self._told = number if self._told is None else self._told

    # ---- between attempts

    def _progress(self) -> int:
        """The last step on record, also of those that were done in vain."""
        if not self.folder.exists:
            return 0
        return max((record["step"] for record in self.folder.records(superseded=True)), default=0)

    def _wait(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end and self._told is None:
            time.sleep(0.1)

    def _wait_until_free(self, timeout_s: float = 60) -> None:
        """Until no rank 0 of before holds the run: one on a host that was cut off takes a while to notice."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and self._told is None and self._is_held():
            time.sleep(0.5)

    def _is_held(self) -> bool:
        with contextlib.suppress(FileNotFoundError), (self.folder.path / ".lock").open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return True
            except OSError:
                pass  # a file system without locks
        return False


def clear_shared_memory(folder: Path = Path("/dev/shm")) -> None:
    """Remove the buffers that DeepSpeed's all-reduce of killed ranks left: this user's, which no process has open. A rank that
    begins has it open for a while before it is mapped, and others wait for it without end."""
    left = [path for path in folder.glob("deepspeed_allreduce_buffer_*") if _is_mine(path)]
    if left:
        used = "".join(_open_files())
        for path in left:
            if str(path) not in used:
                path.unlink(missing_ok=True)


def _is_mine(path: Path) -> bool:
    try:
        return path.stat().st_uid == os.getuid()
    except FileNotFoundError:  # another job's, which has ended meanwhile
        return False


def _open_files() -> Iterator[str]:
    """Texts that name all files that processes of this host have open or mapped, as far as this user may know."""
    for process in Path("/proc").glob("[0-9]*"):
        for path in process.glob("fd/*"):
            with contextlib.suppress(OSError):
                yield os.readlink(path)
        with contextlib.suppress(OSError):
            yield (process / "maps").read_text(errors="replace")


def end_session(process: subprocess.Popen, number: int) -> None:
    """All that the launcher started on this host: it is a session of its own."""
    for each in (number, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, each)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(5)
    process.wait()


def end_with_parent() -> None:
    """In the launcher's process: SIGTERM when this one is killed. The ranks see their launcher go and leave."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
