"""Curation: every frame of some shard sets passes all checks once, and what they find is told.

A check's `CurationCheck.measure` runs where the picture is decoded, in worker processes, and gives something small; `add`
gathers it, in the order of the sets, in the process that called; `findings` says at the end what was found.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from .contracts import ShardSet
from .data import default_loader
from .errors import DataError
from .frame import Camera, CameraLabels, ClassInfo
from .overlay import Overlay
from .processes import process_pool
from .rasters import decode_pixels

SMALL = 256  # px, the longer side of the picture that the checks share
_CHUNK = 16  # frames that a worker is given at a time
_AHEAD = 4  # chunks a worker that wait or lie ready: what bounds the memory
READABLE = "readable"  # the one check that is the core's own


class Place(NamedTuple):
    """One picture: the ``set`` (its number among those curated), the frame's ``number`` and ``key`` there."""

    set: int
    number: int
    key: str
    scene: str
    camera: str


@dataclass(frozen=True)
class Sight:
    """What a check is shown of a picture: ``labels`` of it with its encoded image, ``prediction`` if there is a prediction
    set that has it, both sets of ``classes``, ``small`` uint8 [h, w, 3] RGB, at most 256 px long."""

    place: Place
    labels: Camera
    prediction: CameraLabels | None
    classes: Mapping[str, Sequence[ClassInfo]]
    predicted_classes: Mapping[str, Sequence[ClassInfo]]
    tags: Mapping[str, str]

    @cached_property
    def small(self) -> np.ndarray:
        return small_picture(self.labels)

    @cached_property
    def gray(self) -> np.ndarray:
        """uint8 [h, w], of `small`."""
        return cv2.cvtColor(self.small, cv2.COLOR_RGB2GRAY)

    @cached_property
    def mask(self) -> np.ndarray | None:
        """uint8 [H, W] of class ids at the full size."""
        mask = self.labels.semantic
        return None if mask is None else decode_pixels("semantic", mask)


@dataclass(frozen=True)
class CurationFinding:
    """What a check found of a picture; ``place`` is None where it is about the set. ``severity``: ``error``, ``warning`` or
    ``note``. ``evidence`` is JSON; its ``boxes`` [[x1, y1, x2, y2]...] are drawn. ``partner``: the other picture of a pair."""

    place: Place | None
    severity: str
    what: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    partner: Place | None = None


class Bars(NamedTuple):
    """A bar chart of the report."""

    title: str
    values: Mapping[str, float]


class CurationCheck(Protocol):
    """Picklable before it has seen anything."""

    def measure(self, sight: Sight) -> Any:
        """Something small and picklable of one picture; None: nothing to add. Changes nothing of the check."""
        ...

    def add(self, place: Place, measured: Any) -> None: ...

    def findings(self) -> Iterable[CurationFinding]: ...

    def bars(self) -> Sequence[Bars]: ...


def small_picture(camera: Camera) -> np.ndarray:
    """uint8 [h, w, 3] RGB at most `SMALL` px long, a JPEG decoded no finer than needed. Raises DataError."""
    assert camera.image is not None
    reduction = next((n for n in (8, 4, 2) if max(camera.width, camera.height) >= n * SMALL), 1)
    flags = {8: cv2.IMREAD_REDUCED_COLOR_8, 4: cv2.IMREAD_REDUCED_COLOR_4, 2: cv2.IMREAD_REDUCED_COLOR_2, 1: cv2.IMREAD_COLOR}
    picture = cv2.imdecode(np.frombuffer(camera.image.data, np.uint8), flags[reduction])
    if picture is None:
        raise DataError("the picture cannot be decoded")
    scale = min(1.0, SMALL / max(picture.shape[:2]))
    size = max(1, round(picture.shape[1] * scale)), max(1, round(picture.shape[0] * scale))
    return cv2.cvtColor(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB)


@dataclass(frozen=True)
class Job:
    """What is curated: ``sets`` by path, the labels that lie over them, a prediction set, the checks by name."""

    sets: tuple[str, ...]
    checks: Mapping[str, CurationCheck]
    overlays: tuple[str, ...] = ()
    predictions: str | None = None


def curate(job: Job, workers: int, advance: Callable[[int], None] = lambda done: None
           ) -> tuple[dict[str, list[CurationFinding]], dict[str, Sequence[Bars]]]:  # fmt: skip
    """Check -> findings, and check -> its charts. ``advance``: called with the number of frames that are done.

    Pictures are held one a worker; beyond the checks' own memory a few hundred measurements wait."""
    reader = _Reader(job)
    found: dict[str, list[CurationFinding]] = {READABLE: []}
    done = 0
    for chunk in _measured(job, reader, workers):
        for place, measured in chunk:
            if isinstance(measured, str):
                found[READABLE].append(CurationFinding(place, "error", measured))
                continue
            for name, value in measured.items():
                job.checks[name].add(place, value)
        done = min(done + _CHUNK, len(reader))
        advance(done)
    found |= {name: list(check.findings()) for name, check in job.checks.items()}
    return found, {name: check.bars() for name, check in job.checks.items()}


Measured = list[tuple[Place, "dict[str, Any] | str"]]


class _Reader:
    """The sets' frames, counted through, measured by all checks."""

    def __init__(self, job: Job):
        self.job = job
        self.sets: list[ShardSet] = [default_loader().open(path, job.overlays) for path in job.sets]
        self.predictions = Overlay(job.predictions) if job.predictions else None
        self._starts = np.concatenate([[0], np.cumsum([len(shards) for shards in self.sets])])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def measure(self, numbers: range) -> Measured:
        return [row for number in numbers for row in self._frame(number)]

    def _frame(self, number: int) -> Iterator[tuple[Place, dict[str, Any] | str]]:
        of = int(np.searchsorted(self._starts, number, "right")) - 1
        shards, own = self.sets[of], number - int(self._starts[of])
        try:
            frame = shards.frame(own)
        except DataError as error:
            yield Place(of, own, shards.index.column("key")[own].as_py(), "", ""), error.message
            return
        said = self.predictions.labels(frame.key) if self.predictions else None
        theirs = self.predictions.classes if self.predictions else {}
        for name, camera in frame.cameras.items():
            place = Place(of, own, frame.key, frame.scene, name)
            sight = Sight(place, camera, (said or {}).get(name), shards.classes, theirs, frame.tags)
            try:
                measured = {n: v for n, check in self.job.checks.items() if (v := check.measure(sight)) is not None}
            except DataError as error:
                yield place, error.message
            else:
                yield place, measured


def _measured(job: Job, reader: _Reader, workers: int) -> Iterator[Measured]:
    chunks = [range(i, min(i + _CHUNK, len(reader))) for i in range(0, len(reader), _CHUNK)]
    if workers < 2 or len(chunks) < 2 * workers:  # a process takes a second to start
        yield from map(reader.measure, chunks)
        return
    with process_pool(workers, _start_worker, job) as pool:
        waiting = deque[Future[Measured]]()
        for chunk in chunks:
            waiting.append(pool.submit(_work, chunk))
            if len(waiting) >= _AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_reader: _Reader | None = None


def _start_worker(job: Job) -> None:
    global _reader
    cv2.setNumThreads(0)  # the processes are the parallelism
    _reader = _Reader(job)


def _work(numbers: range) -> Measured:
    assert _reader is not None
    return _reader.measure(numbers)
