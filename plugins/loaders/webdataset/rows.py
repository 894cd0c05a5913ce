"""A set's index, as it grows: the rows of one shard in a file of their own, and all of them as ``index.parquet``."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from drivetrain import DataError

from .shards import INDEX_FILE, WORK_FOLDER, Damage, aside_of, publish_synced, shard_name, write_atomically

SCHEMA = pa.schema(
    {
        "key": pa.string(), "shard": pa.string(), "number": pa.int64(), "scene": pa.string(), "timestamp": pa.int64(),
        "tags": pa.map_(pa.string(), pa.string()), "labelled": pa.list_(pa.string()),
        "class_counts": pa.map_(pa.string(), pa.map_(pa.string(), pa.int64())),
    }
)  # fmt: skip
GROUP_ROWS = 65_536
"""A row group holds whole shards until it has this many rows: one key is read without the whole table, and the footer of
10^9 rows stays under 40 MB."""


@dataclass(frozen=True)
class ShardRows:
    """A whole shard's part of the index: its ``table`` (`SCHEMA`) and what ``shards.parquet`` and ``dataset.json`` need.

    ``bytes`` of the tar; ``checksum`` of the offset table; ``sizes``: camera -> the (width, height) that occur; ``more``: what
    else was found, as JSON.
    """

    table: pa.Table
    bytes: int
    checksum: int
    sizes: Mapping[str, Sequence[Sequence[int]]]
    more: Mapping[str, Any] = field(default_factory=dict)


def rows_file(out: Path, number: int) -> Path:
    """It is written last, so a shard that has it is whole."""
    return out / WORK_FOLDER / f"{shard_name(number)}.rows"


def table_of(rows: Iterable[Mapping[str, Any]], shard: str, start: int) -> pa.Table:
    """The rows of `checks.row_of` for samples ``start``, ``start + 1``... that lie in ``shard``."""
    records = [{**row, "shard": shard, "number": start + place} for place, row in enumerate(rows)]
    columns = {name: [record[name] for record in records] for name in SCHEMA.names}
    for name in ("tags", "class_counts"):
        columns[name] = [_as_map(value) for value in columns[name]]
    return pa.table(columns, schema=SCHEMA)


def _as_map(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, _as_map(inner) if isinstance(inner, Mapping) else inner) for name, inner in sorted(value.items())]


def sizes_of(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[int, int]]]:
    """camera -> the (width, height) that occur."""
    sizes: dict[str, set[tuple[int, int]]] = {}
    for row in rows:
        for camera, size in row["sizes"].items():
            sizes.setdefault(camera, set()).add(tuple(size))
    return {camera: sorted(found) for camera, found in sorted(sizes.items())}


def write_rows(path: Path, rows: ShardRows) -> None:
    about = {"bytes": rows.bytes, "checksum": rows.checksum, "sizes": rows.sizes, "more": rows.more}
    table = rows.table.replace_schema_metadata({"shard": json.dumps(about)})
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    write_atomically(path, memoryview(sink.getvalue()))


def read_rows(path: Path) -> ShardRows:
    """Raises FileNotFoundError where the shard is not whole yet, Damage where the file is not what was written."""
    try:
        table = pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()
        about = json.loads(table.schema.metadata[b"shard"])
        table = table.replace_schema_metadata(None)
        if table.schema != SCHEMA:
            raise ValueError("other columns")
        return ShardRows(table, about["bytes"], about["checksum"], about["sizes"], about.get("more", {}))
    except (pa.ArrowInvalid, ValueError, KeyError, TypeError) as error:
        raise Damage(f"{path} is no part of an index: {error}") from error


class IndexWriter:
    """``index.parquet``, streamed shard by shard. Use as a context; the file gets its name when all went well."""

    def __init__(self, path: Path):
        self._path, self._aside = path, aside_of(path)
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def __enter__(self) -> IndexWriter:
        self._writer = pq.ParquetWriter(self._aside, SCHEMA, compression="zstd")
        return self

    def add(self, table: pa.Table) -> None:
        self._waiting.append(table)
        self._rows += len(table)
        if self._rows >= GROUP_ROWS:
            self.flush()

    def flush(self) -> None:
        if self._rows:
            table = pa.concat_tables(self._waiting).combine_chunks()
            self._writer.write_table(table, row_group_size=len(table))
        self._waiting, self._rows = [], 0

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self.flush()
        self._writer.close()
        if kind is None:
            publish_synced(self._aside, self._path)


class KeyColumn:
    """The keys of an ``index.parquet``, read by row group as they are asked for. Not safe between threads.

    ``rows``: only the first so many, while more are being appended. Raises DataError where they cannot be read.
    """

    _KEPT = 16  # row groups, about 2 MB each

    def __init__(self, file: Path | BinaryIO, rows: int | None = None):
        self._path = file if isinstance(file, Path) else Path(INDEX_FILE)
        with self._told():
            self._file = pq.ParquetFile(file)
            self._file.schema_arrow.field("key")
        meta = self._file.metadata
        self._starts = np.cumsum([0] + [meta.row_group(i).num_rows for i in range(meta.num_row_groups)])
        if rows is not None:
            self._starts = self._starts[: int(np.searchsorted(self._starts, rows)) + 1]
        self._groups: dict[int, pa.ChunkedArray] = {}

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def groups(self) -> int:
        return len(self._starts) - 1

    def group(self, number: int) -> pa.ChunkedArray:
        if number not in self._groups:
            while len(self._groups) >= self._KEPT:
                del self._groups[next(iter(self._groups))]
            with self._told():
                self._groups[number] = self._file.read_row_group(number, columns=["key"]).column("key")
        return self._groups[number]

    def __getitem__(self, number: int) -> str:
        group = int(np.searchsorted(self._starts, number, "right")) - 1
        if not 0 <= group < self.groups:
            raise self._error(f"it has {len(self)} rows, there is no number {number}")
        return self.group(group)[number - int(self._starts[group])].as_py()

    @contextlib.contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise self._error(str(error)) from error

    def _error(self, why: str) -> DataError:
        return DataError(f"{self._path.name} cannot be read: {why}", where=str(self._path.parent),
                         remedy="restore it, or write the set again")  # fmt: skip


def index_groups(folder: Path, rows: int) -> Iterator[pa.Table]:
    """The first ``rows`` rows of a set's index, by row group. Raises DataError where they cannot be read."""
    try:
        with pq.ParquetFile(folder / INDEX_FILE) as file:
            for number in range(file.num_row_groups):
                if rows <= 0:
                    return
                table = file.read_row_group(number)
                if table.schema.names != SCHEMA.names:
                    raise KeyError(f"columns {table.schema.names}")
                yield table
                rows -= len(table)
    except (OSError, KeyError, ValueError, pa.ArrowException) as error:
        raise DataError(f"{INDEX_FILE} cannot be read: {error}", where=str(folder),
                        remedy="restore it, or write the set again") from error  # fmt: skip


def hashes(keys: pa.Array | pa.ChunkedArray) -> np.ndarray:
    """uint64 [N]: xxh3_64 of each key."""
    return np.fromiter((xxhash.xxh3_64_intdigest(key.encode()) for key in keys.to_pylist()), np.uint64, len(keys))


def repeated_hashes(parts: Sequence[np.ndarray]) -> np.ndarray:
    """Those that occur more than once; 8 bytes a key, so that 10^9 keys can be held against each other."""
    together = np.sort(np.concatenate(parts)) if parts else np.empty(0, np.uint64)
    return np.unique(together[1:][together[1:] == together[:-1]])
