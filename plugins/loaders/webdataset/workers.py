"""Worker processes, from the loader's side: samples made where a transform in Python keeps nobody from working.

A worker writes its pixels straight into the ring's memory, which is mapped in both processes; what else a sample holds
comes through a socket. The memory has no name (memfd), so nothing is left of it, whoever is killed.
"""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import subprocess
import sys
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from multiprocessing.connection import Connection, Pipe
from multiprocessing.reduction import send_handle
from queue import SimpleQueue
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drivetrain import DataSpec, PluginError, Sample, UserError

from .collate import Lease, Ring
from .making import Outcome, Request, Samples
from .rasters import Raster
from .samples import Output, Outputs
from .worker import Done, Failed, Fill, Place, Start

_ENDING = 2.0  # seconds until a worker that was told to end is killed


@dataclass(frozen=True)
class _Segment:
    number: int
    fd: int
    address: int
    bytes: int


class SharedRing(Ring):
    """A ring whose buffers worker processes can map."""

    def __init__(self, pin: bool):
        super().__init__(pin)
        self._segments: dict[int, _Segment] = {}
        self._numbers = count()

    @property
    def numbers(self) -> set[int]:
        """The segments that there are."""
        return set(self._segments)

    def scratch(self, lease: Lease, shape: tuple[int, ...]) -> np.ndarray:
        return lease.take(shape).numpy()

    def find(self, array: np.ndarray) -> tuple[_Segment, Place]:
        """Where ``array`` lies. Raises KeyError where it is none of the ring's."""
        address = array.__array_interface__["data"][0]
        for segment in list(self._segments.values()):
            if segment.address <= address < segment.address + segment.bytes:
                return segment, Place(segment.number, address - segment.address, array.shape, array.dtype.str)
        raise KeyError(f"no buffer of the ring lies at {address:#x}")

    def _new(self, shape: tuple[int, ...]) -> Tensor:
        number, size = next(self._numbers), max(1, int(np.prod(shape)))
        fd = os.memfd_create("drivetrain-loader")
        os.ftruncate(fd, size)
        array = np.frombuffer(mmap.mmap(fd, size), np.uint8, int(np.prod(shape))).reshape(shape)
        segment = _Segment(number, fd, array.__array_interface__["data"][0], size)
        self._segments[number] = segment
        if self.pin:
            torch.cuda.check_error(torch.cuda.cudart().cudaHostRegister(segment.address, size, 0))
        weakref.finalize(array, _forget, self._segments, segment, self.pin)
        return torch.from_numpy(array)


def _forget(segments: dict[int, _Segment], segment: _Segment, pinned: bool) -> None:
    segments.pop(segment.number, None)
    os.close(segment.fd)
    if pinned:
        torch.cuda.cudart().cudaHostUnregister(segment.address)


