"""Threads that make samples ahead of their use, put together as batches in the order of their plans."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from threading import Lock
from typing import Any

import numpy as np

from drivetrain import Batch, Sample

from .collate import Canvas, Lease, Ring, collate
from .samples import Outputs


@dataclass(frozen=True)
class Request:
    """A sample to be made: its place in the order, and where it lies in the sources' shards, counted through."""

    position: int
    shard: int
    place: int


@dataclass(frozen=True)
class Plan:
    """A batch to be made."""

    step: int
    slot: int
    requests: Sequence[Request]
    filler: bool = False


@dataclass
class Outcome:
    """What became of a request: the ``sample``, None if it is missing; a record per damaged sample; whether one was
    withdrawn; what it has cost."""

    sample: Sample | None = None
    damage: list[dict[str, Any]] = field(default_factory=list)
    withdrawn: bool = False
    bytes: int = 0
    seconds_reading: float = 0.0
    seconds_decoding: float = 0.0


@dataclass(frozen=True)
class Made:
    """A plan carried out; ``batch`` is None where every sample is missing."""

    plan: Plan
    batch: Batch | None
    outcomes: Sequence[Outcome]


Make = Callable[[Request, Outputs], Outcome]


class _Assembly:
    """One batch in the making: `work` makes one sample of it, whoever comes last puts the batch together."""

    def __init__(self, plan: Plan, make: Make, ring: Ring, with_mask: bool, pin: bool):
        self.plan, self.future = plan, Future[Made]()
        self.dropped = False
        self._make, self._with_mask, self._pin = make, with_mask, pin
        self._lease, self._canvases, self._lock = Lease(ring), dict[str, Canvas](), Lock()
        self._outcomes = [Outcome() for _ in plan.requests]
        self._left = len(plan.requests)
        self._error: BaseException | None = None

    def work(self, row: int) -> None:
        try:
            if not self.dropped and self._error is None:
                self._outcomes[row] = self._make(self.plan.requests[row], partial(self._outputs, row))
        except BaseException as error:  # whatever it is, it is the consumer's to see
            self._error = error
        with self._lock:
            self._left -= 1
            last = self._left == 0
        if last:
            self._finish()

    def _outputs(self, row: int, camera: str, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray | None]:
        """The row of the batch's canvas, which the first of its pictures gives its size; another size gets arrays."""
        with self._lock:
            canvas = self._canvases.get(camera)
            if canvas is None:
                canvas = self._canvases[camera] = Canvas(self._lease, len(self._outcomes), size, self._with_mask)
        if canvas.size == size:
            return canvas.images[row], canvas.masks[row]
        return np.empty((*size, 3), np.uint8), np.empty(size, np.uint8) if self._with_mask else None

    def _finish(self) -> None:
        batch = None
        try:
            samples = [outcome.sample for outcome in self._outcomes if outcome.sample is not None]
            if samples and self._error is None:
                plan = self.plan
                batch = collate(samples, self._canvases, self._lease, self._pin, plan.step, plan.slot, plan.filler)
        except BaseException as error:
            self._error = error
        if batch is None:
            self._lease()
        if self._error is not None:
            self.future.set_exception(self._error)
        else:
            self.future.set_result(Made(self.plan, batch, self._outcomes))


class Pipeline:
    """Carries out plans with ``threads`` threads, ``prefetch`` batches ahead; with 0 threads in the consumer's own.

    What comes out, and in which order, depends on neither.
    """

    def __init__(self, make: Make, *, threads: int, prefetch: int, micro: int, with_mask: bool, pin: bool):
        self._make, self._ring, self._with_mask, self._pin = make, Ring(pin), with_mask, pin
        self._pool = ThreadPoolExecutor(threads, "drivetrain-loader") if threads else None
        self._ahead = max(prefetch, -(-threads // micro) + 1) if threads else 1
        self._live: set[_Assembly] = set()
        self.counters = dict.fromkeys(
            ("seconds_waiting", "seconds_reading", "seconds_decoding", "samples", "bytes", "replaced", "withdrawn"), 0.0
        )

    def run(self, plans: Iterator[Plan]) -> Iterator[Made]:
        """``plans`` may be endless; they are read as they are needed. An error of a thread is raised here, in its turn."""
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
                self._drop(assembly)

    def close(self) -> None:
        """End the threads; a consumer that waits is told."""
        if self._pool:
            self._pool.shutdown(cancel_futures=True)
        for assembly in self._live:
            if not assembly.future.done():
                assembly.future.set_exception(RuntimeError("the stream was closed"))
        self._live.clear()

    def _start(self, plan: Plan) -> _Assembly:
        assembly = _Assembly(plan, self._make, self._ring, self._with_mask, self._pin)
        self._live.add(assembly)
        if self._pool:
            for row in range(len(plan.requests)):
                self._pool.submit(assembly.work, row)
        return assembly

    def _wait(self, assembly: _Assembly) -> Made:
        began = time.perf_counter()
        try:
            if not self._pool:
                for row in range(len(assembly.plan.requests)):
                    assembly.work(row)
            return assembly.future.result()
        finally:
            self.counters["seconds_waiting"] += time.perf_counter() - began

    def _drop(self, assembly: _Assembly) -> None:
        """Nobody waits for it any more: its buffers go back, now or when its threads are done."""
        assembly.dropped = True
        self._live.discard(assembly)
        assembly.future.add_done_callback(_release)

    def _count(self, made: Made) -> None:
        for outcome in made.outcomes:
            self.counters["samples"] += outcome.sample is not None
            self.counters["bytes"] += outcome.bytes
            self.counters["seconds_reading"] += outcome.seconds_reading
            self.counters["seconds_decoding"] += outcome.seconds_decoding
            self.counters["withdrawn"] += outcome.withdrawn
            self.counters["replaced"] += bool(outcome.damage) and outcome.sample is not None


def _release(future: Future[Made]) -> None:
    if not future.exception() and (batch := future.result().batch) is not None:
        batch.release()
