"""Threads that make samples ahead of their use, put together as batches in the order of their plans."""

from __future__ import annotations

import atexit
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from queue import SimpleQueue
from threading import Event, RLock, Thread

from drivetrain import Batch

from .collate import Canvas, Ring, collate
from .making import Outcome, Request
from .rasters import Raster
from .samples import Output, Outputs

_LOOK = 1.0  # seconds between two looks at whether the threads live, while the consumer waits
_PATIENCE = 5.0  # seconds that closing waits for threads; one that is stuck in a read is left behind


@dataclass(frozen=True)
class Plan:
    """A batch to be made."""

    step: int
    slot: int
    requests: Sequence[Request]
    filler: bool = False


@dataclass(frozen=True)
class Made:
    """A plan carried out; ``batch`` is None where every sample is missing."""

    plan: Plan
    batch: Batch | None
    outcomes: Sequence[Outcome]
    seconds_collating: float


Make = Callable[[Request, Outputs], Outcome]


class _Assembly:
    """One batch in the making: `work` makes one sample of it, whoever comes last puts the batch together."""

    def __init__(self, plan: Plan, make: Make, ring: Ring, rasters: tuple[Raster, ...], pin: bool):
        self.plan, self.dropped = plan, False
        self._make, self._rasters, self._pin = make, rasters, pin
        self._lease, self._canvases = ring.lease(), dict[str, Canvas]()
        self._lock = RLock()  # the garbage collector may find a forgotten run, which drops this, while this thread is in here
        self._outcomes = [Outcome() for _ in plan.requests]
        self._left = len(plan.requests)
        self._made: Made | None = None
        self._error: BaseException | None = None
        self._over = Event()

    def work(self, row: int) -> None:
        try:
            if not self.dropped and self._error is None:
                self._outcomes[row] = self._make(self.plan.requests[row], partial(self._outputs, row))
        except BaseException as error:  # whatever it is, it is the consumer's to see
            if not self.dropped:  # else its frames would hold this, and with it memory, until the garbage collector comes by
                self._error = error
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._finish()

    def wait(self, seconds: float) -> Made | None:
        """What became of the plan, None if it still is in the making. Raises the error of a thread."""
        if not self._over.wait(seconds):
            return None
        if self._error is not None:
            raise self._error
        return self._made

    def drop(self, error: BaseException | None = None) -> None:
        """Nobody wants it any more: its buffers go back, now or when its threads are done. Who waits gets ``error``."""
        with self._lock:
            self.dropped, self._error, made = True, error, self._made
            if error is not None:
                self._over.set()
        if made is not None and made.batch is not None:
            made.batch.release()

    def _outputs(self, row: int, camera: str, size: tuple[int, int]) -> Output:
        """The row of the batch's canvas, which the first of its pictures gives its size; another size gets arrays."""
        with self._lock:
            canvas = self._canvases.get(camera)
            if canvas is None:
                canvas = self._canvases[camera] = Canvas(self._lease, len(self._outcomes), size, self._rasters)
        if canvas.size == size:
            return canvas.rows[row]
        drawn = (self._lease.scratch(size, raster.dtype) for raster in self._rasters)
        return self._lease.scratch((*size, 3)), *drawn

    def _finish(self) -> None:
        made = None
        try:
            if self._error is None and not self.dropped:
                made = self._collated()
        except BaseException as error:
            self._error = error
        with self._lock:
            wanted = made is not None and not self.dropped
            if wanted:
                self._made = made
            self._over.set()
        if made is None or made.batch is None or not wanted:
            self._lease()

    def _collated(self) -> Made:
        began, plan = time.perf_counter(), self.plan
        samples = [outcome.sample for outcome in self._outcomes if outcome.sample is not None]
        batch = None
        if samples:
            batch = collate(samples, self._canvases, self._lease, self._pin, plan.step, plan.slot, plan.filler)
        return Made(plan, batch, self._outcomes, time.perf_counter() - began)


Tasks = SimpleQueue[tuple[_Assembly, int] | None]


class _Thread(Thread):
    """Takes tasks until it finds None. It holds no pipeline, so that a forgotten one ends its threads."""

    def __init__(self, tasks: Tasks):
        super().__init__(name="drivetrain-loader", daemon=True)
        self._tasks = tasks
        self.request: Request | None = None
        self.seconds_idle = 0.0
        self.leaving = False

    def run(self) -> None:
        while not self.leaving:
            began = time.perf_counter()
            task = self._tasks.get()
            self.seconds_idle += time.perf_counter() - began
            if task is None:
                return
            assembly, row = task
            self.request = assembly.plan.requests[row]
            assembly.work(row)
            self.request = None
            del task, assembly  # or the last batch would be held while there is nothing to do

    def leave(self) -> None:
        self.leaving = True
        self._tasks.put(None)


