"""One sample by its place in the shards: read, checked, decoded; in threads, and in worker processes, which need no torch."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from drivetrain import DataSpec, Frame, Sample

from .mixing import refuse_mixing
from .reader import parse
from .samples import OpenSource, Outputs, SampleMaker, cameras_of, refuse_unlabelled
from .shards import Damage, Wanted
from .sources import Sources
from .storage.ahead import Chunk
from .storage.config import StorageConfig

if TYPE_CHECKING:
    from .collate import Ring


@dataclass(frozen=True)
class Request:
    """A sample to be made: its place in the order, and where it lies in the sources' shards, counted through; so do the
    ``partners`` that its transforms may take."""

    position: int
    shard: int
    place: int
    partners: tuple[tuple[int, int], ...] = ()

    def partner(self, number: int) -> Request:
        return Request(self.position, *self.partners[number])

    def with_partner(self, number: int, at: tuple[int, int]) -> Request:
        return replace(self, partners=(*self.partners[:number], at, *self.partners[number + 1 :]))


class Withdrawn(Damage):
    """The sample is not to be read any more."""


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
    roots: Mapping[str, float] = field(default_factory=dict)  # of a worker process: what its roots and cache have cost


class Samples:
    """Makes one requested sample: read, checked, decoded."""

    def __init__(self, spec: DataSpec, training: bool, storage: StorageConfig | None = None):
        self.storage = storage
        sources = [OpenSource.open(source, spec, storage) for source in spec.sources]
        if training:
            refuse_unlabelled(spec, sources)
        self.partners = sum(transform.partners for transform in spec.transforms.values()) if training else 0
        if self.partners:
            refuse_mixing(spec)
        self._spec, self.training, self.sources = spec, training, Sources(sources, training)
        self._maker = SampleMaker(spec, cameras_of(spec, sources), training)
        self.rasters = self._maker.rasters

    def make(self, request: Request, outputs: Outputs, outcome: Outcome) -> None:
        """Sets ``outcome.sample``. Raises Damage for bad bytes, Withdrawn before it reads one that is, OSError where reading
        fails, DataError for wrong labels."""
        source, shard, clip = self._locate(request)
        if any(self.sources.is_withdrawn(request.shard - shard + number, place) for number, place in clip):
            raise Withdrawn("it was withdrawn")
        *history, frame = [self._frame(source, *at, outcome, self._maker.wanted) for at in clip]
        began = time.perf_counter()
        try:
            where = source.shards.name(shard)
            partner = partial(self._partner, request, outcome)
            outcome.sample = self._maker.make(frame, source, request.position, outputs, where, history, partner)
        finally:
            outcome.seconds_decoding += time.perf_counter() - began

    def chunks(self, requests: Iterable[Request]) -> Iterator[Chunk]:
        """The chunks of the node's cache that these will be read from."""
        for request in requests:
            source, _, clip = self._locate(request)
            for partner in request.partners:
                there, shard = self.sources.find(partner[0])
                yield from there.shards.chunks(shard, partner[1])
            for shard, place in clip:
                yield from source.shards.chunks(shard, place)
                for joined in source.joins:
                    yield from joined.shards.chunks(*joined.place_of(source.shards.number(shard, place)))

    def _locate(self, request: Request) -> tuple[OpenSource, int, list[tuple[int, int]]]:
        """The source, the shard's number there, and where the frames of the clip lie, the oldest first."""
        source, shard = self.sources.find(request.shard)
        return source, shard, source.shards.clip(shard, request.place, self._spec.clip_frames, self._spec.clip_stride)

    def _partner(self, request: Request, outcome: Outcome, number: int) -> tuple[Frame, OpenSource, str]:
        """The frame of partner ``number``, its source and its shard's name."""
        shard, place = request.partners[number]
        source, own = self.sources.find(shard)
        frame = self._frame(source, own, place, outcome, self._maker.wanted_of_partners)
        return frame, source, source.shards.name(own)

    def _frame(self, source: OpenSource, shard: int, place: int, outcome: Outcome, wanted: Wanted) -> Frame:
        began = time.perf_counter()
        try:
            parts = source.shards.read(shard, place, wanted)
        finally:
            outcome.seconds_reading += time.perf_counter() - began
        outcome.bytes += sum(map(len, parts.values()))
        frame = source.shards.layers.apply(parse(parts))
        for joined in source.joins:
            frame = joined.add(frame, source.shards.number(shard, place), wanted)
        return frame

    def record(self, request: Request, damage: Damage) -> dict[str, Any]:
        """What the quarantine says of a damaged sample."""
        key, path = self.sources.key(request.shard, request.place), self.sources.path(request.shard)
        return {"key": key, "shard": path, "place": request.place, "position": request.position, "why": str(damage)}

    def ring(self, pin: bool) -> Ring:
        """Where batches of its samples lie."""
        from .collate import Ring  # torch, which a worker process does without

        return Ring(pin)

    def close(self) -> None:
        pass
