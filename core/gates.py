"""Gates: what a recipe's figures must reach, whole or on a slice, on their own or against a reference run.

A gate is *passed*, *failed* or *undecided*. It is undecided below ``min_n`` frames or ``min_objects`` objects, where there is
nothing to be scored, where a comparison was not made, and where the change is more than is allowed but its interval is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from .contracts import Metric, Scored
from .errors import DataError, RecipeError, near_matches
from .recipe import Recipe
from .recipe_schema import Gate
from .scoring import flat, resamples
from .slices import Slices, can_be_sliced

PASSED, FAILED, UNDECIDED = "passed", "failed", "undecided"
Interval = tuple[float | None, float | None]
UNKNOWN: Interval = (None, None)


@dataclass(frozen=True)
class Verdict:
    """``what``: the figure's name; ``interval`` and ``change_interval``: the ends of 95 % of a bootstrap over scenes, of the
    ``value`` and of its ``change`` against the ``reference``; ``why``: in words."""

    gate: str
    what: str
    verdict: str = UNDECIDED
    why: str = ""
    value: float | None = None
    interval: Interval = UNKNOWN
    frames: int = 0
    objects: int | None = None
    reference: float | None = None
    change: float | None = None
    change_interval: Interval = UNKNOWN

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


# ---------------------------------------------------------------- what they are of


def check_gates(recipe: Recipe, metrics: Mapping[str, Metric]) -> None:
    """``metrics`` that have seen nothing yet. Raises RecipeError for a figure that they do not have, for a slice or a change
    of one whose frames cannot be told apart, and for objects that it does not count."""
    for name, gate in recipe.gates.items():
        metric, place = metrics[gate.metric or name], recipe.where(f"gates.{name}")
        apart = gate.slice is not None or gate.compares
        if apart and not can_be_sliced(metric):
            raise RecipeError(f"{gate.metric or name} knows its frames as a whole alone: no slice, no change of it can be told",
                              where=place, remedy="its plugin needs the method scored()")  # fmt: skip
        if gate.figure is None and gate.min_objects is None:
            continue
        figures = metric.compute()
        known = named_figures(figures)
        if gate.figure is not None and gate.figure not in known:
            raise RecipeError(f"{gate.metric or name} has no figure {gate.figure!r}", where=place,
                              near=near_matches(gate.figure, known), remedy=f"figures: {', '.join(known)}")  # fmt: skip
        if gate.min_objects is not None and "objects" not in figures:
            raise RecipeError(f"{gate.metric or name} counts no objects", where=place, remedy="min_n counts frames")


def named_figures(figures: Mapping[str, Any]) -> dict[str, float | None]:
    """Numbers by their names, joined by dots."""
    return {".".join(path): value for path, value in flat(figures) if not isinstance(value, str)}


@dataclass(frozen=True)
class _Asked:
    """A gate with the metric's entry and the name of its figure."""

    name: str
    gate: Gate
    entry: str
    figure: str

    @property
    def what(self) -> str:
        figure = self.entry if self.gate.figure is None else f"{self.entry} {self.figure}"
        return figure if self.gate.slice is None else f"{figure} on {self.gate.slice}"


def _asked(recipe: Recipe) -> list[_Asked]:
    entries = [(name, gate, gate.metric or name) for name, gate in recipe.gates.items()]
    own = {entry: chosen.found.declaration.name for entry, chosen in recipe.metrics.items()}
    return [_Asked(name, gate, entry, gate.figure or own[entry]) for name, gate, entry in entries]


# ---------------------------------------------------------------- verdicts


def judge(recipe: Recipe, results: Mapping[str, Any]) -> list[Verdict]:
    """From the figures of an evaluation alone (`drivetrain.evaluate`): without intervals and without a reference."""
    return [_of_results(asked, results) for asked in _asked(recipe)]


def _of_results(asked: _Asked, results: Mapping[str, Any]) -> Verdict:
    part = asked.gate.slice
    figures = (results if part is None else results.get("slices", {}).get(part, {})).get(asked.entry)
    if figures is not None:
        return _judged(asked, _found(asked, figures))
    if part is None:
        return Verdict(asked.name, asked.what, FAILED, "was never evaluated")
    return Verdict(asked.name, asked.what, UNDECIDED, "the slice was not evaluated: drivetrain eval RUN")


def _found(asked: _Asked, figures: Mapping[str, Any]) -> Verdict:
    objects = figures.get("objects")
    if objects is not None:
        named = [part for part in asked.figure.split(".") if part in objects]
        objects = objects[named[0]] if named else sum(objects.values())
    value = named_figures(figures).get(asked.figure)
    return Verdict(asked.name, asked.what, value=value, frames=figures.get("frames", 0), objects=objects)


def _judged(asked: _Asked, found: Verdict) -> Verdict:
    verdict, why = _decide(asked.gate, found)
    return replace(found, verdict=verdict, why=why)


def _decide(gate: Gate, found: Verdict) -> tuple[str, str]:
    if found.frames < gate.min_n:
        return UNDECIDED, f"{found.frames} frames, min_n is {gate.min_n}"
    if gate.min_objects is not None and (found.objects or 0) < gate.min_objects:
        return UNDECIDED, f"{found.objects} objects, min_objects is {gate.min_objects}"
    if found.value is None:
        return UNDECIDED, "nothing is there to be scored"
    if gate.min is not None and not found.value >= gate.min:
        return FAILED, f"below min {gate.min:g}"
    if gate.max is not None and not found.value <= gate.max:
        return FAILED, f"above max {gate.max:g}"
    return _decide_change(gate, found) if gate.compares else (PASSED, "")


