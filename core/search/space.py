"""What a study searches: parameters of a recipe, their values, and when they count."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from decimal import Decimal
from functools import cached_property
from typing import Any

from ..errors import UserError, near_matches
from ..seeding import Rng

Values = Mapping[str, Any]
"""Parameter -> value, of those that are active."""


@dataclass(frozen=True)
class Parameter:
    """One key of the recipe: one of ``choices``, or a number from ``low`` to ``high`` (both are possible), even in its
    logarithm where it is ``log``, only every ``step``-th. It is active where each key in ``when`` has one of its values."""

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 1.0
    log: bool = False
    step: float | None = None
    integer: bool = False
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()

    @cached_property
    def size(self) -> int | None:
        """How many values there are; None: any number in a range."""
        if self.choices:
            return len(self.choices)
        step = self.step or (1 if self.integer else None)
        return None if step is None else 1 + math.floor((self.high - self.low) / step + 1e-9)

    @cached_property
    def is_ordered(self) -> bool:
        """Whether neighbours are alike: numbers that rise or fall, as choices too."""
        if not self.choices:
            return True
        if any(isinstance(c, bool) or not isinstance(c, (int, float)) for c in self.choices):
            return False
        return list(self.choices) in (sorted(self.choices), sorted(self.choices, reverse=True))

    def at(self, unit: float) -> Any:
        """The value at ``unit``, from 0 to 1: each of a few values has the same share, but for integers on a log scale."""
        unit = min(max(unit, 0.0), 1.0)
        if self.size is None or self.log:
            return self._in_range(self._warped(unit))
        return self._nth(min(int(unit * self.size), self.size - 1))

    def unit(self, value: Any) -> float:
        """Where ``value`` lies from 0 to 1, in the middle of its share."""
        if self.size is None or self.log:
            low, high = self._ends()
            return (math.log(value) - low) / (high - low) if self.log else (value - low) / (high - low)
        index = self.choices.index(value) if self.choices else round((value - self.low) / (self.step or 1))
        return (index + 0.5) / self.size

    def admits(self, value: Any) -> bool:
        if self.choices:
            return any(value == c and type(value) is type(c) for c in self.choices)
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.low <= value <= self.high:
            return False
        step = self.step or (1 if self.integer else None)
        return step is None or abs((value - self.low) / step - round((value - self.low) / step)) < 1e-6

    def nearest(self, value: Any) -> Any:
        """The value of the range next to a number, as all others write it: 0.3 rather than 0.30000000000000004, 1.0 rather
        than 1. A choice is what it is."""
        if self.choices:
            return value
        if self.size is None:
            return float(min(max(value, self.low), self.high))
        return self._nth(min(max(round((value - self.low) / (self.step or 1)), 0), self.size - 1))

    def every_value(self) -> Iterator[Any]:
        """All values of one that has a `size`."""
        assert self.size is not None
        yield from map(self._nth, range(self.size))

    def told(self) -> str:
        if self.choices:
            return "one of " + ", ".join(json.dumps(c) for c in self.choices)
        step = f" in steps of {self.step:g}" if self.step else ""
        return f"{'an integer' if self.integer else 'a number'} from {self.low:g} to {self.high:g}{step}"

    def _ends(self) -> tuple[float, float]:
        half = 0.5 if self.log and self.integer else 0.0  # so that the first and the last integer have a whole share
        ends = (self.low - half, self.high + half)
        return (math.log(ends[0]), math.log(ends[1])) if self.log else ends

    def _warped(self, unit: float) -> float:
        low, high = self._ends()
        value = low + unit * (high - low)
        return math.exp(value) if self.log else value

    def _nth(self, index: int) -> Any:
        """Of one that has a `size`, by decimal arithmetic: in binary one, 3 steps of 0.1 are not 0.3."""
        if self.choices:
            return self.choices[index]
        if self.integer:
            return round(self.low + index * (self.step or 1))
        return float(Decimal(str(self.low)) + index * Decimal(str(self.step)))

    def _in_range(self, value: float) -> Any:
        value = float(f"{value:.6g}") if self.log and not self.integer else value
        value = min(max(value, self.low), self.high)
        return round(value) if self.integer else float(value)


@dataclass(frozen=True)
class Space:
    """Parameters, those that others depend on first. Raises UserError for conditions on what is none, and for circles."""

    parameters: tuple[Parameter, ...]
    _by_name: dict[str, Parameter] = field(init=False, repr=False, compare=False)

    def __post_init__(self):
        object.__setattr__(self, "parameters", tuple(_in_order(self.parameters)))
        object.__setattr__(self, "_by_name", {p.name: p for p in self.parameters})

    def __getitem__(self, name: str) -> Parameter:
        return self._by_name[name]

    @cached_property
    def size(self) -> int | None:
        """How many points there are, each counted once whatever is inactive in it; None: very many, or endless."""
        bound = math.prod(p.size if p.size is not None else 10**9 for p in self.parameters)
        if bound > 10**6:
            return None
        return sum(1 for _ in self.every_point()) if any(p.when for p in self.parameters) else bound

    def active(self, values: Values) -> Iterator[Parameter]:
        """The parameters that count, given the ``values`` of those before each."""
        for parameter in self.parameters:
            if self.is_active(parameter, values):
                yield parameter

    def is_active(self, parameter: Parameter, values: Values) -> bool:
        return all(name in values and _among(values[name], wanted) for name, wanted in parameter.when)

    def fill(self, units: Mapping[str, float]) -> dict[str, Any]:
        """The point with each parameter `Parameter.at` its number from 0 to 1; those that are inactive are left out."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.is_active(parameter, values):
                values[parameter.name] = parameter.at(units[parameter.name])
        return values

    def draw(self, rng: Rng, fixed: Values | None = None) -> dict[str, Any]:
        """A random point, with the values of ``fixed`` where they are active."""
        values: dict[str, Any] = {}
        for parameter in self.parameters:
            if self.is_active(parameter, values):
                name, is_fixed = parameter.name, fixed is not None and parameter.name in fixed
                values[name] = parameter.nearest(fixed[name]) if is_fixed else parameter.at(rng.uniform())  # type: ignore[index]
        return values

    def every_point(self) -> Iterator[dict[str, Any]]:
        """All points of a space where each parameter has a `Parameter.size`, in order."""
        return self._points({}, 0)

    def _points(self, values: dict[str, Any], depth: int) -> Iterator[dict[str, Any]]:
        if depth == len(self.parameters):
            yield dict(values)
            return
        parameter = self.parameters[depth]
        if not self.is_active(parameter, values):
            yield from self._points(values, depth + 1)
            return
        for value in parameter.every_value():
            yield from self._points({**values, parameter.name: value}, depth + 1)

    def check(self, values: Values, where: str) -> None:
        """Raises UserError for a point that is not of this space; parameters may be missing."""
        for name, value in values.items():
            if name not in self._by_name:
                raise UserError(f"no parameter {name!r} in the space", where=where, near=near_matches(name, self._by_name))
            if not self[name].admits(value):
                raise UserError(f"{name}: expected {self[name].told()}, not {json.dumps(value)}", where=where)
            for other, wanted in self[name].when:
                if other in values and not _among(values[other], wanted):
                    raise UserError(f"{name} counts only with {other} {' or '.join(map(json.dumps, wanted))}", where=where)