class Workers:
    """``count`` processes that make what ``samples`` would, to be asked by as many threads. They start when they are first
    needed and end with `close`, with this object, or with this process, however it ends.

    Raises PluginError for a transform that cannot be sent to another process.
    """

    def __init__(self, spec: DataSpec, samples: Samples, count: int):
        _check_transforms(spec)
        self._start = Start(list(sys.path), _modules(spec), pickle.dumps((spec, samples.training, samples.storage)))
        self._samples, self._closed = samples, False
        self._processes = [_Process(self._start) for _ in range(count)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        weakref.finalize(self, _end, self._processes)

    def ring(self, pin: bool) -> SharedRing:
        self._ring = SharedRing(pin)
        return self._ring

    def make(self, request: Request, outputs: Outputs, outcome: Outcome) -> None:
        """As `Samples.make`. Raises UserError, at once, where the process dies."""
        process = self._idle.get()
        try:
            if self._closed:
                raise RuntimeError("the stream was closed")
            process.make(request, outputs, outcome, self._ring, self._samples.rasters)
        except (EOFError, ConnectionError) as error:
            if self._closed:
                raise RuntimeError("the stream was closed") from error
            what = f"sample {request.place} of {self._samples.sources.path(request.shard)}"
            raise UserError(
                f"a worker process of the loader {process.farewell()} while it made {what} (position {request.position})",
                remedy="where memory ran out: fewer loader.workers or a smaller loader.prefetch\n"
                "where a transform or a decoder crashed: loader.workers=0 shows it in this process",
            ) from error
        finally:
            self._samples.sources.add(outcome.roots)
            outcome.roots = {}  # a replacement that is made next has a cost of its own
            if self._closed:
                process.end()  # it may have been started since
            self._idle.put(process)

    def close(self) -> None:
        """In bounded time; threads that wait for a process are told."""
        self._closed = True
        _end(self._processes)


class _Process:
    """One worker, started when it is first asked. Used by one thread at a time."""

    def __init__(self, start: Start):
        self._start_message = start
        self._child: subprocess.Popen[bytes] | None = None
        self._channel: Connection[Any, Any] | None = None
        self._known: set[int] = set()

    def make(self, request: Request, outputs: Outputs, outcome: Outcome, ring: SharedRing, rasters: Sequence[Raster]) -> None:
        if self._channel is None:
            self._start()
        given: dict[str, Output] = {}
        answer = self._ask(request)
        while isinstance(answer, Fill):
            given[answer.camera] = outputs(answer.camera, answer.size)
            answer = self._lend(given[answer.camera], ring)
        if isinstance(answer, Failed):
            answer.throw(outcome)
        assert isinstance(answer, Done)
        answer.add_to(outcome)
        outcome.sample = _filled(answer.sample, given, rasters)

    def farewell(self) -> str:
        """How the process ended, in words; the next request starts another one."""
        assert self._child is not None
        try:
            code = self._child.wait(_ENDING)
        except subprocess.TimeoutExpired:
            code = None
        pid = self._child.pid
        self.end()
        if code is None:
            return f"(pid {pid}) closed its connection"
        return (
            f"(pid {pid}) was ended by {signal.Signals(-code).name}" if code < 0 else f"(pid {pid}) left with exit code {code}"
        )

    def end(self) -> None:
        child, channel = self._child, self._channel
        if child is not None:
            child.kill()
            child.wait()
        if channel is not None:
            channel.close()
        self._child = self._channel = None
        self._known = set()

    def _start(self) -> None:
        self._channel, theirs = Pipe()
        words = [sys.executable, "-m", "drivetrain.plugins.loaders.webdataset.worker", str(theirs.fileno()), str(os.getpid())]
        try:
            self._child = subprocess.Popen(words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
        finally:
            theirs.close()
        answer = self._ask(self._start_message)
        if isinstance(answer, Failed):
            self.end()
            answer.throw(Outcome())

    def _ask(self, message: Any) -> Any:
        assert self._channel is not None
        self._channel.send(message)
        return self._channel.recv()

    def _lend(self, output: Output, ring: SharedRing) -> Any:
        """Tell the worker where its picture and what else is drawn go, with the descriptors of memory that it has not seen."""
        assert self._channel is not None and self._child is not None
        found = [ring.find(array) for array in output]
        fresh = {segment.number: segment for segment, _ in found if segment.number not in self._known}
        places = [place for _, place in found]
        if not fresh:
            return self._ask((places, [], None))
        self._known = (self._known & ring.numbers) | set(fresh)
        self._channel.send((places, [(s.number, s.bytes) for s in fresh.values()], self._known))
        for segment in fresh.values():
            send_handle(self._channel, segment.fd, self._child.pid)
        return self._channel.recv()


def _filled(sample: Sample, given: dict[str, Output], rasters: Sequence[Raster]) -> Sample:
    """The sample with the arrays that the worker wrote in place."""
    for name, camera in sample.pictures.items():
        image, *drawn = given[name]
        if camera.image is None:
            camera.image = image
        for raster, place in zip(rasters, drawn):
            fields = camera.targets[raster.task]
            if fields[raster.target] is None:
                fields[raster.target] = place
    return sample


def _end(processes: list[_Process]) -> None:
    for process in processes:
        child = process._child
        if child is not None:
            child.kill()  # its thread reads the end of the connection; a worker holds nothing that could be lost
            child.wait()


def _check_transforms(spec: DataSpec) -> None:
    for name, transform in spec.transforms.items():
        kind = type(transform)
        try:
            if kind.__module__ == "__main__":
                raise TypeError(f"{kind.__qualname__} is defined in __main__, which a worker does not run")
            pickle.dumps(transform)
        except Exception as error:  # pickling runs the transform's own code
            raise PluginError(f"transform {name!r} cannot be sent to a worker process: {error}",
                              remedy="define it at the top level of a module, without open files or lambdas, or set "
                              "loader.workers=0") from error  # fmt: skip


def _modules(spec: DataSpec) -> dict[str, str]:
    """Where the transforms' modules lie: a plugin that is a single file is on no path."""
    names = {type(transform).__module__ for transform in spec.transforms.values()}
    files = {name: getattr(sys.modules.get(name), "__file__", None) for name in names}
    return {name: file for name, file in files.items() if file is not None}
