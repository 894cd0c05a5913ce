"""Keys withdrawn from a set (privacy): listed beside it in ``withdrawn.parquet``, one string column ``key``."""

from __future__ import annotations

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.parquet as pq

from drivetrain import DataError, near_matches

from .reader import ShardSet
from .rows import KeyColumn
from .shards import INDEX_FILE, WITHDRAWN_FILE, write_atomically


def withdraw(shards: ShardSet, keys: Sequence[str]) -> int:
    """Add ``keys`` to those withdrawn; how many are new. Raises DataError, changing nothing, for keys not in the set."""
    listed = shards.listed_keys(WITHDRAWN_FILE)
    before = [] if listed is None else listed.to_pylist()
    asked, column, known = set(keys), KeyColumn(shards.folder / INDEX_FILE, len(shards)), set()
    for number in range(column.groups):
        known |= asked.intersection(column.group(number).to_pylist())
    if strange := sorted(asked - known):
        near = near_matches(strange[0], column.group(0).to_pylist()[:10_000]) if column.groups else []
        raise DataError(f"{len(strange)} of the keys are not in the set, such as {strange[0]!r}", where=shards.path, near=near)
    new = sorted(asked.difference(before))
    if new:
        sink = pa.BufferOutputStream()
        pq.write_table(pa.table({"key": pa.array([*before, *new], pa.string())}), sink)
        write_atomically(shards.folder / WITHDRAWN_FILE, memoryview(sink.getvalue()))
    return len(new)