def space_as_json(space: Space) -> list[dict[str, Any]]:
    """As a study's journal keeps it."""
    return [asdict(parameter) for parameter in space.parameters]


def space_from(written: Iterable[Mapping[str, Any]]) -> Space:
    """What `space_as_json` gave."""
    parts = ({**p, "choices": tuple(p["choices"]), "when": tuple((k, tuple(v)) for k, v in p["when"])} for p in written)
    return Space(tuple(Parameter(**part) for part in parts))


def key_of(values: Values) -> str:
    """Equal for equal points."""
    return json.dumps(values, sort_keys=True)


def _among(value: Any, wanted: Iterable[Any]) -> bool:
    return any(value == w and isinstance(value, bool) == isinstance(w, bool) for w in wanted)


def _in_order(parameters: Sequence[Parameter]) -> Iterator[Parameter]:
    names = [p.name for p in parameters]
    placed: set[str] = set()
    known = {p.name: p for p in parameters}
    left = []
    for parameter in parameters:
        for name, wanted in parameter.when:
            _check_condition(parameter, name, wanted, known, names)
        when = tuple((name, tuple(map(known[name].nearest, wanted))) for name, wanted in parameter.when)
        left.append(replace(parameter, when=when))
    while left:
        ready = [p for p in left if all(name in placed for name, _ in p.when)]
        if not ready:
            raise UserError("conditions go in a circle", where=f"search.space.{left[0].name}.when")
        yield from ready
        placed |= {p.name for p in ready}
        left = [p for p in left if p.name not in placed]


def _check_condition(parameter: Parameter, name: str, wanted: Iterable[Any], known: Mapping[str, Parameter],
                     names: Sequence[str]) -> None:  # fmt: skip
    where = f"search.space.{parameter.name}.when"
    if name not in known:
        raise UserError(f"no parameter {name!r} in the space", where=where, near=near_matches(name, names))
    for value in wanted:
        if not known[name].admits(value):
            raise UserError(f"{name} is never {json.dumps(value)}", where=where, remedy=f"it is {known[name].told()}")
