"""``drivetrain score tusimple``: TuSimple's json lines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain import DataError, near_matches, wrong_line

from .matching import SLOW, padded, score

_LABELS = 'a line a frame: {"lanes": [[x, ...], ...], "h_samples": [y, ...], "raw_file": NAME}'
_FOUND = 'a line a frame: {"lanes": [[x, ...], ...], "raw_file": NAME, "run_time": milliseconds}'
_CHUNK = 512  # frames that are matched at once

Line = tuple[int, dict[str, Any]]


def build(config: None) -> Any:
    return TuSimpleScored


class TuSimpleScored:
    """Lanes by name of picture. Predictions stream in; the labels are held, and three numbers a frame stay."""

    nothing = None

    def __init__(self, truth: Path, predictions: Path, ids: Sequence[str] | None):
        labels = {row["raw_file"]: row for _, row in _lines(truth, ("lanes", "h_samples", "raw_file"), _LABELS)}
        self.keys = self.scenes = list(labels) if ids is None else list(ids)
        self._refuse_missing(labels, truth, "--ids FILE names frames of the labels")
        place = {key: number for number, key in enumerate(self.keys)}
        self.numbers = np.full((len(self.keys), 3), np.nan)
        lines = _lines(predictions, ("lanes", "raw_file", "run_time"), _FOUND)
        while chunk := list(islice(lines, _CHUNK)):
            known = [one for one in chunk if _labelled(one, labels, predictions) in place]
            for group in _by_rows(known, labels):
                self.numbers[[place[row["raw_file"]] for _, row in group]] = _scored(group, labels, predictions)
        seen = {key for key, row in zip(self.keys, self.numbers) if not np.isnan(row[0])}
        self._refuse_missing(seen, predictions, "a frame without lanes has a line too; --ids FILE names those that count")

    def _refuse_missing(self, there: Any, path: Path, remedy: str) -> None:
        missing = [key for key in self.keys if key not in there]
        if missing:
            raise DataError(f"has no line of raw_file {missing[0]!r}, one of {len(missing)} that are missing", where=str(path),
                            near=near_matches(missing[0], there) if len(missing) < 100 else (), remedy=remedy)  # fmt: skip

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        """``accuracy``, ``fp`` and ``fn``, means over frames; ``overall`` has them by the tool's own names."""
        accuracy, fp, fn = (times @ self.numbers / times.sum()).tolist()
        return {"accuracy": accuracy, "fp": fp, "fn": fn, "n_frames": int(times.sum()),
                "overall": {"Accuracy": accuracy, "FP": fp, "FN": fn}}  # fmt: skip


def _lines(path: Path, keys: Sequence[str], expected: str) -> Iterator[Line]:
    """Number and content of each line that holds something. Raises DataError for one of another form or twice of a frame."""
    seen: set[str] = set()
    try:
        with path.open() as file:
            for number, text in enumerate(file, start=1):
                if text.strip():
                    row = _parsed(path, number, text, keys, expected)
                    if row["raw_file"] in seen:
                        raise wrong_line(
                            path, number, f"raw_file {row['raw_file']!r} has a line already", "leave one of them out"
                        )
                    seen.add(row["raw_file"])
                    yield number, row
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), remedy=f"expected {expected}") from None


def _parsed(path: Path, number: int, text: str, keys: Sequence[str], expected: str) -> dict[str, Any]:
    try:
        row = json.loads(text)
    except json.JSONDecodeError as error:
        raise wrong_line(path, number, f"no JSON: {error.msg}", f"expected {expected}") from None
    for key in keys:
        if not isinstance(row, dict) or key not in row:
            raise wrong_line(path, number, f"has no {key!r}", f"expected {expected}")
    if not isinstance(row.get("run_time", 0), (int, float)):
        raise wrong_line(path, number, f"run_time is {row['run_time']!r}, expected a number", f"expected {expected}")
    return row


def _labelled(line: Line, labels: dict[str, Any], path: Path) -> str:
    number, row = line
    if row["raw_file"] not in labels:
        raise wrong_line(
            path, number, f"raw_file {row['raw_file']!r} is not in the labels", "its names must be those of the labels"
        )
    return row["raw_file"]


def _by_rows(lines: list[Line], labels: dict[str, Any]) -> list[list[Line]]:
    """Lines whose labels have the same rows of the picture, together."""
    groups: dict[tuple[float, ...], list[Line]] = {}
    for line in lines:
        groups.setdefault(tuple(labels[line[1]["raw_file"]]["h_samples"]), []).append(line)
    return list(groups.values())


def _scored(group: list[Line], labels: dict[str, Any], path: Path) -> np.ndarray:
    truth = [labels[row["raw_file"]] for _, row in group]
    rows = np.array(truth[0]["h_samples"], np.float64)
    for (number, row), label in zip(group, truth):
        _check_lanes(row["lanes"], len(rows), path, number)
        if any(len(lane) != len(rows) for lane in label["lanes"]):
            raise DataError(f"lanes of {row['raw_file']!r} have other lengths than its h_samples", remedy=f"expected {_LABELS}")
    slow = np.array([row["run_time"] > SLOW for _, row in group])
    return score(
        padded([t["lanes"] for t in truth], len(rows)), padded([row["lanes"] for _, row in group], len(rows)), rows, slow
    )


def _check_lanes(lanes: Any, rows: int, path: Path, number: int) -> None:
    for k, lane in enumerate(lanes if isinstance(lanes, list) else [lanes]):
        if not isinstance(lane, list) or len(lane) != rows or not all(isinstance(x, (int, float)) for x in lane):
            what = f"{len(lane)} points" if isinstance(lane, list) else repr(lane)
            raise wrong_line(path, number, f"lanes[{k}] has {what}, expected {rows} numbers",
                             "an x for each of the label's h_samples, -2 where the lane has none")  # fmt: skip
