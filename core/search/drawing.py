"""Plots as SVG text, for a page that needs nothing else: scales, axes, marks. Colours are the page's CSS."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from .space import Parameter

CHARACTER_PX = 6.2
"""Of the axes' letters, on the average."""
Tick = tuple[float, str]


@dataclass(frozen=True)
class Scale:
    """Numbers from ``low`` to ``high`` to pixels from ``start`` to ``end``; what lies beyond is drawn at the edge."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def at(self, value: float) -> float:
        low, high, x = (math.log(v) if self.log else v for v in (self.low, self.high, min(max(value, self.low), self.high)))
        return self.start + (self.end - self.start) * ((x - low) / (high - low) if high > low else 0.5)

    def ticks(self, most: int = 5) -> list[Tick]:
        found = _log_ticks(self.low, self.high, most) if self.log else _even_ticks(self.low, self.high, most)
        return [(self.at(v), f"{v:.4g}") for v in found]


@dataclass(frozen=True)
class Choices:
    """Each of ``values`` at the middle of its share of the pixels from ``start`` to ``end``."""

    values: tuple[Any, ...]
    start: float
    end: float

    def at(self, value: Any) -> float:
        index = next(n for n, known in enumerate(self.values) if known == value and type(known) is type(value))
        return self.start + (self.end - self.start) * (index + 0.5) / len(self.values)

    def ticks(self, most: int = 12) -> list[Tick]:
        every = -(-len(self.values) // most)
        return [(self.at(v), self._label(v)) for v in self.values[::every]]

    def _label(self, value: Any) -> str:
        """Of a mapping, what is not the same in all others: the head of a long one tells little."""
        if not isinstance(value, dict):
            return _plain(value)
        others = [other for other in self.values if isinstance(other, dict)]
        own = [one for key, one in value.items() if any(key not in o or o[key] != one for o in others)]
        return " ".join(map(_plain, own)) or _plain(value)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def scale_of(parameter: Parameter, start: float, end: float) -> Scale | Choices:
    if parameter.choices:
        return Choices(parameter.choices, start, end)
    return Scale(parameter.low, parameter.high, start, end, parameter.log)


def scale_over(values: Sequence[float], start: float, end: float, best_low: bool | None = None) -> Scale:
    """A scale over ``values``. ``best_low``: which end is the good one; at the other end a few that lie far off are not what
    the scale is for."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    if best_low is not None and len(values) >= 5:
        ordered = sorted(values, reverse=not best_low)
        far = ordered[0] + 1.6 * (ordered[int(0.85 * (len(values) - 1))] - ordered[0])
        low, high = (low, min(high, far)) if best_low else (max(low, far), high)
    margin = 0.04 * (high - low) or 0.05 * abs(low) or 1.0
    return Scale(low - margin, high + margin, start, end)


@dataclass
class Chart:
    """An SVG picture of ``width`` x ``height`` pixels, whose marks are appended to ``parts``."""

    width: float
    height: float
    title: str

    def __post_init__(self):
        self.parts: list[str] = []

    def dot(self, x: float, y: float, trial: int, look: str, radius: float = 3.5) -> None:
        self.parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:g}" class="{look}" data-t="{trial}"/>')

    def cross(self, x: float, y: float, trial: int, look: str) -> None:
        arms = f"M{x - 3:.1f} {y - 3:.1f}l6 6m0 -6l-6 6"
        self.parts.append(f'<path d="{arms}" class="mark {look}" data-t="{trial}"/>')

    def line(self, points: Iterable[tuple[float, float]], look: str, trial: int | None = None) -> None:
        of = "" if trial is None else f' data-t="{trial}"'
        placed = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(f'<path d="M{placed}" class="line {look}"{of}/>')

    def text(self, x: float, y: float, text: str, look: str = "", anchor: str = "middle", most: int = 60) -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="{look}">{_short(text, most)}</text>')

    def x_axis(self, scale: Scale | Choices, y: float, label: str, grid_to: float | None = None) -> None:
        ticks = scale.ticks()
        room = int(abs(scale.end - scale.start) / max(1, len(ticks)) / CHARACTER_PX)
        for x, text in ticks:
            self._grid(x, y, x, y + 4 if grid_to is None else grid_to)
            self.text(x, y + 15, text, most=max(6, room))
        self.text((scale.start + scale.end) / 2, y + 32, label, "label", most=int(self.width / CHARACTER_PX))

    def y_axis(self, scale: Scale | Choices, x: float, label: str, grid_to: float | None = None) -> None:
        for y, text in scale.ticks():
            self._grid(x, y, x - 4 if grid_to is None else grid_to, y)
            self.text(x - 7, y + 4, text, anchor="end", most=12)
        self.text(4, 12, label, "label", "start", most=int(self.width / CHARACTER_PX))

    def _grid(self, x1: float, y1: float, x2: float, y2: float) -> None:
        self.parts.append(f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" class="grid"/>')

    def svg(self) -> str:
        box = f'viewBox="0 0 {self.width:g} {self.height:g}"'
        return f'<svg {box} style="max-width:{1.15 * self.width:.0f}px" role="img" aria-label="{escape(self.title)}">' \
               f"{''.join(self.parts)}</svg>"  # fmt: skip


def broken(name: str, most: int) -> list[str]:
    """A dotted name in lines of at most ``most`` characters where its parts allow it."""
    lines = [""]
    for part in (name + ".").replace("_", "_\0").replace(".", ".\0").split("\0"):
        if lines[-1] and len(lines[-1]) + len(part) > most:
            lines.append("")
        lines[-1] += part
    lines[-1] = lines[-1].removesuffix(".")
    return [line for line in lines if line]


def _short(text: str, most: int) -> str:
    if len(text) <= most:
        return escape(text)
    return f"{escape(text[: most - 1])}…<title>{escape(text)}</title>"


def _even_ticks(low: float, high: float, most: int) -> list[float]:
    rough = (high - low) / most
    if rough <= 0:
        return [low]
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * m for m in (1, 2, 5, 10) if power * m >= rough)
    return [n * step for n in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float, most: int) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for digits in ((1, 2, 5), (1, 3), (1,)):
        found = [m * 10.0**p for p in powers for m in digits if low * 0.999 <= m * 10.0**p <= high * 1.001]
        if len(found) <= most + 1:
            break
    found = found[:: max(1, -(-len(found) // (most + 1)))]
    return found if len(found) > 1 else [low, high]
