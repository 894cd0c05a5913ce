"""Conversion: a dataset's split written as a shard set, in parallel, restartable, byte-identical whatever the workers."""

from __future__ import annotations

import json
import multiprocessing
import os
import pickle
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

import drivetrain
from drivetrain import DataError, Dataset, Frame, PluginError, encode_key, frame_to_parts

from .checks import row_of
from .reader import ShardFile, ShardSet
from .shards import (
    DATASET_FILE,
    FORMAT_VERSION,
    INDEX_FILE,
    PLAN_FILE,
    SHARDS_FILE,
    TEMPORARY,
    Damage,
    Table,
    TableBuilder,
    content_id,
    order_id,
    publish,
    shard_name,
    write_atomically,
)

_BLOCK = tarfile.BLOCKSIZE
Rows = list[dict[str, Any]]
Progress = Callable[[int, int], None]
SCHEMA = pa.schema(
    {
        "key": pa.string(), "shard": pa.string(), "number": pa.int64(), "scene": pa.string(), "timestamp": pa.int64(),
        "tags": pa.map_(pa.string(), pa.string()), "labelled": pa.list_(pa.string()),
        "class_counts": pa.map_(pa.string(), pa.map_(pa.string(), pa.int64())),
    }
)  # fmt: skip
SHARD_SCHEMA = pa.schema({"name": pa.string(), "samples": pa.int64(), "bytes": pa.int64(), "checksum": pa.uint64()})


@dataclass(frozen=True)
class Plan:
    """What a folder is converted from; a half-written set goes on only with an equal one."""

    dataset: str
    split: str
    samples: int
    samples_per_shard: int

    def difference(self, other: Mapping[str, Any]) -> str:
        """How ``other`` differs, in words; empty where it does not."""
        mine = asdict(self)
        return ", ".join(
            f"{name} {other.get(name)!r} instead of {mine[name]!r}" for name in mine if other.get(name) != mine[name]
        )


def convert(dataset: Dataset, source: Path, out: Path, split: str, *, dataset_name: str, workers: int,
            samples_per_shard: int, progress: Progress | None = None) -> ShardSet:  # fmt: skip
    """Write ``split`` of ``dataset`` at ``source`` as a shard set in ``out``; ``progress(samples done, samples)``.

    Whole shards of a half-written set are kept. Raises DataError for a folder that holds something else, for equal keys,
    and for frames that contradict their dataset's classes.
    """
    refs = list(dataset.index(source, split))
    plan = Plan(dataset_name, split, len(refs), samples_per_shard)
    if (out / DATASET_FILE).exists():
        return _complete(out, plan, dataset, refs)
    _begin(out, plan)
    _check_space(dataset, refs, out)
    chunks = [refs[i : i + samples_per_shard] for i in range(0, len(refs), samples_per_shard)]
    job = _Job(dataset, dataset_name, out)
    rows: list[Rows] = [[] for _ in chunks]
    seen: dict[str, int] = {}
    for number, found in _run(job, chunks, workers):
        rows[number] = found
        _refuse_duplicates(out, seen, number, found)
        if progress:
            progress(len(seen), len(refs))
    _finish(out, plan, dataset, rows)
    return ShardSet(out)


def _complete(out: Path, plan: Plan, dataset: Dataset, refs: Sequence[Any]) -> ShardSet:
    """The set that is there, if it is the one that is asked for, as far as its records and its first frame tell."""
    shards = ShardSet(out)
    difference = plan.difference(shards.info)
    if not difference and shards.classes != {task: list(infos) for task, infos in dataset.classes.items()}:
        difference = "its classes differ"
    if not difference and refs and frame_to_parts(shards.frame(0)) != frame_to_parts(dataset.load(refs[0])):
        difference = "its first frame differs"
    if difference:
        raise DataError(f"{out} holds another shard set: {difference}", remedy="choose another folder, or delete this one")
    return shards


