"""Worker processes that end with the process that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import Any


@contextmanager
def process_pool(workers: int, start: Callable[..., Any], *args: Any) -> Iterator[ProcessPoolExecutor]:
    """Spawned processes, each of which calls ``start(*args)`` first; what is still queued at the end is dropped."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_begin, initargs=(start, args)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


def _begin(start: Callable[..., Any], args: tuple[Any, ...]) -> None:
    Thread(target=_die_with_parent, daemon=True).start()
    start(*args)


def _die_with_parent() -> None:
    """A killed parent closes no pipe that a worker waits at: its brothers hold the other end too."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def process_start(pid: int) -> int | None:
    """When a process of this host began, in clock ticks since the host did, which tells it from a later one of the same
    number; None where there is none, or where it is dead and only not yet waited for."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def as_owner() -> str:
    """This process, as `follow_owner` takes it."""
    return f"{socket.gethostname()} {os.getpid()} {process_start(os.getpid())}"


def follow_owner(owner: str) -> None:
    """SIGTERM to this process once the process ``owner`` of this host is gone: at once what has not begun, with a save what
    trains. A launcher that is killed in between passes nothing on, so each of its ranks looks for itself."""
    host, pid, start = owner.split()
    if host == socket.gethostname():
        Thread(target=_leave_after, args=(int(pid), start), daemon=True, name="owner").start()


def _leave_after(pid: int, start: str) -> None:
    while str(process_start(pid)) == start:
        time.sleep(0.5)
    os.kill(os.getpid(), signal.SIGTERM)