@atexit.register
def _leave() -> None:
    """A thread that comes out of OpenCV's C++ once the interpreter has ended would abort the process: streams that nobody has
    closed get as far as the sample that they are at."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, _Thread)]
    for thread in threads:
        thread.leave()
    _join(threads)


def _join(threads: Sequence[Thread]) -> None:
    deadline = time.monotonic() + _PATIENCE
    for thread in threads:
        if thread.is_alive():  # it may not have begun
            thread.join(max(0.0, deadline - time.monotonic()))


class Pipeline:
    """Carries out plans with ``threads`` threads, ``prefetch`` batches ahead; with 0 threads in the consumer's own.

    What comes out, and in which order, depends on neither. The consumer never waits for what cannot come: an error of a
    thread is raised in its turn, a thread that is gone and a closed pipeline within about a second. Raises UserError
    where the consumer holds too many batches (`Ring.lease`).
    """

    def __init__(self, make: Make, *, threads: int, prefetch: int, micro: int, rasters: tuple[Raster, ...],
                 ring: Ring):  # fmt: skip
        self._make, self._rasters, self._ring, self._closed = make, rasters, ring, False
        self._count_of_threads, self._threads = threads, list[_Thread]()
        self._tasks: Tasks = SimpleQueue()
        self._ahead = ring.ahead = max(prefetch, -(-threads // micro) + 1) if threads else 1
        self._live: set[_Assembly] = set()
        self._counters = dict.fromkeys(
            (
                "seconds_waiting",
                "seconds_reading",
                "seconds_decoding",
                "seconds_collating",
                "samples",
                "bytes",
                "replaced",
                "withdrawn",
            ),
            0.0,
        )

    def run(self, plans: Iterator[Plan]) -> Iterator[Made]:
        """``plans`` may be endless; they are read as they are needed."""
        plans, queue = iter(plans), deque[_Assembly]()
        try:
            while True:
                for plan in islice(plans, self._ahead - len(queue)):
                    queue.append(self._start(plan))
                if not queue:
                    return
                made = self._wait(queue[0])
                self._live.discard(queue.popleft())
                self._count(made)
                yield made
        finally:
            for assembly in queue:
                self._live.discard(assembly)
                assembly.drop()

    @property
    def counters(self) -> dict[str, float]:
        """``seconds_waiting`` of the consumer; of all threads together ``seconds_reading``, ``seconds_decoding``,
        ``seconds_collating``, and ``seconds_idle``, in which the consumer had not used what was made ahead."""
        return {**self._counters, "seconds_idle": sum(thread.seconds_idle for thread in self._threads)}

    def close(self) -> None:
        """End the threads, in bounded time; a consumer that waits is told."""
        self._closed = True
        for assembly in list(self._live):
            assembly.drop(_closed())
        self._live.clear()
        _end(self._tasks, self._threads)
        _join(self._threads)
        self._ring.close()

    def _start(self, plan: Plan) -> _Assembly:
        assembly = _Assembly(plan, self._make, self._ring, self._rasters, self._ring.pin)
        self._live.add(assembly)
        if self._closed:  # asked last: another thread may close it, and whichever comes second sees the other
            raise _closed()
        if self._count_of_threads and not self._threads:
            self._threads += [_Thread(self._tasks) for _ in range(self._count_of_threads)]
            weakref.finalize(self, _end, self._tasks, self._threads)
            for thread in self._threads:
                thread.start()
        for row in range(len(plan.requests)) if self._threads else ():
            self._tasks.put((assembly, row))
        return assembly

    def _wait(self, assembly: _Assembly) -> Made:
        began = time.perf_counter()
        if not self._threads:
            for row in range(len(assembly.plan.requests)):
                assembly.work(row)
        while (made := assembly.wait(_LOOK)) is None:
            self._look_at_threads()
        self._counters["seconds_waiting"] += time.perf_counter() - began
        return made

    def _look_at_threads(self) -> None:
        for thread in self._threads:
            if not thread.is_alive() and not self._closed:
                raise RuntimeError(f"a thread of the loader is gone; it worked on {thread.request or 'nothing'}")

    def _count(self, made: Made) -> None:
        counters = self._counters
        counters["seconds_collating"] += made.seconds_collating
        for outcome in made.outcomes:
            counters["samples"] += outcome.sample is not None
            counters["bytes"] += outcome.bytes
            counters["seconds_reading"] += outcome.seconds_reading
            counters["seconds_decoding"] += outcome.seconds_decoding
            counters["withdrawn"] += outcome.withdrawn
            counters["replaced"] += bool(outcome.damage) and outcome.sample is not None


def _closed() -> RuntimeError:
    return RuntimeError("the stream was closed")


def _end(tasks: Tasks, threads: Sequence[Thread]) -> None:
    for _ in threads:
        tasks.put(None)
