"""One controller a study, on any file system.

A lock (flock) settles it among processes of a host, and is gone with its holder. Many parallel file systems know no locks, or
only those of one host; so the holder also says who it is in a file and counts up in it every few seconds. Whoever finds a
holder of another host watches the count: one that stands still for long is gone. No clocks are compared.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import time
from pathlib import Path
from threading import Event, Thread
from typing import IO, Any

from ..errors import UserError
from ..files import write_json
from ..owner import process_start
from ..run import host_name


class LeaseLost(UserError):
    """Another controller has taken the study over, since this one had given no sign for long."""


class Lease:
    """``take`` it before the study is written to; ``check`` it before each write; ``release`` it at the end.

    ``beat_s``: how often the holder gives a sign; ``silent_s``: how long one of another host must have given none to count as
    gone."""

    def __init__(self, folder: Path, beat_s: float = 5.0, silent_s: float = 30.0):
        self.path, self.beat_s, self.silent_s = folder / "controller.json", beat_s, silent_s
        self._lock_path = folder / ".controller.lock"
        self._token = secrets.token_hex(8)
        self._lock: IO[str] | None = None
        self._beat, self._checked = 0, 0.0
        self._ended = Event()
        self._keeper = Thread(target=self._keep, daemon=True, name="lease")

    def take(self) -> None:
        """Raises UserError, naming it, where another process has it."""
        self._take_lock()
        holder = self._read()
        if holder and not _is_gone_here(holder) and self._gives_sign(holder):
            self._give_up_lock()
            raise self._held(holder)
        if holder:
            self._write()
        else:
            self._write_first()
        if holder and _place(holder) != _place(self._own()):
            time.sleep(min(1.0, self.beat_s))  # of two hosts that took it over at once, the later writer has it
        self.check(at_once=True)
        self._keeper.start()

    def check(self, at_once: bool = False) -> None:
        """Raises LeaseLost where it is another's now. Looks at the file only if the last look is a beat ago."""
        now = time.monotonic()
        if not at_once and now - self._checked < self.beat_s:
            return
        holder = self._read()
        if not holder or holder["token"] != self._token:
            raise LeaseLost(f"{self.path.parent}: another controller runs this study now: {_named(holder)}",
                            remedy="this one had given no sign for long; nothing is lost")  # fmt: skip
        self._checked = now

    def release(self) -> None:
        if self._ended.is_set():
            return
        self._ended.set()
        if self._keeper.is_alive():
            self._keeper.join(5.0)  # else a sign that it is about to give would be left behind
        holder = self._read()
        if holder and holder["token"] == self._token:
            self.path.unlink(missing_ok=True)
        self._give_up_lock()

    # ---- inside

    def _take_lock(self) -> None:
        lock = self._lock_path.open("a")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise self._held(self._read()) from None
        except OSError:
            pass  # a file system without locks: the count decides
        self._lock = lock

    def _give_up_lock(self) -> None:
        if self._lock is not None:
            self._lock.close()

    def _gives_sign(self, holder: dict[str, Any]) -> bool:
        """Whether a holder counts up in its file while we watch."""
        end = time.monotonic() + self.silent_s
        while time.monotonic() < end:
            time.sleep(min(0.2, self.beat_s))
            seen = self._read()
            if seen is None:
                if not self.path.exists():
                    return False
            elif (seen["token"], seen["beat"]) != (holder["token"], holder["beat"]):
                return True
        return False

    def _keep(self) -> None:
        while not self._ended.wait(self.beat_s):
            try:
                self.check(at_once=True)
                self._write()
            except (LeaseLost, OSError):
                continue  # the main thread is told as it checks; a file system that is away may come back

    def _own(self) -> dict[str, Any]:
        pid = os.getpid()
        return {"host": host_name(), "boot": _boot(), "pid": pid, "started": process_start(pid), "token": self._token}

    def _write(self) -> None:
        self._beat += 1
        write_json(self.path, {**self._own(), "beat": self._beat})

    def _write_first(self) -> None:
        """Where nobody has it: of two hosts that begin at once, the first has it. Raises UserError for the other."""
        aside = self.path.with_name(f".{self._token}")
        write_json(aside, {**self._own(), "beat": self._beat})
        try:
            os.link(aside, self.path)
        except FileExistsError:
            if holder := self._read():
                self._give_up_lock()
                raise self._held(holder) from None
            self._write()  # over one that nobody can read
        except OSError:  # a file system without links
            self._write()
        finally:
            aside.unlink()

    def _read(self) -> dict[str, Any] | None:
        """None where there is none, or where it could not be read, not even again: another host has just replaced it."""
        for _ in range(3):
            try:
                return json.loads(self.path.read_text())
            except FileNotFoundError:
                return None
            except (OSError, ValueError):
                time.sleep(0.05)
        return None

    def _held(self, holder: dict[str, Any] | None) -> UserError:
        return UserError(f"{self.path.parent}: another process runs this study: {_named(holder)}",
                         remedy="look at it with: drivetrain search status; end it with: drivetrain search stop")  # fmt: skip


def holder_of(folder: Path) -> str | None:
    """Who runs the study in ``folder``, in words, as far as can be told without waiting; None where nobody does."""
    holder = Lease(folder)._read()
    return None if holder is None or _is_gone_here(holder) else _named(holder)


def _named(holder: dict[str, Any] | None) -> str:
    return f"process {holder['pid']} on {holder['host']}" if holder else "it has just begun"


def _place(holder: dict[str, Any]) -> tuple[str, str]:
    return holder["host"], holder["boot"]


def _is_gone_here(holder: dict[str, Any]) -> bool:
    """Whether the holder was a process of this very host, and is no more."""
    return _place(holder) == (host_name(), _boot()) and process_start(holder["pid"]) != holder["started"]


def _boot() -> str:
    """What tells one start of a host from the next."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
