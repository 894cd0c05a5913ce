"""The watch over a job: who stands where, who is gone and why, and the step after which all leave together.

Every rank has a thread with a connection to a hub on rank 0 (`drivetrain.watch_hub`). It goes on while the main thread
computes, reads or waits in a collective, so that a rank that is killed, is stopped or fails is known and named to all, which
then end together; and so that a signal to any rank, or a file in the run's folder, makes all leave after the same step.
Nothing is sent in the course of a step: it costs a step nothing.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Thread, main_thread
from typing import Any, NoReturn

from .errors import CRASH, REQUEUE, UserError
from .watch_hub import BEAT_S, SILENT_S, Hub, Line, say

EXIT_FILE = "DRIVETRAIN_EXIT_FILE"
"""The variable with the file where a rank leaves its exit code, since not every launcher passes it on."""
RUN_DOWN_S = 5.0
"""How long rank 0 may take, once the job is lost, to close its trackers before it is ended."""
AGAIN_S = 3.0
"""Schedulers and launchers both pass a signal on: the second one within so long is the same one."""
_EFFECTS = ("gloo", "nccl", "connection", "broken pipe", "timed out", "peer", "socket")
"""Words of errors that a rank has because another one went away."""

shared: Watch | None = None
"""The watch of this process, where it is one of several ranks."""


@dataclass(frozen=True)
class Stop:
    """All ranks leave after step ``after``, with exit code ``code``, because of ``why``."""

    after: int
    code: int
    why: str


class Watch:
    """A rank's side. The main thread says where it is (`mark`) and asks before each step (`begin`)."""

    def __init__(self, rank: int = 0, world: int = 1):
        self.rank, self.world = rank, world
        self.stop: Stop | None = None
        self.hub: Hub | None = None
        self._line: Line | None = None
        self._host_of_0 = ""
        self._changed = Condition()
        self._limit: int | None = None
        self._step = self._begun = self._moves = 0
        self._phase = "starting"
        self._beaten = 0.0
        self._closing = self._lost = self._heeds = False
        self._ended = Event()
        self._signals, self._wakeup = socket.socketpair()
        self._asked: float | None = None
        self._deadline: float | None = None
        self._grace_s = 60.0
        self._stop_file: Path | None = None
        self._seen_empty = False
        self._launchers: tuple[int, ...] = ()

    # ---- the main thread's

    def join(self, broadcast: Callable[[Any], Any], host: str, address: str) -> None:
        """Connect to rank 0's hub, which is at ``address``; collective."""
        global shared
        if self.rank == 0:
            self.hub = Hub(self.world)
            self.hub.start()
        port, token, self._host_of_0 = broadcast((self.hub.port, self.hub.token, host) if self.hub else None)
        where = "localhost" if self.rank == 0 else address
        self._line = Line(socket.create_connection((where, port), timeout=SILENT_S))
        self._send("hello", token=token, host=host)
        shared = self if self.world > 1 else None
        Thread(target=self._run, daemon=True, name="watch").start()

    def heed(self, stop_file: Path, grace_s: float, timeout_s: float) -> None:
        """From here on: SIGTERM, SIGUSR1, the launcher's end and ``stop_file`` make all ranks leave, after a signal within
        ``grace_s``; and ``timeout_s`` without a move of any rank ends the job. For the main thread."""
        self._grace_s, self._launchers = grace_s, _launchers()
        self._stop_file = stop_file if self.rank == 0 else None
        if self.hub is not None:
            self.hub.timeout_s = timeout_s
        self._heeds = True
        self._signals.setblocking(False)
        self._wakeup.setblocking(False)
        signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, lambda *_: None)  # the thread hears it, also while this one waits in a collective
            signal.siginterrupt(number, False)

    def mark(self, phase: str) -> None:
        """This rank moves on: ``phase`` is what it does next."""
        self._phase, self._moves = phase, self._moves + 1

    def begin(self, step: int) -> bool:
        """Whether to do this step; False: all ranks leave before it. Waits while that is being agreed on."""
        with self._changed:
            self._changed.wait_for(lambda: self._limit is None or step <= self._limit or self.stop is not None)
            if self.stop is not None and step > self.stop.after:
                return False
            self._step, self._begun = step, self._begun + 1
        self.mark("reading data")
        return True

    def fail(self, error: BaseException) -> NoReturn:
        """Tell all ranks what ended this one, and end the process as the hub decides: one message, one exit code."""
        mistake = isinstance(error, UserError)
        text = str(error) if mistake else "".join(traceback.format_exception(error))[-20_000:].rstrip()
        told = isinstance(error, UserError) and error.told
        symptom = not mistake and isinstance(error, (RuntimeError, OSError)) and any(w in str(error).lower() for w in _EFFECTS)
        code = error.code if isinstance(error, UserError) else CRASH
        self._ended.set()
        if not self._closing:
            self._send("failed", text=text, code=code, told=told, symptom=symptom)
            time.sleep(2 * SILENT_S)  # the thread ends the process
        say(f"error: {text}")
        leave_at_once(code)

    def close(self) -> None:
        """The job is done on this rank, and a launcher that ends all ranks when the first one has ended comes too late."""
        self._closing = True
        if self._heeds:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if self.hub is not None:
            self.hub.tell_all("left")
        self._send("left")

    # ---- the thread's

    def _run(self) -> None:
        assert self._line is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._line.socket, selectors.EVENT_READ, self._hear)
            selector.register(self._signals, selectors.EVENT_READ, self._hear_signals)
            while not self._lost:
                for key, _ in selector.select(BEAT_S / 2):
                    key.data()
                if time.monotonic() - self._beaten > BEAT_S:
                    self._beat()

    def _beat(self) -> None:
        assert self._line is not None
        now, last = time.monotonic(), self._beaten
        self._beaten = now
        self._send("beat", moves=self._moves, begun=self._begun, step=self._step, phase=self._phase)
        if now - last > SILENT_S / 2:  # this process was stopped itself
            self._line.heard = now
        if not self._closing and self._beaten - self._line.heard > SILENT_S:
            self._lose(f"rank 0 on {self._host_of_0} has given no sign for {SILENT_S:.0f} s")
        if self._stop_file is not None:
            self._look_at(self._stop_file)
        if self._launchers and _launchers() != self._launchers:
            self._launchers = ()
            self._ask_to_leave(REQUEUE, "the launcher is gone", self._grace_s)
        if self._deadline is not None and self._beaten > self._deadline:  # the hub had an end to it: it is not heard
            leave_at_once(REQUEUE)

    def _look_at(self, stop_file: Path) -> None:
        """A stop file goes once it is obeyed. Where it is empty its writer may not have come to the words yet: that counts at
        the second look."""
        try:
            text = stop_file.read_text(errors="replace")
            counts, self._seen_empty = bool(text) or self._seen_empty, True
            if counts:
                stop_file.unlink(missing_ok=True)
        except OSError:  # not there, or on a file system that is away and may come back
            return
        if counts:
            self._ask_to_leave(*_stop_of(text, f"{stop_file} was there"))

    def _hear(self) -> None:
        assert self._line is not None
        messages = self._line.receive()
        if messages is None:
            self._lose(f"rank 0 on {self._host_of_0} is gone: it was killed or it crashed")
        for message in messages or ():
            kind = message.pop("kind")
            if kind == "hold":
                self._hold()
            elif kind == "leave":
                self._leave(**message)
            elif kind == "verdict":
                self._obey(**message)
            elif kind == "left":
                self._closing = True

    def _hold(self) -> None:
        with self._changed:
            self._limit = self._step
        self._send("held", step=self._limit)

    def _leave(self, after: int, code: int, why: str, grace_s: float | None = None) -> None:
        with self._changed:
            self._limit, self.stop = after, Stop(after, code, why)
            self._changed.notify_all()
        if grace_s is not None and self._deadline is None:
            self._deadline = time.monotonic() + grace_s + SILENT_S

    def _obey(self, code: int, behind: list[int]) -> None:
        """The job is lost. Rank 0 closes its trackers, if its main thread notices; the others have nothing to close."""
        frame = sys._current_frames().get(main_thread().ident or 0)
        if self.rank in behind and frame is not None:
            say(f"rank {self.rank} is at:\n" + "".join(traceback.format_stack(frame)[-6:]))
        if self.hub is not None:
            self._ended.wait(RUN_DOWN_S)
            self.hub.alone.wait(RUN_DOWN_S)  # a connection that ends with something unread loses what was sent
        leave_at_once(code)

    def _lose(self, why: str) -> None:
        """Without the hub each rank is on its own; where rank 0 has said that it is done, nothing is wrong."""
        self._lost = True
        if self._closing:
            return
        if os.environ.get("LOCAL_RANK", "0") == "0" or self.rank == 1:
            say(f"error: {why} (here: step {self._step}, {self._phase})")
        leave_at_once(1)

    def _hear_signals(self) -> None:
        for number in self._signals.recv(64):
            if number not in (signal.SIGTERM, signal.SIGUSR1):
                continue
            now = time.monotonic()
            if self._asked is None:
                self._asked = now
                self._deadline = now + self._grace_s + SILENT_S
                self._ask_to_leave(REQUEUE, f"{signal.Signals(number).name} to rank {self.rank}", self._grace_s)
            elif number == signal.SIGTERM and now - self._asked > AGAIN_S and not self._ended.is_set():
                say(f"rank {self.rank}: a second SIGTERM: leaving without a save")
                leave_at_once(128 + number)

    def _ask_to_leave(self, code: int, why: str, grace_s: float | None = None) -> None:
        self._send("stop", code=code, why=why, grace_s=grace_s)

    def _send(self, kind: str, **content: Any) -> None:
        if self._line is not None:
            self._line.send(kind, rank=self.rank, **content)


