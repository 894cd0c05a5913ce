"""Conversion: a dataset's split written as a shard set, in parallel, restartable, byte-identical whatever the workers."""

from __future__ import annotations

import contextlib
import errno
import pickle
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from drivetrain import DataError, Dataset, Frame, PluginError, frame_to_parts, process_pool

from .archive import BLOCK, Archive
from .assembly import assemble, tidy
from .checks import row_of
from .choosing import beyond, of_side
from .pictures import changed
from .plan import Plan
from .reader import ShardFile, ShardSet
from .rows import ShardRows, read_rows, rows_file, sizes_of, table_of, write_rows
from .shards import (
    DATASET_FILE,
    MOST,
    TEMPORARY,
    WORK_FOLDER,
    Damage,
    shard_name,
)

Chunk = tuple[int, Sequence[Any]]
"""A shard's number and its references."""


def convert(dataset: Dataset, source: Path, out: Path, split: str, *, dataset_name: str, workers: int,
            samples_per_shard: int, part: tuple[int, int] = (1, 1), reencode: str | None = None,
            resize: str | None = None, append: bool = False, split_by_scene: str | None = None, of: str | None = None,
            progress: Callable[[int, int, int, int], None] | None = None) -> ShardSet | None:  # fmt: skip
    """Write ``split`` of ``dataset`` at ``source`` as a shard set in ``out``; ``progress(samples done, samples, samples kept
    from an earlier attempt, bytes written)``.

    ``part`` (i, n), i from 1: only every n-th shard, beside n - 1 other processes on any hosts. Whichever ends last makes
    the set of them; None is returned while shards are missing. Whole shards of a half-written set are kept. Raises
    DataError for a folder that holds something else, for equal keys, and for frames that contradict their classes.

    ``append``: frames whose keys a whole set does not have become new shards of it. ``split_by_scene``: of the frames of the
    dataset's split ``of`` (None: ``split``) those of the side ``split`` (`choosing.side_of`).
    """
    if samples_per_shard > MOST:
        raise DataError(f"{samples_per_shard} samples a shard: {MOST} at most", remedy="some hundreds serve well")
    refs = list(dataset.index(source, of or split))
    if split_by_scene is not None:
        refs = of_side(dataset, refs, split, split_by_scene, workers)
    plan = Plan(dataset_name, split, len(refs), samples_per_shard, reencode, resize, split_by_scene, of)
    if append:
        shards = ShardSet(out)
        refs, plan = beyond(shards, plan, dataset, refs, workers)
        if not refs:
            return shards
    elif (out / DATASET_FILE).exists():
        return _complete(_Job(dataset, plan, out), refs)
    with _full_disk_told(out):
        plan.begin(out)
        try:
            return _convert(_Job(dataset, plan, out), refs, part, workers, progress)
        except FileNotFoundError:
            if not plan.is_done(out):  # else another process that made the same part was first
                raise
            tidy(out)
            return ShardSet(out)


