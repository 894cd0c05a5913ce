"""Training and evaluation streams: which batches a rank makes, and what happens where samples are damaged."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain import Batch, DataError, DataSpec

from .draws import Draws
from .fetching import Fetching
from .making import Outcome, Request, Samples, Withdrawn
from .mixing import DamagedPartner
from .order import evaluation_share
from .pipeline import Made, Pipeline, Plan
from .quarantine import VERIFY, Quarantine
from .samples import Outputs
from .shards import Damage
from .storage.config import StorageConfig
from .workers import Workers

_ATTEMPTS = 32  # replacements that are tried for one damaged sample


@dataclass(frozen=True)
class Cut:
    """How a step is cut: ``slots`` micro-batches of ``micro`` samples, of which ``rank`` of ``world`` takes its share."""

    slots: int
    micro: int
    rank: int = 0
    world: int = 1

    @property
    def own(self) -> range:
        share = self.slots // self.world
        return range(self.rank * share, (self.rank + 1) * share)


class TrainingStream:
    """One rank's micro-batches (`drivetrain.TrainingStream`). Raises DataError for an empty split, and for a ``where`` or a
    view that leaves nothing of a source."""

    def __init__(self, spec: DataSpec, cut: Cut, *, window: int, prefetch: int, max_damaged_share: float, threads: int,
                 workers: int, pin: bool, storage: StorageConfig | None = None):  # fmt: skip
        self._samples, self._cut = Samples(spec, training=True, storage=storage), cut
        self._sources = self._samples.sources
        if not any(len(source.shards) for source in self._sources.sources):
            raise DataError("there is nothing to train on: the split is empty", where=self._sources.where)
        ahead = any(found.cache for found in self._sources.sets)  # it may be in the next pool already
        self._draws = Draws(self._sources, spec, cut.slots, cut.micro, window, len(cut.own) * (1 + ahead))
        self._fetching = Fetching(self._samples, len(cut.own) * window, self._draws.joined / len(cut.own))
        self.quarantine = Quarantine(max_damaged_share, len(self._draws))
        self._maker = Workers(spec, self._samples, workers) if workers else self._samples
        self._pipeline = Pipeline(self._make, threads=workers or threads, prefetch=prefetch, micro=cut.micro,
                                  rasters=self._samples.rasters, ring=self._maker.ring(pin))  # fmt: skip

    @property
    def order_id(self) -> str:
        return self._draws.order_id

    @property
    def quarantine_path(self) -> Path | None:
        return self.quarantine.path

    @quarantine_path.setter
    def quarantine_path(self, path: Path | None) -> None:
        self.quarantine.path = path

    def batches(self, step: int) -> Iterator[Batch]:
        with self._fetching.ahead_of(self._plans(step)) as ahead:
            for number, made in enumerate(self._pipeline.run(self._plans(step))):
                if ahead:
                    ahead.used(number)
                self._note_damage(made)
                assert made.batch is not None, "damaged samples are replaced"
                yield made.batch

    def keys(self, step: int) -> list[list[str]]:
        plans = (self._plan(step, slot) for slot in range(self._cut.slots))
        return [[self._sources.key(request.shard, request.place) for request in plan.requests] for plan in plans]

    def state(self, step: int) -> dict[str, Any]:
        return self._draws.state(step)

    def resume(self, state: Mapping[str, Any], *, replay: bool = False) -> list[str]:
        return self._draws.resume(state, replay)

    def counters(self) -> Mapping[str, float]:
        return {**self._pipeline.counters, **self._sources.counters()}

    def close(self) -> None:
        self._fetching.close()
        self._maker.close()
        self._pipeline.close()
        self._sources.close()

    def _plans(self, step: int) -> Iterator[Plan]:
        return (self._plan(s, slot) for s in count(step) for slot in self._cut.own)

    def _plan(self, step: int, slot: int) -> Plan:
        first, cut = step * self._cut.micro, self._cut
        shards, places = self._draws.draw(slot, first, cut.micro)
        positions = range(first * cut.slots + slot, (first + cut.micro) * cut.slots + slot, cut.slots)
        rows = zip(positions, shards.tolist(), places.tolist())
        if not self._samples.partners:
            return Plan(step, slot, [Request(*row) for row in rows])
        return Plan(step, slot, [Request(*row, partners=self._partners(row[0])) for row in rows])

    def _partners(self, position: int) -> tuple[tuple[int, int], ...]:
        return tuple(self._partner(position, number) for number in range(self._samples.partners))

    def _partner(self, position: int, number: int, attempt: int = 0) -> tuple[int, int]:
        """Where partner ``number`` lies: the first from ``attempt`` on that was not withdrawn."""
        for later in range(attempt, attempt + _ATTEMPTS):
            shard, place = self._draws.replacement(position, later, of=number + 1)
            if not self._sources.is_withdrawn(shard, place):
                return shard, place
        raise self._withdrawn(_ATTEMPTS, shard)

    def _make(self, request: Request, outputs: Outputs) -> Outcome:
        """A damaged sample, or partner, is replaced by another one of its pool; an IO failure or a wrong label is not."""
        outcome, tried = Outcome(), set[Request]()
        for attempt in range(_ATTEMPTS):
            if request not in tried:
                try:
                    self._maker.make(request, outputs, outcome)
                    return outcome
                except DamagedPartner as damage:
                    outcome.damage.append(self._samples.record(request.partner(damage.number), damage))
                    another = self._partner(request.position, damage.number, attempt + 1)
                    request = request.with_partner(damage.number, another)
                    continue
                except Withdrawn:
                    outcome.withdrawn = True
                    tried.add(request)
                except Damage as damage:
                    outcome.damage.append(self._samples.record(request, damage))
                    tried.add(request)
            shard, place = self._draws.replacement(request.position, attempt)
            request = replace(request, shard=shard, place=place)
        if not outcome.damage:
            raise self._withdrawn(len(tried), request.shard)
        last = outcome.damage[-1]
        raise DataError(f"{len(outcome.damage)} samples in a row are damaged, the last one {last['key']!r}: {last['why']}",
                        where=last["shard"], remedy=VERIFY)  # fmt: skip

    def _withdrawn(self, count: int, shard: int) -> DataError:
        return DataError(f"{count} samples in a row were withdrawn", where=self._sources.path(shard),
                         remedy="leave this source out, or write the set again from what is left")  # fmt: skip

    def _note_damage(self, made: Made) -> None:
        records = [record for outcome in made.outcomes for record in outcome.damage]
        if records:
            counters = self._pipeline.counters
            self.quarantine.note(records, int(counters["samples"]), int(counters["replaced"]))


class EvaluationStream:
    """One rank's share of a split in natural order, each sample exactly once over all ranks (`drivetrain.EvaluationStream`).

    Nothing is replaced: ``missing`` lists the keys of damaged and of withdrawn samples of this rank.
    """

    def __init__(self, spec: DataSpec, cut: Cut, *, prefetch: int, threads: int, workers: int, pin: bool,
                 storage: StorageConfig | None = None):  # fmt: skip
        self._samples, self._micro = Samples(spec, training=False, storage=storage), cut.micro
        self._sources = self._samples.sources
        self._picked = self._sources.pick(range(len(spec.sources)))
        self._starts = np.concatenate([[0], np.cumsum(self._picked.sizes)])
        batches = -(-len(self._picked) // cut.micro)
        self._share = evaluation_share(batches, cut.rank, cut.world)
        self._length = -(-batches // cut.world)
        self._maker = Workers(spec, self._samples, workers) if workers else self._samples
        self._pipeline = Pipeline(self._make, threads=workers or threads, prefetch=prefetch, micro=cut.micro,
                                  rasters=self._samples.rasters, ring=self._maker.ring(pin))  # fmt: skip
        self._fetching = Fetching(self._samples, 1 + len(self._picked.sizes) * cut.micro // max(1, len(self._picked)))
        self.missing: list[str] = []

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        self.missing = []
        with self._fetching.ahead_of(self._plans()) as ahead:
            for number, made in enumerate(self._pipeline.run(self._plans())):
                if ahead:
                    ahead.used(number)
                if not made.plan.filler:
                    self.missing += [record["key"] for outcome in made.outcomes for record in outcome.damage]
                yield self._substitute() if made.batch is None else made.batch

    def counters(self) -> Mapping[str, float]:
        return {**self._pipeline.counters, **self._sources.counters()}

    def close(self) -> None:
        self._fetching.close()
        self._maker.close()
        self._pipeline.close()
        self._sources.close()

    def _plans(self) -> Iterator[Plan]:
        again = self._share[-1] if self._share else 0  # a filler repeats the rank's last batch
        fillers = (self._plan(again, filler=True) for _ in range(self._length - len(self._share)))
        return chain(map(self._plan, self._share), fillers)

    def _plan(self, number: int, filler: bool = False) -> Plan:
        samples = range(number * self._micro, min((number + 1) * self._micro, len(self._picked)))
        return Plan(0, number, [self._request(i) for i in samples], filler)

    def _request(self, number: int) -> Request:
        """Sample ``number`` of those that are meant, in natural order."""
        shard = np.searchsorted(self._starts, [number], "right") - 1
        shards, places = self._picked.resolve(shard, number - self._starts[shard])
        return Request(number, int(shards[0]), int(places[0]))

    def _make(self, request: Request, outputs: Outputs) -> Outcome:
        outcome = Outcome()
        try:
            self._maker.make(request, outputs, outcome)
        except Damage as damage:
            outcome.damage.append(self._samples.record(request, damage))
        return outcome

    def _substitute(self) -> Batch:
        """A filler in place of a batch whose samples are all missing: every rank makes the same number of forwards."""
        plans = (Plan(0, 0, [self._request(i)], filler=True) for i in range(len(self._picked)))
        for made in self._pipeline.run(plans):
            if made.batch is not None:
                return made.batch
        raise DataError("not one sample can be read", where=self._sources.path(0), remedy=VERIFY)
