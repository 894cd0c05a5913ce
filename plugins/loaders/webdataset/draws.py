"""What each slot draws, as one order or as a blend, and the state from which a later run goes on exactly."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np

from drivetrain import DataSpec, RecipeError, hash_key

from .blend import BLOCK, Blend, Segment, segments_of, shares
from .lines import Line
from .order import Order
from .sources import Picked, Sources

_ALL = "all"  # the one line of sources without weights
_WORDS = {
    "seed": "the seed", "micro": "batch.micro", "window": "loader.window",
    "slots": "the micro-batches a step (batch.global / batch.micro)",
}  # fmt: skip


class Draws:
    """Sources without weights are one line of shards, sources with weights a line each, blended."""

    def __init__(self, sources: Sources, spec: DataSpec, slots: int, micro: int, window: int, lanes: int):
        self._settings = {"seed": spec.seed, "slots": slots, "micro": micro, "window": window}
        weights = {source.name: source.weight for source in spec.sources if source.weight is not None}
        members = (
            {source.name: [i] for i, source in enumerate(spec.sources)} if weights else {_ALL: [*range(len(spec.sources))]}
        )

        def order(picked: Picked) -> Order:
            return Order(picked.sizes, picked.order_id, spec.seed, slots, window, lanes)

        self._lines = {
            name: Line(partial(sources.pick, own), [sources.sources[i].shards.shards for i in own], order)
            for name, own in members.items()
        }
        self._history: list[tuple[int, dict[str, float]]] = [(0, weights)]
        self._blend: Blend | None = None
        if weights:
            _check_weights(weights, spec)
            self._blend = Blend([*self._lines.values()], self._segments(), spec.seed, slots, micro, lanes)

    @property
    def order_id(self) -> str:
        ids = [line.newest.order_id for line in self._lines.values()]
        return ids[0] if self._blend is None else f"{hash_key(*ids):016x}"

    @property
    def joined(self) -> int:
        """How many slots share one pool: more than one where there are few shards."""
        return max(line.joined for line in self._lines.values())

    def __len__(self) -> int:
        """The samples that are drawn from, those that are drawn several times counted so."""
        return sum(len(line.newest) for line in self._lines.values())

    def draw(self, slot: int, start: int, count: int) -> tuple[np.ndarray, np.ndarray]:
        """Places ``start`` to ``start + count`` of ``slot``: shards, counted through all sources, and places in them."""
        return (self._blend or self._lines[_ALL]).draw(slot, start, count)

    def replacement(self, position: int, attempt: int, of: int = 0) -> tuple[int, int]:
        """Another sample from where ``position`` is drawn, chosen by hash(position, attempt); ``of`` as in
        `Order.replacement`."""
        return (self._blend or self._lines[_ALL]).replacement(position, attempt, of)

    # ---- going on

    def state(self, step: int) -> dict[str, Any]:
        history = {} if self._blend is None else {"weights": [[first, weights] for first, weights in self._history]}
        return {
            **self._settings, "order_id": self.order_id, "samples": len(self), "step": step,
            "position": step * self._settings["slots"] * self._settings["micro"],
            "lines": {name: line.state() for name, line in self._lines.items()}, **history,
        }  # fmt: skip

    def resume(self, state: Mapping[str, Any], replay: bool = False) -> list[str]:
        """`drivetrain.TrainingStream.resume`."""
        lines = state.get("lines", {})
        wrong = [
            f"{what}: {state.get(name)!r} when it was saved, {self._settings[name]!r} now"
            for name, what in _WORDS.items()
            if state.get(name) != self._settings[name]
        ]
        if not lines or list(lines) != [name for name in self._lines if name in lines]:
            wrong.append(f"the sources: {_listed(lines)} when it was saved, {_listed(self._lines)} now")
        found = {name: self._lines[name].restored(saved) for name, saved in lines.items() if name in self._lines}
        wrong += [f"the shards of {name}: {said}" for name, said in found.items() if isinstance(said, str)]
        if wrong:
            return wrong
        for name, generations in found.items():
            assert not isinstance(generations, str)
            self._lines[name].go_on(generations)
        self._go_on(state, replay)
        return []

    def _go_on(self, state: Mapping[str, Any], replay: bool) -> None:
        step, now = int(state["step"]), self._history[-1][1]
        if self._blend is not None:
            self._history = [(int(first), dict(weights)) for first, weights in state["weights"]]
            if not replay and now != self._history[-1][1]:
                self._history = [entry for entry in self._history if entry[0] < step] + [(step, now)]
            self._blend.change(self._segments())
        if not replay:
            positions = [int(state["position"])] if self._blend is None else self._blend.positions(step).tolist()
            for line, position in zip(self._lines.values(), positions):
                line.grow(position)

    def _segments(self) -> list[Segment]:
        return segments_of(self._history, [*self._lines])


def _check_weights(weights: Mapping[str, float], spec: DataSpec) -> None:
    for source in spec.sources:
        if source.name not in weights:
            raise RecipeError(f"source {source.name!r} has no weight, others have", where=source.where)
    if not sum(weights.values()):
        raise RecipeError("all weights are 0", where=spec.sources[0].where)
    for source, share in zip(spec.sources, shares([*weights.values()])):
        if weights[source.name] and not share:
            raise RecipeError(f"source {source.name!r} has less than 1/{BLOCK} of the weights: it would never be drawn",
                              where=source.where, remedy="raise its weight, or set it to 0")  # fmt: skip


def _listed(names: Mapping[str, Any] | Sequence[str]) -> str:
    return "one order" if list(names) == [_ALL] else f"a blend of {', '.join(names)}" if names else "none"