@contextlib.contextmanager
def _full_disk_told(out: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DataError(f"the shard set cannot be written: {error.strerror}", where=str(out),
                        remedy="free some space and repeat the command: whole shards are kept") from error  # fmt: skip


def _convert(job: _Job, refs: Sequence[Any], part: tuple[int, int], workers: int,
             progress: Callable[[int, int, int, int], None] | None) -> ShardSet | None:  # fmt: skip
    (first, step), plan, out = part, job.plan, job.out
    starts = [(number, plan.start(number) - plan.first_sample) for number in plan.numbers[first - 1 :: step]]
    chunks = [(number, refs[at : at + plan.samples_per_shard]) for number, at in starts]
    _sweep(out, chunks, alone=step == 1)
    _check_space(job, [ref for _, chunk in chunks for ref in chunk], [number for number, _ in chunks])
    done, kept, written, total = 0, 0, 0, sum(len(chunk) for _, chunk in chunks)
    for samples, size in _run(job, chunks, workers):
        done, kept, written = done + samples, kept + (0 if size else samples), written + size
        if progress:
            progress(done, total, kept, written)
    return ShardSet(out) if assemble(out, plan, job.dataset.classes) else None


def _complete(job: _Job, refs: Sequence[Any]) -> ShardSet:
    """The set that is there, if it is the one that is asked for, as far as its records and its first frame tell."""
    shards = ShardSet(job.out)
    difference = job.plan.difference(shards.info)
    if not difference and shards.classes != {task: list(infos) for task, infos in job.dataset.classes.items()}:
        difference = "its classes differ"
    if not difference and refs and frame_to_parts(shards.frame(0)) != frame_to_parts(job.frame(refs[0])):
        difference = "its first frame differs"
    if difference:
        raise DataError(f"{job.out} holds another shard set: {difference}",
                        remedy="add new frames with --append, choose another folder, or delete this one")  # fmt: skip
    return shards


def _sweep(out: Path, chunks: Sequence[Chunk], alone: bool) -> None:
    """Remove what a killed attempt left aside; a part only what belongs to its own shards."""
    mine = {shard_name(number) for number, _ in chunks}
    for path in (out / WORK_FOLDER).glob(f"{TEMPORARY}*"):
        if alone or path.name.removeprefix(TEMPORARY).partition(".")[0] in mine:
            path.unlink(missing_ok=True)


def _check_space(job: _Job, refs: Sequence[Any], numbers: Sequence[int]) -> None:
    """Estimated from three frames; whole shards of an earlier attempt need no room again."""
    if not refs:
        return
    probes = [refs[i] for i in sorted({0, len(refs) // 2, len(refs) - 1})]
    contents = [part for ref in probes for part in frame_to_parts(job.frame(ref)).values()]
    needed = sum(len(content) + 2 * BLOCK for content in contents) * len(refs) // len(probes)
    tars = (job.out / f"{shard_name(number)}.tar" for number in numbers)
    needed -= sum(path.stat().st_size for path in tars if path.exists())
    free = shutil.disk_usage(job.out).free
    if free < needed:
        raise DataError(f"{job.out}: the shard set needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free",
                        remedy="free some space, or choose another folder")  # fmt: skip


# ---------------------------------------------------------------- shards, each by one process


@dataclass(frozen=True)
class _Job:
    dataset: Dataset
    plan: Plan
    out: Path

    def frame(self, ref: Any) -> Frame:
        """The frame as it is stored."""
        return changed(self.dataset.load(ref), self.plan.reencode, self.plan.resize)

    def shard(self, number: int, refs: Sequence[Any]) -> tuple[int, int]:
        """Shard ``number``, kept if it is whole, written if not. Returns its samples, and the bytes written."""
        try:
            if self._kept(number, refs) or self.plan.is_done(self.out):
                return len(refs), 0
            return len(refs), self._write(number, refs)
        except FileNotFoundError:
            if not self.plan.is_done(self.out):  # else another process has made the set meanwhile, and has tidied up
                raise
            return len(refs), 0

    def _kept(self, number: int, refs: Sequence[Any]) -> bool:
        """False where the shard is missing, damaged, or its first or last frame is by now another in the dataset."""
        try:
            rows, shard = read_rows(rows_file(self.out, number)), ShardFile(self.out / shard_name(number))
            if not shard.whole or (len(shard.table), shard.table.checksum) != (len(refs), rows.checksum):
                return False
            ends = {0, len(refs) - 1}
            return all(frame_to_parts(shard.frame(i)) == frame_to_parts(self.frame(refs[i])) for i in ends)
        except (Damage, FileNotFoundError, DataError):
            return False

    def _write(self, number: int, refs: Sequence[Any]) -> int:
        path, rows = self.out / shard_name(number), []
        rows_file(self.out, number).unlink(missing_ok=True)  # from here on the shard is not whole
        with Archive(path) as tar:
            for ref in refs:
                frame = self.frame(ref)
                rows.append(row_of(frame, self.dataset.classes, f"{self.plan.dataset}: {ref!r}"))
                tar.add(frame.key, frame_to_parts(frame))
            table = tar.publish()
        index = table_of(rows, path.name, self.plan.start(number))
        write_rows(rows_file(self.out, number), ShardRows(index, table.tar_bytes, table.checksum, sizes_of(rows)))
        return table.tar_bytes


def _run(job: _Job, chunks: Sequence[Chunk], workers: int) -> Iterator[tuple[int, int]]:
    """The samples of each shard, and the bytes written for it, as the shards become whole."""
    workers = min(workers, len(chunks))
    if workers < 2:
        yield from (job.shard(number, refs) for number, refs in chunks)
        return
    _refuse_unpicklable(job)
    with process_pool(workers, _start_worker, job) as pool:
        for future in as_completed([pool.submit(_shard, number, refs) for number, refs in chunks]):
            yield future.result()


def _refuse_unpicklable(job: _Job) -> None:
    try:
        pickle.dumps(job)
    except Exception as error:  # pickle raises what the object's own code raises
        raise PluginError(f"dataset {job.plan.dataset!r} cannot be sent to worker processes: {error}",
                          remedy="convert with one worker, or make the dataset picklable") from error  # fmt: skip


_job: _Job | None = None


def _start_worker(job: _Job) -> None:
    global _job
    _job = job


def _shard(number: int, refs: Sequence[Any]) -> tuple[int, int]:
    assert _job is not None
    return _job.shard(number, refs)
