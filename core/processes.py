"""Worker processes that end with the process that started them, however it ends."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
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
