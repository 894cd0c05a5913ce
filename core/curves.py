"""A run's curves as one picture: small multiples over steps, from the records of its ``metrics.jsonl``."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

_COLUMNS, _CELL = 3, (4.2, 2.6)  # inches
_NOT_FIGURES = {"step", "time", "frames", "objects", "counts", "errors", "slices", "cost"}
_SMOOTH_FROM = 50  # points; beyond it a running mean is drawn over a pale raw curve
_LABELLED = 12  # lines of one plot that fit into its legend

Lines = dict[str, list[tuple[int, float]]]
"""Name of a line -> its (step, value), in the order of steps."""


def draw_curves(records: Iterable[Mapping[str, Any]], path_png: Path | str) -> list[str]:
    """Draw the figures of ``records`` over their ``step``, a plot each, and return the plots' titles.

    A record is a mapping with ``step`` and figures. Mappings in it are taken apart; one that holds nothing but figures,
    such as the parts of a loss or IoU by class, is one plot of several lines. A record of ``kind`` evaluation is titled
    ``val/...``; one marked ``superseded`` is left out. What is no number is passed over, and a NaN leaves a gap.
    """
    plots = _plots(records)
    titles = sorted(plots, key=_rank)
    _draw({title: plots[title] for title in titles}, Path(path_png))
    return titles


def _plots(records: Iterable[Mapping[str, Any]]) -> dict[str, Lines]:
    plots: dict[str, Lines] = {}
    kept = (record for record in records if "step" in record and not record.get("superseded"))
    for record in sorted(kept, key=lambda record: record["step"]):
        for title, line, value in _figures(record, "val/" if record.get("kind") == "evaluation" else ""):
            plots.setdefault(title, {}).setdefault(line, []).append((record["step"], value))
    return plots


def _figures(record: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str, float]]:
    """(title, line, value) of every number; a line alone in its plot has no name."""
    for name, value in record.items():
        if name in _NOT_FIGURES:
            continue
        if isinstance(value, Mapping) and value and all(_is_number(v) or v is None for v in value.values()):
            yield from ((prefix + name, line, float(v)) for line, v in value.items() if v is not None)
        elif isinstance(value, Mapping):
            yield from _figures(value, f"{prefix}{name}/")
        elif _is_number(value):
            yield prefix + name, "", float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _rank(title: str) -> tuple[int, str]:
    """The loss first, then its parts, the learning rate, validation, and the rest."""
    order = (title == "loss", "loss" in title, title == "lr", title.startswith("val/"), True)
    return order.index(True), title


def _draw(plots: Mapping[str, Lines], path: Path) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows, columns = max(1, -(-len(plots) // _COLUMNS)), min(_COLUMNS, max(1, len(plots)))
    figure = Figure(figsize=(columns * _CELL[0], rows * _CELL[1]), layout="constrained")
    FigureCanvasAgg(figure)
    last = max((points[-1][0] for lines in plots.values() for points in lines.values()), default=1)
    for place, (title, lines) in enumerate(plots.items(), start=1):
        _draw_plot(figure.add_subplot(rows, columns, place), title, lines, last)
    if not plots:
        figure.text(0.5, 0.5, "nothing recorded yet", ha="center", va="center", color="0.4")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    figure.savefig(part, format="png", dpi=110)
    part.replace(path)


def _draw_plot(axes: Any, title: str, lines: Lines, last: int) -> None:
    for number, (name, points) in enumerate(lines.items()):
        _draw_line(axes, points, name, f"C{number % 10}", ("-", "--", ":")[number // 10 % 3], smooth=title != "lr")
    values = [value for points in lines.values() for _, value in points if math.isfinite(value)]
    if "loss" in title and values and max(values) > 100 * min(values) > 0:
        axes.set_yscale("log")
    if len(lines) == 1 and values:
        axes.set_title(f"{values[-1]:.4g}", fontsize=9, loc="right", color="0.35")
    elif 1 < len(lines) <= _LABELLED:
        axes.legend(fontsize=6, ncols=-(-len(lines) // 6), frameon=False, borderaxespad=0.2)
    axes.set_title(title, fontsize=10, loc="left")
    axes.set_xlim(0, last * 1.02 or 1)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.tick_params(labelsize=8, colors="0.35")
    axes.grid(color="0.9", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color("0.75")


def _draw_line(axes: Any, points: list[tuple[int, float]], name: str, color: str, style: str, smooth: bool) -> None:
    steps, values = zip(*points)
    many = len(points) >= _SMOOTH_FROM
    if many and smooth:
        axes.plot(steps, values, color=color, alpha=0.25, linewidth=0.8)
    shown = _smoothed(values) if many and smooth else values
    axes.plot(steps, shown, style, color=color, linewidth=1.4, marker="" if many else "o", markersize=3, label=name)


def _smoothed(values: tuple[float, ...]) -> np.ndarray:
    """The mean over a window of a twentieth of the curve around each point (no lag); NaN do not count."""
    window = np.ones(len(values) // 20 | 1)
    data = np.array(values)
    known = np.isfinite(data)
    total = np.convolve(np.where(known, data, 0), window, "same")
    count = np.convolve(known, window, "same")
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)