def _begin(out: Path, plan: Plan) -> None:
    out.mkdir(parents=True, exist_ok=True)
    begun = out / PLAN_FILE
    if begun.exists():
        difference = plan.difference(json.loads(begun.read_text()))
        if difference:
            raise DataError(f"{out} holds a half-written shard set: {difference}",
                            remedy="repeat that conversion, choose another folder, or delete this one")  # fmt: skip
    elif any(not path.name.startswith(TEMPORARY) for path in out.iterdir()):
        raise DataError(f"{out} is not empty, and holds no shard set", remedy="choose another folder")
    for path in out.glob(f"{TEMPORARY}*"):
        path.unlink()
    write_atomically(begun, json.dumps(asdict(plan), sort_keys=True).encode())


def _check_space(dataset: Dataset, refs: Sequence[Any], out: Path) -> None:
    """Estimated from three frames; whole shards of an earlier attempt need no room again."""
    if not refs:
        return
    probes = [refs[i] for i in sorted({0, len(refs) // 2, len(refs) - 1})]
    parts = [part for ref in probes for part in frame_to_parts(dataset.load(ref)).values()]
    needed = sum(len(part) + 2 * _BLOCK for part in parts) * len(refs) // len(probes)
    written = sum(path.stat().st_size for path in out.glob("*.tar"))
    free = shutil.disk_usage(out).free
    if free < needed - written:
        raise DataError(f"{out}: the shard set needs about {(needed - written) / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
                        remedy="free some space, or choose another folder")  # fmt: skip


def _refuse_duplicates(out: Path, seen: dict[str, int], number: int, rows: Rows) -> None:
    for row in rows:
        key = row["key"]
        if key in seen:
            for shard in {seen[key], number}:  # they are made again once the dataset is mended
                (out / f"{shard_name(shard)}.idx").unlink(missing_ok=True)
            raise DataError(f"two frames have the key {key!r} ({shard_name(seen[key])}, {shard_name(number)})",
                            remedy="keys are unique in a dataset: mend its reader")  # fmt: skip
        seen[key] = number


def _finish(out: Path, plan: Plan, dataset: Dataset, rows: list[Rows]) -> None:
    tables = [Table.read(out / f"{shard_name(i)}.idx") for i in range(len(rows))]
    records = [
        {**row, "shard": shard_name(shard), "number": number}
        for number, (shard, row) in enumerate((shard, row) for shard, found in enumerate(rows) for row in found)
    ]
    columns = {name: [record[name] for record in records] for name in SCHEMA.names}
    for name in ("tags", "class_counts"):
        columns[name] = [_as_map(value) for value in columns[name]]
    _write_table(out / INDEX_FILE, pa.table(columns, schema=SCHEMA))
    names, samples = [shard_name(i) for i in range(len(tables))], [len(table) for table in tables]
    listed = {
        "name": names, "samples": samples,
        "bytes": [table.tar_bytes for table in tables], "checksum": [table.checksum for table in tables],
    }  # fmt: skip
    _write_table(out / SHARDS_FILE, pa.table(listed, schema=SHARD_SCHEMA))
    info = {
        "format_version": FORMAT_VERSION, **asdict(plan), "tool_version": drivetrain.__version__,
        "classes": {task: [asdict(info) for info in infos] for task, infos in dataset.classes.items()},
        "cameras": _cameras(records), "bytes": sum(table.tar_bytes for table in tables),
        "shards": len(tables), "order_id": order_id(list(zip(names, samples))),
        "content_id": content_id([table.checksum for table in tables]),
    }  # fmt: skip
    write_atomically(out / DATASET_FILE, (json.dumps(info, indent=1) + "\n").encode())
    (out / PLAN_FILE).unlink()


def _write_table(path: Path, table: pa.Table) -> None:
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    write_atomically(path, sink.getvalue().to_pybytes())


def _as_map(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [(name, _as_map(inner) if isinstance(inner, Mapping) else inner) for name, inner in sorted(value.items())]


def _cameras(rows: Iterable[Mapping[str, Any]]) -> dict[str, list[tuple[int, int]]]:
    """camera -> the (width, height) that occur."""
    sizes: dict[str, set[tuple[int, int]]] = {}
    for row in rows:
        for camera, size in row["sizes"].items():
            sizes.setdefault(camera, set()).add(size)
    return {camera: sorted(found) for camera, found in sorted(sizes.items())}


# ---------------------------------------------------------------- shards, each by one process


@dataclass(frozen=True)
class _Job:
    dataset: Dataset
    name: str
    out: Path

    def shard(self, number: int, refs: Sequence[Any]) -> Rows:
        """The rows of shard ``number``, kept if it is whole, written if not."""
        path = self.out / shard_name(number)
        rows = self._kept(path, refs)
        return self._written(path, refs) if rows is None else rows

    def _kept(self, path: Path, refs: Sequence[Any]) -> Rows | None:
        """None where the shard is missing, damaged, or begins with a frame that the dataset gives otherwise by now."""
        try:
            shard = ShardFile(path)
            if len(shard.table) != len(refs) or not shard.whole:
                return None
            if frame_to_parts(shard.frame(0)) != frame_to_parts(self.dataset.load(refs[0])):
                return None
            return [row_of(shard.frame(i), self.dataset.classes, str(path)) for i in range(len(refs))]
        except (Damage, FileNotFoundError, DataError):
            return None

    def _written(self, path: Path, refs: Sequence[Any]) -> Rows:
        rows, builder = [], TableBuilder()
        aside = path.with_name(f"{TEMPORARY}{path.name}.tar-{os.getpid()}")
        with open(aside, "wb") as tar:
            for ref in refs:
                frame = self.dataset.load(ref)
                rows.append(row_of(frame, self.dataset.classes, f"{self.name}: {ref!r}"))
                _append(tar, frame, builder)
            tar.write(bytes(2 * _BLOCK))
            tar.flush()
            os.fsync(tar.fileno())
        size = aside.stat().st_size
        publish(aside, path.with_suffix(".tar"))
        write_atomically(path.with_suffix(".idx"), builder.table(size).to_bytes())
        return rows


def _append(tar, frame: Frame, builder: TableBuilder) -> None:
    key, data, members = encode_key(frame.key), bytearray(), []
    for suffix, content in frame_to_parts(frame).items():
        info = tarfile.TarInfo(f"{key}.{suffix}")  # owner, group and time stay 0: equal frames give equal bytes
        info.size = len(content)
        data += info.tobuf(tarfile.PAX_FORMAT)
        members.append((suffix, len(data), len(content)))
        data += content
        data += bytes(-len(content) % _BLOCK)
    builder.add(tar.tell(), bytes(data), members)
    tar.write(data)


def _run(job: _Job, chunks: Sequence[Sequence[Any]], workers: int) -> Iterator[tuple[int, Rows]]:
    """(shard number, rows) as the shards become whole."""
    workers = min(workers, len(chunks))
    if workers < 2:
        yield from ((number, job.shard(number, refs)) for number, refs in enumerate(chunks))
        return
    _refuse_unpicklable(job)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=spawn, initializer=_start_worker, initargs=(job,)) as pool:
        futures = {pool.submit(_shard, number, refs): number for number, refs in enumerate(chunks)}
        try:
            for future in as_completed(futures):
                yield futures[future], future.result()
        finally:
            pool.shutdown(cancel_futures=True)


def _refuse_unpicklable(job: _Job) -> None:
    try:
        pickle.dumps(job)
    except Exception as error:  # pickle raises what the object's own code raises
        raise PluginError(f"dataset {job.name!r} cannot be sent to worker processes: {error}",
                          remedy="convert with one worker, or make the dataset picklable") from error  # fmt: skip


_job: _Job | None = None


def _start_worker(job: _Job) -> None:
    global _job
    _job = job
    threading.Thread(target=_die_with_parent, daemon=True).start()


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _shard(number: int, refs: Sequence[Any]) -> Rows:
    assert _job is not None
    return _job.shard(number, refs)
