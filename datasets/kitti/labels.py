"""KITTI's label lines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain import Boxes, ClassInfo, DataError, near_matches, read_bytes

NAMES = ("Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc")
CLASSES = {"object_detection": tuple(ClassInfo(name, i) for i, name in enumerate(NAMES))}
COLUMNS = 15
_OTHER_NAMES = {"Person": "Person_sitting"}  # in tracking
_DONT_CARE = "DontCare"


def read_rows(path: Path, columns: int) -> list[list[str]]:
    """The columns of every line. Raises DataError for a line with another number of them."""
    try:
        rows = [line.split() for line in read_bytes(path).decode().splitlines()]
    except UnicodeDecodeError:
        raise DataError("is not text", where=str(path)) from None
    for number, row in enumerate(rows, start=1):
        if row and len(row) != columns:
            score = ": with a score it is a result, not a label" if len(row) == columns + 1 else ""
            raise DataError(f"{len(row)} columns, expected {columns}{score}", where=f"{path}:{number}")
    return [row for row in rows if row]


def parse_labels(rows: Sequence[Sequence[str]], where: str, tracks: Sequence[int] | None = None) -> tuple[Boxes, np.ndarray]:
    """The objects of one picture, and its ignore regions float32 [M, 4], from rows of the 15 columns.

    ``tracks``: a track id a row; then truncation comes in steps. Raises DataError for a class or number that is none."""
    names = [_OTHER_NAMES.get(row[0], row[0]) for row in rows]
    for name in names:
        if name not in (*NAMES, _DONT_CARE):
            raise DataError(f"no class {name!r}", where=where, near=near_matches(name, NAMES),
                            remedy=f"KITTI's: {', '.join(NAMES)}")  # fmt: skip
    numbers, cared = _numbers(rows, where), np.array([name != _DONT_CARE for name in names], bool)
    kept = numbers[cared]
    boxes = Boxes(
        kept[:, 3:7], [name for name in names if name != _DONT_CARE],
        truncation=_known(kept[:, 0], 1) if tracks is None else _known(kept[:, 0] / 2, 1),
        occlusion=_known(kept[:, 1] / 2, 1), attributes=[_attributes(row) for row in kept],
        track_ids=None if tracks is None else np.asarray(tracks, np.int64)[cared],
    )  # fmt: skip
    return boxes, numbers[~cared, 3:7].astype(np.float32)


def _numbers(rows: Sequence[Sequence[str]], where: str) -> np.ndarray:
    try:
        return np.array([row[1:] for row in rows], np.float64).reshape(-1, COLUMNS - 1)
    except ValueError as error:
        raise DataError(f"a column is no number: {error}", where=where) from None


def _known(values: np.ndarray, most: float) -> np.ndarray:
    """-1 and the level 3 say that it is not known."""
    return np.where((values < 0) | (values > most), np.nan, values)


def _attributes(row: np.ndarray) -> dict[str, Any]:
    return {
        "occluded": int(row[1]), "alpha": float(row[2]), "dimensions": row[7:10].tolist(), "location": row[10:13].tolist(),
        "rotation_y": float(row[13]),
    }  # fmt: skip
