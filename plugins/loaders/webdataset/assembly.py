"""The end of a conversion: whole shards become a set, once, whichever of the processes that write them is the last."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import drivetrain
from drivetrain import ClassInfo, DataError

from .plan import Plan
from .reader import ShardSet
from .rows import IndexWriter, ShardRows, hashes, index_groups, read_rows, repeated_hashes, rows_file
from .shards import (
    DATASET_FILE,
    FORMAT_VERSION,
    INDEX_FILE,
    SHARDS_FILE,
    WORK_FOLDER,
    content_id,
    order_id,
    shard_name,
    write_atomically,
)

SHARD_SCHEMA = pa.schema({"name": pa.string(), "samples": pa.int64(), "bytes": pa.int64(), "checksum": pa.uint64()})


def missing(out: Path, plan: Plan) -> int:
    """How many shards are not whole yet."""
    there = {path.name for path in (out / WORK_FOLDER).glob("*.rows")}
    return sum(rows_file(out, number).name not in there for number in plan.numbers)


def assemble(out: Path, plan: Plan, classes: Mapping[str, Sequence[ClassInfo]]) -> bool:
    """Write index, list and dataset.json if every shard is whole; False where some are missing.

    Safe if several processes come here at once: one works, the others wait and find the set complete. Where the file
    system has no locks each writes the same bytes. Raises DataError for equal keys.
    """
    with _alone(out):
        if not plan.is_done(out):
            if missing(out, plan):
                return False
            try:
                _assemble(out, plan, classes)
            except FileNotFoundError:
                if not plan.is_done(out):  # else another host was first, and has tidied up
                    raise
    tidy(out)
    return True


def tidy(out: Path) -> None:
    """Remove what only a half-written set needs. Whoever finds the set complete does it: a process that still wrote as another
    one tidied up would leave files behind."""
    shutil.rmtree(out / WORK_FOLDER, ignore_errors=True)


@contextlib.contextmanager
def _alone(out: Path) -> Iterator[None]:
    with contextlib.ExitStack() as opened:
        with contextlib.suppress(FileNotFoundError):  # where the set was completed meanwhile
            lock = opened.enter_context(open(out / WORK_FOLDER / "lock", "wb"))
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)  # it ends with the process, also by kill -9
        yield


def _assemble(out: Path, plan: Plan, classes: Mapping[str, Sequence[ClassInfo]]) -> None:
    """Readers take of the index and of the list of shards as much as ``dataset.json`` says, so what is appended becomes
    part of the set when that file is replaced, last."""
    before = ShardSet(out) if (out / DATASET_FILE).exists() else None
    found: list[np.ndarray] = []
    listed: list[tuple[str, int, int, int]] = []
    sizes: dict[str, set[tuple[int, ...]]] = {}
    if before is not None:
        listed = [tuple(row.values()) for row in before.listed.to_pylist()]
        sizes = {camera: {tuple(size) for size in known} for camera, known in before.info["cameras"].items()}
    with IndexWriter(out / INDEX_FILE) as index:
        if before is not None:
            for table in index_groups(out, len(before)):
                index.add(table)
            index.flush()  # so that the set as it was ends with a row group
        for number in plan.numbers:
            rows = read_rows(rows_file(out, number))
            index.add(rows.table)
            found.append(hashes(rows.table.column("key")))
            listed.append((shard_name(number), len(rows.table), rows.bytes, rows.checksum))
            add_sizes(sizes, rows)
        _refuse_duplicates(out, plan, found)
    columns = [list(column) for column in zip(*listed)] or [[], [], [], []]
    write_shards(out, columns)
    info = _info(plan, classes, columns, sizes)
    write_atomically(out / DATASET_FILE, (json.dumps(info, indent=1) + "\n").encode())


def write_shards(out: Path, columns: Sequence[Sequence[Any]]) -> None:
    """``shards.parquet``, of its columns."""
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(dict(zip(SHARD_SCHEMA.names, columns)), schema=SHARD_SCHEMA), sink, compression="zstd")
    write_atomically(out / SHARDS_FILE, memoryview(sink.getvalue()))


def _info(plan: Plan, classes: Mapping[str, Sequence[ClassInfo]], columns: list[list[Any]],
          sizes: Mapping[str, set[tuple[int, ...]]]) -> dict[str, Any]:  # fmt: skip
    names, samples, tar_bytes, checksums = columns
    return {
        "format_version": FORMAT_VERSION, **plan.info, "tool_version": drivetrain.__version__,
        "classes": {task: [asdict(info) for info in infos] for task, infos in classes.items()},
        "cameras": {camera: sorted(found) for camera, found in sorted(sizes.items())}, "bytes": sum(tar_bytes),
        "shards": len(names), "order_id": order_id(list(zip(names, samples))), "content_id": content_id(checksums),
    }  # fmt: skip


def add_sizes(sizes: dict[str, set[tuple[int, ...]]], rows: ShardRows) -> None:
    for camera, found in rows.sizes.items():
        sizes.setdefault(camera, set()).update(tuple(size) for size in found)


def _refuse_duplicates(out: Path, plan: Plan, found: Sequence[np.ndarray]) -> None:
    """Equal hashes are looked up as keys: at 10^9 keys two different ones may share a hash."""
    suspects = repeated_hashes(found)
    if not len(suspects):
        return
    seen: dict[str, int] = {}
    for number in [i for i, part in zip(plan.numbers, found) if np.isin(part, suspects).any()]:
        for key in read_rows(rows_file(out, number)).table.column("key").to_pylist():
            if key in seen:
                for shard in {seen[key], number}:  # they are made again once the dataset is mended
                    rows_file(out, shard).unlink(missing_ok=True)
                raise DataError(f"two frames have the key {key!r} ({shard_name(seen[key])}, {shard_name(number)})",
                                remedy="keys are unique in a dataset: mend its reader")  # fmt: skip
            seen[key] = number
