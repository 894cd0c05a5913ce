"""A worker process: it is sent requests and answers each with a sample, whose pixels it writes into shared memory.

``python -m drivetrain.plugins.loaders.webdataset.worker DESCRIPTOR PARENT``. Without torch it holds about as much memory as
NumPy, OpenCV and Arrow do, and the list of shards.
"""

from __future__ import annotations

import importlib.util
import mmap
import os
import pickle
import signal
import sys
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.reduction import recv_handle
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

if TYPE_CHECKING:
    from drivetrain import Sample

    from .making import Outcome, Request
    from .rasters import Raster
    from .samples import Output

_LOOK = 0.5  # seconds between two looks at whether the parent lives, while a transform is at work


# ---------------------------------------------------------------- messages


@dataclass(frozen=True)
class Start:
    """The parent's ``sys.path``, where transforms' modules lie, and what to make: the arguments of `Samples`, pickled."""

    path: list[str]
    modules: Mapping[str, str]
    what: bytes


@dataclass(frozen=True)
class Fill:
    """The worker asks where a picture of ``camera`` goes."""

    camera: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Place:
    """``shape`` of ``dtype`` from ``offset`` of a segment on."""

    segment: int
    offset: int
    shape: tuple[int, ...]
    dtype: str = "uint8"


@dataclass(frozen=True)
class _Cost:
    """``roots``: what the process's counters of roots and cache have gained since its last answer."""

    bytes: int
    seconds_reading: float
    seconds_decoding: float
    roots: Mapping[str, float]

    def add_to(self, outcome: Outcome) -> None:
        outcome.bytes += self.bytes
        outcome.seconds_reading += self.seconds_reading
        outcome.seconds_decoding += self.seconds_decoding
        outcome.roots = self.roots


@dataclass(frozen=True)
class Done(_Cost):
    """The sample; arrays that lie in shared memory already are None."""

    sample: Sample


@dataclass(frozen=True)
class Failed(_Cost):
    """What was raised, and its traceback as text."""

    error: BaseException
    trace: str

    def throw(self, outcome: Outcome) -> NoReturn:
        self.add_to(outcome)
        raise self.error from RuntimeError(f"in a worker process of the loader:\n{self.trace}")


# ---------------------------------------------------------------- the process


class _Segments:
    """Shared memory, mapped."""

    def __init__(self, channel: Connection[Any, Any]):
        self._channel = channel
        self._maps: dict[int, mmap.mmap] = {}

    def receive(self) -> Output:
        """The arrays that the answer to a `Fill` names."""
        places, fresh, known = self._channel.recv()
        for number, size in fresh:
            fd = recv_handle(self._channel)
            self._maps[number] = mmap.mmap(fd, size)
            os.close(fd)
        if known is not None:
            for number in self._maps.keys() - known:
                del self._maps[number]  # unmapped when the last array of it is gone
        return tuple(map(self._array, places))

    def _array(self, place: Place) -> np.ndarray:
        size = int(np.prod(place.shape))
        return np.frombuffer(self._maps[place.segment], place.dtype, size, place.offset).reshape(place.shape)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what an interrupt ends
    channel: Connection[Any, Any] = Connection(int(sys.argv[1]))
    Thread(target=_leave_with, args=(int(sys.argv[2]),), daemon=True).start()
    try:
        _serve(channel)
    except (EOFError, ConnectionError):
        os._exit(0)  # the loader is gone


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK)
    os._exit(1)


def _serve(channel: Connection[Any, Any]) -> None:
    try:
        samples = _samples(channel.recv())
    except Exception as error:
        channel.send(_failed(error, _Cost(0, 0, 0, {})))
        return
    channel.send("ready")
    segments, told = _Segments(channel), dict[str, float]()
    while True:
        channel.send(_answer(channel.recv(), samples, channel, segments, told))


def _samples(start: Start) -> Any:
    sys.path[:] = start.path
    for name, file in start.modules.items():
        if importlib.util.find_spec(name.partition(".")[0]) is None:
            _load(name, Path(file))
    from .making import Samples

    return Samples(*pickle.loads(start.what))


def _load(name: str, file: Path) -> None:
    """A plugin that is a file on no path."""
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)


def _answer(request: Request, samples: Any, channel: Connection[Any, Any], segments: _Segments, told: dict[str, float]
            ) -> Done | Failed:  # fmt: skip
    from .making import Outcome

    outcome = Outcome()
    given: dict[str, Output] = {}

    def outputs(camera: str, size: tuple[int, int]) -> Output:
        channel.send(Fill(camera, size))
        given[camera] = segments.receive()
        return given[camera]

    try:
        samples.make(request, outputs, outcome)
        assert outcome.sample is not None
        _strip(outcome.sample, given, samples.rasters)
    except (EOFError, ConnectionError):
        raise
    except BaseException as error:
        return _failed(error, _cost(outcome, samples, told))
    return Done(**vars(_cost(outcome, samples, told)), sample=outcome.sample)


def _cost(outcome: Outcome, samples: Any, told: dict[str, float]) -> _Cost:
    now = samples.sources.counters()
    gained = {name: value - told.get(name, 0) for name, value in now.items() if value != told.get(name, 0)}
    told.update(now)
    return _Cost(outcome.bytes, outcome.seconds_reading, outcome.seconds_decoding, gained)


def _strip(sample: Sample, given: Mapping[str, Output], rasters: Sequence[Raster]) -> None:
    """Leave out of the sample what lies in shared memory; what a transform made anew is written there where it fits."""
    for name, camera in sample.pictures.items():
        image, *drawn = given[name]
        if _moved(camera.image, image):
            camera.image = None  # type: ignore[assignment]
        for raster, place in zip(rasters, drawn):
            fields = camera.targets[raster.task]
            if _moved(fields[raster.target], place):
                fields[raster.target] = None  # type: ignore[assignment]


def _moved(content: np.ndarray, place: np.ndarray) -> bool:
    if content.shape != place.shape or content.dtype != place.dtype:
        return False
    if content is not place:
        np.copyto(place, content)
    return True


def _failed(error: BaseException, cost: _Cost) -> Failed:
    trace = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    error.__traceback__ = None
    return Failed(**vars(cost), error=error, trace=trace)


if __name__ == "__main__":
    from drivetrain.plugins.loaders.webdataset.worker import main  # by its own name: messages are pickled by it

    main()
