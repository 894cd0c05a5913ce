"""``drivetrain score kitti``: folders of KITTI's label files, 15 columns of labels and 16 of detections."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain import official_pairs, wrong_line

from .counting import Counted, figures
from .matching import Objects, match_frame

_COLUMNS = ("type", "truncated", "occluded", "alpha", "x1", "y1", "x2", "y2", "height", "width", "length", "x", "y", "z",
            "rotation_y", "score")  # fmt: skip


def build(config: None) -> Any:
    return KittiScored


class KittiScored:
    """2D boxes of KITTI label files, read and matched a frame at a time: what stays is a few numbers a detection."""

    nothing = None

    def __init__(self, truth: Path, predictions: Path, ids: Sequence[str] | None):
        pairs = official_pairs(truth, predictions, ".txt", ids)
        self.keys = self.scenes = [key for key, _, _ in pairs]
        self.oriented = True
        frames = [self._matched(labels, found) for _, labels, found in pairs]
        self.cells = {cell: Counted([frame[cell] for frame in frames]) for cell in frames[0]}

    def _matched(self, labels: Path, found: Path) -> dict:
        detections = read_objects(found, 16)
        self.oriented &= not (detections.alpha == -10).any()  # the devkit's word for an unknown angle
        return match_frame(read_objects(labels, 15), detections)

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        """``ap[class][bbox|aos][difficulty]``; without ``aos`` where a detection has no angle (-10), as the devkit."""
        ap = figures(self.cells, times)
        if not self.oriented:
            ap = {name: {"bbox": kinds["bbox"]} for name, kinds in ap.items()}
        return {"n_frames": int(times.sum()), "ap": ap}


def read_objects(path: Path, columns: int) -> Objects:
    """A label file of 15 columns or a result file of 16. Raises DataError with the line and column that is wrong."""
    rows = [(number, line.split()) for number, line in enumerate(_text(path).splitlines(), start=1) if line.strip()]
    for number, row in rows:
        if len(row) != columns and (columns, len(row)) != (15, 16):
            raise wrong_line(path, number, f"has {len(row)} columns, expected {columns}", _remedy(columns))
    try:
        values = np.array([row[1:columns] for _, row in rows], np.float64).reshape(-1, columns - 1)
    except ValueError:
        values = np.array(
            [[_number(path, number, k, text) for k, text in enumerate(row[1:columns], 1)] for number, row in rows]
        )
    if not np.isfinite(values).all():
        row, column = np.argwhere(~np.isfinite(values))[0]
        raise wrong_line(path, rows[row][0], f"{_COLUMNS[column + 1]} is {values[row, column]}", _remedy(columns))
    names = np.array([row[0].lower() for _, row in rows], object)
    score = values[:, 14] if columns == 16 else np.zeros(len(rows))
    return Objects(names, values[:, 3:7], values[:, 2], values[:, 0], values[:, 1], score)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except UnicodeDecodeError as error:
        raise wrong_line(path, 1, f"no text: {error.reason}", _remedy(15)) from None


def _number(path: Path, line: int, column: int, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise wrong_line(path, line, f"{_COLUMNS[column]} is {text!r}, expected a number", _remedy(15)) from None


def _remedy(columns: int) -> str:
    return "columns: " + " ".join(_COLUMNS[:columns])
