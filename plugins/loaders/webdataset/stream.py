"""Training and evaluation streams: which batches a rank makes, and what happens where samples are damaged."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

from drivetrain import Batch, DataError, DataSpec

from .checks import SEGMENTATION
from .order import Order, evaluation_share
from .pipeline import Made, Outcome, Pipeline, Plan, Request
from .reader import parse
from .samples import OpenSource, Outputs, SampleMaker, cameras_of
from .shards import Damage
from .sources import Sources

_ATTEMPTS = 32  # replacements that are tried for one damaged sample
_JUDGED_AFTER = 100  # samples, or one epoch of a smaller set: before that a share says nothing
_VERIFY = "`drivetrain data verify --full` lists what is damaged: restore it from a copy, or write the set again"


class _Samples:
    """Makes one requested sample: read, checked, decoded."""

    def __init__(self, spec: DataSpec, training: bool):
        sources = [OpenSource.open(source, spec) for source in spec.sources]
        self.sources = Sources(sources)
        self._maker = SampleMaker(spec, cameras_of(spec, sources), training)
        self.with_mask = SEGMENTATION in spec.tasks

    def make(self, request: Request, outputs: Outputs, outcome: Outcome) -> None:
        """Sets ``outcome.sample``. Raises Damage for bad bytes, OSError where reading fails, DataError for wrong labels."""
        source, shard = self.sources.find(request.shard)
        began = time.perf_counter()
        try:
            parts = source.shards.read(shard, request.place)
        finally:
            read = time.perf_counter()
            outcome.seconds_reading += read - began
        outcome.bytes += sum(map(len, parts.values()))
        try:
            where = source.shards.name(shard)
            frame = source.shards.layers.apply(parse(parts))
            outcome.sample = self._maker.make(frame, source, request.position, outputs, where)
        finally:
            outcome.seconds_decoding += time.perf_counter() - read

    def record(self, request: Request, damage: Damage) -> dict[str, Any]:
        """What the quarantine says of a damaged sample."""
        key, path = self.sources.key(request.shard, request.place), self.sources.path(request.shard)
        return {"key": key, "shard": path, "place": request.place, "position": request.position, "why": str(damage)}


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
    """One rank's micro-batches (`drivetrain.TrainingStream`). ``quarantine`` lists what was damaged, and goes as JSON
    lines to ``quarantine_path`` too where that is set. Raises DataError for an empty split."""

    def __init__(self, spec: DataSpec, cut: Cut, *, window: int, prefetch: int, max_damaged_share: float, threads: int,
                 pin: bool):  # fmt: skip
        self._samples, self._cut = _Samples(spec, training=True), cut
        self._sources = self._samples.sources
        if not len(self._sources):
            raise DataError("there is nothing to train on: the split is empty", where=", ".join(s.shards for s in spec.sources))
        self.order_id, self._seed, self._max_damaged_share = self._sources.order_id, spec.seed, max_damaged_share
        self._order = Order(self._sources.sizes, self.order_id, spec.seed, cut.slots, window, lanes=len(cut.own))
        self._pipeline = Pipeline(self._make, threads=threads, prefetch=prefetch, micro=cut.micro,
                                  with_mask=self._samples.with_mask, pin=pin)  # fmt: skip
        self.quarantine: list[dict[str, Any]] = []
        self.quarantine_path: Path | None = None

    def batches(self, step: int) -> Iterator[Batch]:
        plans = (self._plan(s, slot) for s in count(step) for slot in self._cut.own)
        for made in self._pipeline.run(plans):
            self._note_damage(made)
            assert made.batch is not None, "damaged samples are replaced"
            yield made.batch

    def keys(self, step: int) -> list[list[str]]:
        plans = (self._plan(step, slot) for slot in range(self._cut.slots))
        return [[self._sources.key(request.shard, request.place) for request in plan.requests] for plan in plans]

    def state(self, step: int) -> dict[str, Any]:
        return {
            "order_id": self.order_id, "seed": self._seed, "slots": self._cut.slots, "micro": self._cut.micro,
            "window": self._order.window, "samples": len(self._sources),
            "step": step, "position": step * self._cut.slots * self._cut.micro,
        }  # fmt: skip

    def check(self, state: Mapping[str, Any]) -> list[str]:
        mine = self.state(int(state.get("step", 0)))
        words = {
            "order_id": "the shard sets (order_id)", "seed": "the seed", "micro": "batch.micro", "window": "loader.window",
            "slots": "the micro-batches a step (batch.global / batch.micro)", "samples": "the number of samples",
        }  # fmt: skip
        return [
            f"{what}: {state.get(name)!r} when it was saved, {mine[name]!r} now"
            for name, what in words.items()
            if state.get(name) != mine[name]
        ]

    def counters(self) -> Mapping[str, float]:
        return dict(self._pipeline.counters)

    def close(self) -> None:
        self._pipeline.close()

    def _plan(self, step: int, slot: int) -> Plan:
        first, cut = step * self._cut.micro, self._cut
        shards, places = self._order.draw(slot, first, cut.micro)
        positions = range(first * cut.slots + slot, (first + cut.micro) * cut.slots + slot, cut.slots)
        return Plan(step, slot, [Request(*row) for row in zip(positions, shards.tolist(), places.tolist())])

    def _make(self, request: Request, outputs: Outputs) -> Outcome:
        """A damaged sample is replaced by another one of its pool; an IO failure or a wrong label is not."""
        outcome, tried = Outcome(), set[Request]()
        for attempt in range(_ATTEMPTS):
            if request not in tried:
                try:
                    self._samples.make(request, outputs, outcome)
                    return outcome
                except Damage as damage:
                    outcome.damage.append(self._samples.record(request, damage))
                    tried.add(request)
            request = Request(request.position, *self._order.replacement(request.position, attempt))
        last = outcome.damage[-1]
        raise DataError(f"{len(tried)} samples in a row are damaged, the last one {last['key']!r}: {last['why']}",
                        where=last["shard"], remedy=_VERIFY)  # fmt: skip

    def _note_damage(self, made: Made) -> None:
        """In the consumer's thread and order, so that a run stops at the same batch whatever its threads."""
        records = [record for outcome in made.outcomes for record in outcome.damage]
        if not records:
            return
        self.quarantine += records
        if self.quarantine_path is not None:
            with open(self.quarantine_path, "a") as file:
                file.writelines(json.dumps(record) + "\n" for record in records)
        counters = self._pipeline.counters
        seen, replaced = int(counters["samples"]), int(counters["replaced"])
        if seen >= min(_JUDGED_AFTER, len(self._sources)) and replaced > self._max_damaged_share * seen:
            raise DataError(
                f"{replaced} of {seen} samples were damaged, more than loader.max_damaged_share = {self._max_damaged_share:g}",
                where=records[-1]["shard"], remedy=f"the last one is {records[-1]['key']!r}: {records[-1]['why']}\n{_VERIFY}",
            )  # fmt: skip


