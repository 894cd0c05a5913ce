"""Trials and what happens to them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

WAITING, RUNNING, PAUSED = "waiting", "running", "paused"
COMPLETE, PRUNED, OUT_OF_MEMORY, DIVERGED, INFEASIBLE, CRASHED = (
    "complete", "pruned", "out of memory", "diverged", "infeasible", "crashed",
)  # fmt: skip
OUTCOMES = (COMPLETE, PRUNED, OUT_OF_MEMORY, DIVERGED, INFEASIBLE, CRASHED)
FAILURES = (OUT_OF_MEMORY, DIVERGED, INFEASIBLE, CRASHED)
REACHED, LEFT = "reached", "left"
"""How a job ends well: at the step it was to reach, or where it was told to leave, with all saved."""
NO_SPACE = "no space"
"""How a job ends that could not write: so would all others, and its trial goes on once there is room."""

LossVector = tuple[float, ...]
"""An objective each, the less the better."""


@dataclass
class Trial:
    """``number`` counts from 0. ``values``: of the space's active parameters. ``origin``: who proposed it. ``step``: the
    furthest step with figures on record. ``until``: the step up to which it may go now. ``attempt``: starts that came to
    nothing, in a row. ``curve``: (step, losses), as evaluated. ``weights``: (trial, step) whose weights it began with or went
    on from, if those are another's, in its latest ``life``. ``why``: its outcome in words."""

    number: int
    values: Mapping[str, Any]
    origin: str
    state: str = WAITING
    step: int = 0
    until: int = 0
    attempt: int = 0
    figures: dict[str, float | None] = field(default_factory=dict)
    curve: list[tuple[int, LossVector]] = field(default_factory=list)
    weights: tuple[int, int] | None = None
    life: int = 0
    why: str = ""

    @property
    def losses(self) -> LossVector | None:
        """At the furthest step."""
        return self.curve[-1][1] if self.curve else None

    def losses_at(self, step: int) -> LossVector | None:
        return next((losses for at, losses in reversed(self.curve) if at == step), None)


@dataclass(frozen=True)
class Job:
    """What an executor is to run: a trial from where its checkpoints stand, or from another's ``weights`` (trial, step), up to
    the step ``until``. ``life`` counts how often it began anew, with other values or weights."""

    number: int
    values: Mapping[str, Any]
    until: int
    attempt: int = 0
    weights: tuple[int, int] | None = None
    life: int = 0


@dataclass(frozen=True)
class Report:
    """Figures of an evaluation after ``step``."""

    number: int
    step: int
    figures: Mapping[str, float | None]


@dataclass(frozen=True)
class Ended:
    """A trial's job is gone, all of it: ``how`` is REACHED, LEFT, NO_SPACE or one of FAILURES."""

    number: int
    how: str
    why: str = ""


Event = Report | Ended


@dataclass(frozen=True)
class Move:
    """A paused trial goes on to ``until``; with other ``values``, and from another's ``weights`` (trial, step), if given."""

    number: int
    until: int
    values: Mapping[str, Any] | None = None
    weights: tuple[int, int] | None = None


@dataclass(frozen=True)
class Objectives:
    """What is searched for: figure -> ``max`` or ``min``; and limits (least, most) that some figures must keep."""

    directions: Mapping[str, str]
    limits: Mapping[str, tuple[float | None, float | None]] = field(default_factory=dict)

    def losses(self, figures: Mapping[str, float | None]) -> LossVector | None:
        """None where one is missing or no number."""
        values = [figures.get(name) for name in self.directions]
        if any(v is None or not math.isfinite(v) for v in values):
            return None
        return tuple(-v if d == "max" else v for v, d in zip(values, self.directions.values()))  # type: ignore[operator,misc]

    def violation(self, figures: Mapping[str, float | None]) -> float:
        """By how much limits are passed, each as a share of itself, in all; 0: none is. A limited figure that is missing passes
        it without end."""
        total = 0.0
        for name, (least, most) in self.limits.items():
            value = figures.get(name)
            if value is None:
                return math.inf
            total += max(0.0, least - value) / (abs(least) or 1.0) if least is not None else 0.0
            total += max(0.0, value - most) / (abs(most) or 1.0) if most is not None else 0.0
        return total

    def kept(self) -> str:
        """The limits in words; nothing where there are none."""
        limits = self.limits.items()
        parts = ((f"{a:g} <= " if a is not None else "", n, f" <= {b:g}" if b is not None else "") for n, (a, b) in limits)
        return ", ".join(map("".join, parts))

    def shown(self, losses: LossVector) -> dict[str, float]:
        """LossVector as figures again."""
        return {name: -v if d == "max" else v for v, (name, d) in zip(losses, self.directions.items())}