def _decide_change(gate: Gate, found: Verdict) -> tuple[str, str]:
    """By how much the figure is worse: it fails where all of the interval is more than is allowed."""
    if found.reference is None:
        return UNDECIDED, "no reference: drivetrain eval RUN --against RUN"
    low, high = found.change_interval
    if found.change is None or low is None or high is None:
        return UNDECIDED, "an interval needs two scenes or more"
    for name, allowed, change, least in (("max_drop", gate.max_drop, -found.change, -high),
                                         ("max_rise", gate.max_rise, found.change, low)):  # fmt: skip
        if allowed is not None and change > allowed:
            more = f"more than {name} {allowed:g}"
            return (FAILED, more) if least > allowed else (UNDECIDED, f"{more}, but its interval is not")
    return PASSED, ""


# ---------------------------------------------------------------- with intervals


def judge_closely(recipe: Recipe, results: Mapping[str, Any], scored: Mapping[str, Scored],
                  reference: Mapping[str, Scored] | None, slices: Slices, draws: int, seed: int,
                  progress: Callable[[], Any] = lambda: None) -> list[Verdict]:  # fmt: skip
    """With intervals of ``draws`` resamples of scenes, the same for both runs, where ``scored`` has the metric. ``progress`` is
    called once a draw and group of gates (`groups`). Raises DataError where the reference saw other frames."""
    out = {one.gate: one for one in judge(recipe, results)}
    for (entry, part), group in groups(recipe).items():
        if entry in scored:
            pair = [side[entry] for side in (scored, reference) if side is not None]
            check_same_frames(pair)
            found = _group(group, pair, slices.times(pair[0], part), draws, seed, progress)
            out |= {asked.name: _judged(asked, one) for asked, one in zip(group, found)}
    return list(out.values())


def groups(recipe: Recipe) -> dict[tuple[str, str | None], list[_Asked]]:
    """(metric's entry, slice) -> the gates on it."""
    out: dict[tuple[str, str | None], list[_Asked]] = {}
    for asked in _asked(recipe):
        out.setdefault((asked.entry, asked.gate.slice), []).append(asked)
    return out


def check_same_frames(pair: list[Scored]) -> None:
    if any(list(one.keys) != list(pair[0].keys) for one in pair[1:]):
        differ = sorted(set(pair[0].keys) ^ set(pair[1].keys))
        raise DataError(f"the two runs were evaluated on other frames: {', '.join(differ[:3]) or 'other cameras'}",
                        remedy="evaluate both on the same shards, all of which can be read")  # fmt: skip


def _group(group: list[_Asked], pair: list[Scored], times: np.ndarray, draws: int, seed: int,
           progress: Callable[[], Any]) -> list[Verdict]:  # fmt: skip
    """What was found of gates on one metric and slice."""
    sides = [one.figures(times) for one in pair]
    drawn: list[list[dict[str, Any]]] = []
    scenes = np.unique(pair[0].scenes, return_inverse=True)[1]
    if len(np.unique(scenes[times > 0])) > 1:
        for again in resamples(times, scenes, draws, seed):
            drawn.append([named_figures(one.figures(again)) for one in pair])
            progress()
    return [_with_intervals(asked, sides, drawn) for asked in group]


def _with_intervals(asked: _Asked, sides: list[dict[str, Any]], drawn: list[list[dict[str, Any]]]) -> Verdict:
    found = _found(asked, sides[0])
    found = replace(found, interval=_interval(of[0].get(asked.figure) for of in drawn))
    if len(sides) == 1:
        return found
    theirs = named_figures(sides[1]).get(asked.figure)
    change = None if found.value is None or theirs is None else found.value - theirs
    changes = ((one.get(asked.figure), other.get(asked.figure)) for one, other in drawn)
    between = _interval(None if one is None or other is None else one - other for one, other in changes)
    return replace(found, reference=theirs, change=change, change_interval=between)


def _interval(values: Iterable[float | None]) -> Interval:
    known = [value for value in values if value is not None]
    if not known:
        return UNKNOWN
    low, high = np.percentile(known, (2.5, 97.5)).tolist()
    return low, high


# ---------------------------------------------------------------- for people


def table(verdicts: Iterable[Verdict]) -> list[str]:
    """A line a gate under a head, columns aligned."""
    rows = [["gate", "verdict", "figure", "value", "95 % interval", "change", "95 % interval", "frames", "objects", ""]]
    rows += [_row(one) for one in verdicts]
    kept = [k for k in range(len(rows[0])) if any(row[k] for row in rows[1:])]
    wide = {k: max(len(row[k]) for row in rows) for k in kept}
    return ["  ".join(row[k].ljust(wide[k]) for k in kept).rstrip() for row in rows]


def _row(one: Verdict) -> list[str]:
    number = lambda value, form: "" if value is None else format(value, form)
    between = lambda ends, form: "" if ends[0] is None else f"[{ends[0]:{form}}, {ends[1]:{form}}]"
    return [one.gate, one.verdict, one.what, number(one.value, ".4f") or "-", between(one.interval, ".4f"),
            number(one.change, "+.4f"), between(one.change_interval, "+.4f"), str(one.frames), number(one.objects, "d"),
            one.why]  # fmt: skip
