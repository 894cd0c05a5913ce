"""Processes that belong to another one of their host, and leave with it."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path
from threading import Thread

OWNER = "DRIVETRAIN_OWNER"
"""The variable that names the process without which one is to leave."""


def process_start(pid: int) -> int | None:
    """When a process of this host began, in clock ticks since the host did, which tells it from a later one of the same
    number; None where there is none, or where it is dead and only not yet waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def as_owner() -> str:
    """This process, as a value of the variable."""
    return f"{socket.gethostname()} {os.getpid()} {process_start(os.getpid())}"


def follow_owner() -> None:
    """SIGTERM to this process once its owner, if it has one on this host, is gone: at once what has not begun, with a save what
    trains. A launcher that is killed in between passes nothing on, so each of its ranks looks for itself. Main thread."""
    if signal.getsignal(signal.SIGTERM) is signal.SIG_IGN:  # as some job starters leave it to all that they start
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
    host, pid, start = os.environ.get(OWNER, "- 0 -").split()
    if host == socket.gethostname():
        Thread(target=_leave_after, args=(int(pid), start), daemon=True, name="owner").start()


def _leave_after(pid: int, start: str) -> None:
    while str(process_start(pid)) == start:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
