"""Scores held against each other: which frames count, and a paired bootstrap over scenes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .contracts import Scored
from .errors import DataError, UserError
from .where import Where

Figures = Mapping[str, Any]


def frames_that_count(scored: Scored, where: str | None, index: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """How often each frame counts, int64 [N] of 0 and 1, and its scene's number, int64 [N].

    ``where`` is held against the frames' keys and scenes and, with ``index``, a shard set, against all that its index says.
    Raises UserError where nothing is left.
    """
    import pyarrow as pa

    rows = pa.table({"key": pa.array(scored.keys, pa.string()), "scene": pa.array(scored.scenes, pa.string())})
    if index is not None:
        rows = _rows_of(scored, index)
    mask = np.ones(len(rows), bool) if where is None else Where.parse(where, "--where").mask(rows)
    if not mask.any():
        raise UserError("no frame is left to be scored" + (f": --where {where}" if where else ""))
    return mask.astype(np.int64), np.unique(rows.column("scene").to_pylist(), return_inverse=True)[1]


def _rows_of(scored: Scored, index: Path) -> Any:
    from .data import default_loader

    rows = default_loader().open(str(index)).index
    place = {key: number for number, key in enumerate(rows.column("key").to_pylist())}
    missing = [key for key in scored.keys if key not in place]
    if missing:
        raise DataError(f"has no frame {missing[0]!r}, one of {len(missing)} that are scored", where=str(index),
                        remedy="its keys must be those of the official files")  # fmt: skip
    return rows.take([place[key] for key in scored.keys])


def flat(figures: Figures, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], float | None]]:
    """Every number with its path."""
    for name, value in figures.items():
        if isinstance(value, Mapping):
            yield from flat(value, (*path, name))
        else:
            yield (*path, name), value


def mapped(figures: Figures, change: Any, path: tuple[str, ...] = ()) -> dict[str, Any]:
    """The same nest with ``change(path, value)`` in place of every number."""
    return {
        name: mapped(value, change, (*path, name)) if isinstance(value, Mapping) else change((*path, name), value)
        for name, value in figures.items()
    }


def differences(ours: Scored, theirs: Scored, times: np.ndarray, scenes: np.ndarray, draws: int, seed: int,
                progress: Callable[[int], Any] = lambda _: None) -> dict[str, Any]:  # fmt: skip
    """What ``ours`` has more than ``theirs``, number by number: ``value``, and ``low`` and ``high``, the ends of the 95 %
    interval of a paired bootstrap over scenes (Efron, 1979; percentiles), None where a draw has no such number."""
    one, other = (dict(flat(scored.figures(times))) for scored in (ours, theirs))
    drawn: dict[tuple[str, ...], list[float]] = {path: [] for path in one}
    for done, again in enumerate(resamples(times, scenes, draws, seed), start=1):
        first, second = (dict(flat(scored.figures(again))) for scored in (ours, theirs))
        for path, values in drawn.items():
            difference = _minus(first.get(path), second.get(path))
            if difference is not None:
                values.append(difference)
        progress(done)

    def entry(path: tuple[str, ...], _: Any) -> dict[str, float | None]:
        value, values = _minus(one[path], other.get(path)), drawn[path]
        low, high = np.percentile(values, (2.5, 97.5)).tolist() if value is not None and values else (None, None)
        return {"value": value, "low": low, "high": high}

    return mapped(ours.figures(times), entry)


def _minus(one: Any, other: Any) -> float | None:
    """None where one of them is unknown, or no number but a note."""
    return one - other if all(isinstance(value, (int, float)) for value in (one, other)) else None


def resamples(times: np.ndarray, scenes: np.ndarray, draws: int, seed: int) -> Iterator[np.ndarray]:
    """``draws`` times as many scenes as there are, drawn with replacement; how often each frame then counts, int64 [N]."""
    rng = np.random.default_rng(seed)
    counted = np.unique(scenes[times > 0])
    for _ in range(draws):
        picked = np.bincount(rng.choice(counted, len(counted)), minlength=scenes.max() + 1)
        yield times * picked[scenes]


def table(figures: Figures) -> list[str]:
    """Lines for people: what has a few numbers is a row, the rest a line each."""
    lines: list[str] = []
    _rows(figures, (), lines, max(len(" ".join(path)) for path, _ in flat(figures)))
    return lines


def _rows(figures: Figures, path: tuple[str, ...], lines: list[str], width: int, head: str = "") -> str:
    """Adds lines, and returns the head that the last of them stand under."""
    plain = {name: value for name, value in figures.items() if not isinstance(value, Mapping)}
    if path and len(plain) == len(figures) <= 12:
        wanted = " " * width + "".join(f"{name:>{_column(name)}}" for name in plain)
        cells = "".join(f"{number(value):>{_column(name)}}" for name, value in plain.items())
        lines += [*([wanted] if wanted != head else []), f"{' '.join(path):{width}}{cells}"]
        return wanted
    lines += [f"{' '.join((*path, name)):{width}}{number(value):>10}" for name, value in plain.items()]
    for name, value in figures.items():
        if isinstance(value, Mapping):
            head = _rows(value, (*path, name), lines, width, "" if plain else head)
            plain = {}
    return head


def _column(name: str) -> int:
    return max(len(name) + 2, 9)


def number(value: float | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.4f}"


def compared(figures: Figures, against: Figures, difference: Figures) -> list[str]:
    """Lines for people: a number, the other's, and the difference with its interval."""
    theirs = dict(flat(against))
    lines = [f"{'':32}{'this':>12}{'against':>12}{'difference':>12}  95 % interval"]
    for path, value in flat(figures):
        entry: Any = difference
        for name in path:
            entry = entry[name]
        interval = "" if entry["low"] is None else f"  [{entry['low']:+.4f}, {entry['high']:+.4f}]"
        change = "-" if entry["value"] is None else f"{entry['value']:+.4f}"
        lines.append(f"{' '.join(path):32}{number(value):>12}{number(theirs.get(path)):>12}{change:>12}{interval}")
    return lines
