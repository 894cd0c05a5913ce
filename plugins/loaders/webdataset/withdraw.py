"""Keys withdrawn from a set (privacy): listed beside it in ``withdrawn.parquet``, one string column ``key``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from drivetrain import DataError, near_matches

from .rows import KeyColumn
from .shards import INDEX_FILE, WITHDRAWN_FILE, write_atomically


def withdrawn(folder: Path) -> list[str]:
    """The keys that are withdrawn so far. Raises DataError where the list is damaged: it must not be passed over."""
    path = folder / WITHDRAWN_FILE
    if not path.exists():
        return []
    try:
        return pq.read_table(path, columns=["key"]).column("key").to_pylist()
    except (OSError, KeyError, pa.ArrowException) as error:
        raise DataError(f"{WITHDRAWN_FILE} cannot be read: {error}", where=str(folder), remedy="restore it") from error


def withdraw(folder: Path, keys: Sequence[str]) -> int:
    """Add ``keys`` to those withdrawn; how many are new. Raises DataError, changing nothing, for keys not in the set."""
    before = withdrawn(folder)
    asked, column, known = set(keys), KeyColumn(folder / INDEX_FILE), set()
    for number in range(column.groups):
        known |= asked.intersection(column.group(number).to_pylist())
    if strange := sorted(asked - known):
        near = near_matches(strange[0], column.group(0).to_pylist()[:10_000]) if column.groups else []
        raise DataError(f"{len(strange)} of the keys are not in the set, such as {strange[0]!r}", where=str(folder), near=near)
    new = sorted(asked.difference(before))
    if new:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"key": pa.array([*before, *new], pa.string())}), sink)
        write_atomically(folder / WITHDRAWN_FILE, memoryview(sink.getvalue()))
    return len(new)