def _stop_of(text: str, default: str) -> tuple[int, str]:
    """Exit code and reason in a stop file, ``[CODE] [WHY]``."""
    words = text.split(maxsplit=1)
    code = int(words.pop(0)) if words and words[0].isdigit() else 0
    return code, " ".join(words).strip() or default


def _launchers() -> tuple[int, ...]:
    """The process that started this rank and, under ``deepspeed``, the one that started that: where one is gone, the user or a
    scheduler ended it. Empty without a launcher."""
    if "LOCAL_RANK" not in os.environ:
        return ()
    parent = os.getppid()
    try:
        words = Path(f"/proc/{parent}/cmdline").read_bytes()
        if b"deepspeed.launcher.launch" in words:
            return parent, int(Path(f"/proc/{parent}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError):
        pass
    return (parent,)


def leave_at_once(code: int) -> NoReturn:
    """Without the interpreter's teardown: threads of a process group whose other ranks are gone may abort it, and the
    launcher would see that in place of ``code``."""
    note_exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def note_exit(code: int) -> int:
    """Leave ``code`` where the launcher looks for it, if that asks for it; returns it. It is the file's size, for which there
    is room on a full disk too."""
    if code and EXIT_FILE in os.environ:
        with contextlib.suppress(OSError), open(os.environ[EXIT_FILE], "wb") as file:
            file.truncate(code)
    return code


def noted_exit(path: Path) -> int | None:
    """The code that `note_exit` has left there; None where it could not."""
    try:
        return path.stat().st_size or None
    except OSError:
        return None