class EvaluationStream:
    """One rank's share of a split in natural order, each sample exactly once over all ranks (`drivetrain.EvaluationStream`).

    Nothing is replaced: ``missing`` lists the keys of damaged samples of this rank.
    """

    def __init__(self, spec: DataSpec, cut: Cut, *, prefetch: int, threads: int, pin: bool):
        self._samples, self._micro = _Samples(spec, training=False), cut.micro
        self._sources = self._samples.sources
        batches = -(-len(self._sources) // cut.micro)
        self._share = evaluation_share(batches, cut.rank, cut.world)
        self._length = -(-batches // cut.world)
        self._pipeline = Pipeline(self._make, threads=threads, prefetch=prefetch, micro=cut.micro,
                                  with_mask=self._samples.with_mask, pin=pin)  # fmt: skip
        self.missing: list[str] = []

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[Batch]:
        self.missing = []
        again = self._share[-1] if self._share else 0  # a filler repeats the rank's last batch
        fillers = (self._plan(again, filler=True) for _ in range(self._length - len(self._share)))
        for made in self._pipeline.run(chain(map(self._plan, self._share), fillers)):
            if not made.plan.filler:
                self.missing += [record["key"] for outcome in made.outcomes for record in outcome.damage]
            yield self._substitute() if made.batch is None else made.batch

    def counters(self) -> Mapping[str, float]:
        return dict(self._pipeline.counters)

    def close(self) -> None:
        self._pipeline.close()

    def _plan(self, number: int, filler: bool = False) -> Plan:
        samples = range(number * self._micro, min((number + 1) * self._micro, len(self._sources)))
        return Plan(0, number, [Request(i, *self._sources.locate(i)) for i in samples], filler)

    def _make(self, request: Request, outputs: Outputs) -> Outcome:
        outcome = Outcome()
        try:
            self._samples.make(request, outputs, outcome)
        except Damage as damage:
            outcome.damage.append(self._samples.record(request, damage))
        return outcome

    def _substitute(self) -> Batch:
        """A filler in place of a batch whose samples are all missing: every rank makes the same number of forwards."""
        numbers = range(len(self._sources))
        plans = (Plan(0, 0, [Request(i, *self._sources.locate(i))], filler=True) for i in numbers)
        for made in self._pipeline.run(plans):
            if made.batch is not None:
                return made.batch
        raise DataError("not one sample can be read", where=self._sources.path(0), remedy=_VERIFY)
