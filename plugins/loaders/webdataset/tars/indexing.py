"""The index of plain tars: made at first sight, kept beside the node's cache, shared by all processes of a node.

    tars/ID.idx, ID.rows    of one tar as it was when it was read: its offset table; its rows of the index, written last
    sets/ID/                of a list of tars: all that a shard set of ours has but the tars; it appears as a whole
    sets/ID.lock            held by the process that makes it

An ID is a hash of the tars' paths, sizes and times, so nothing here is ever changed, and a tar that changes is another one.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from time import monotonic

from drivetrain import DataError, Progress

from ..rows import ShardRows, read_rows, write_rows
from ..shards import DATASET_FILE, TEMPORARY, Damage, write_atomically
from ..storage.cache import cache_folder
from ..storage.config import StorageConfig
from .finding import Tar, Tars
from .listing import write_set
from .walking import BadTar, walk

_SHOWN = 10  # bad tars that are named
_EVERY_S = 5.0  # seconds between two words on tars of which none is done
_THREADS = (4, 32)  # at least, for file systems that answer late, and at most


def index_of(tars: Tars, storage: StorageConfig | None) -> Path:
    """The folder with the index of ``tars``, which is made where it is not there yet, by one process of those that ask.

    Raises DataError for tars that cannot be used, naming them, and where there is no room for the index."""
    home = cache_folder(storage.cache if storage else None) / "plain"
    folder = home / "sets" / tars.id
    if (folder / DATASET_FILE).exists():
        return folder
    try:
        for made in (home.parent, home, home / "tars", home / "sets"):
            made.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _alone(folder.with_suffix(".lock"), tars):
            if not (folder / DATASET_FILE).exists():
                _make(tars, home, folder)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"the index of {len(tars.tars)} tars cannot be written: {error}", where=str(home),
                        remedy="name another folder in $DRIVETRAIN_CACHE or loader.storage.cache.path") from error  # fmt: skip
    return folder


@contextlib.contextmanager
def _alone(path: Path, tars: Tars) -> Iterator[None]:
    """Where the file system has no locks each process makes the index, and the first one counts."""
    with open(path, "wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            Progress("", None, "").say(f"{tars.where}: another process indexes these tars, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)  # it ends with the process, also by kill -9
        except OSError as error:
            if error.errno not in (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS):
                raise
        yield


def _make(tars: Tars, home: Path, folder: Path) -> None:
    with Progress("indexing", len(tars.tars), "tar") as progress:
        parts = _Walker(home / "tars", progress).walk(tars)
        mine = f"{TEMPORARY}{folder.name}-{socket.gethostname()}"
        for left in folder.parent.glob(f"{mine}-*"):  # by a process of this node that was killed
            shutil.rmtree(left, ignore_errors=True)
        aside = folder.with_name(f"{mine}-{os.getpid()}")
        aside.mkdir()
        try:
            said = write_set(aside, tars, parts, home / "tars")
            _publish(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        for line in said:
            progress.say(f"{tars.where}: {line}")


def _publish(aside: Path, folder: Path) -> None:
    try:
        os.rename(aside, folder)
    except OSError:
        if not (folder / DATASET_FILE).exists():  # else another process was first
            raise


class _Walker:
    """Reads tars in threads: what takes time in it leaves the interpreter's lock alone."""

    def __init__(self, folder: Path, progress: Progress):
        self._folder, self._progress, self._lock = folder, progress, Lock()
        self._tars, self._bytes, self._told, self._stop = 0, 0, monotonic(), False

    def walk(self, tars: Tars) -> list[ShardRows]:
        """Of every tar, those that were read before aside. Raises DataError naming the bad ones, once all have been read."""
        workers = min(len(tars.tars), max(_THREADS[0], min(len(os.sched_getaffinity(0)), _THREADS[1])))
        with ThreadPoolExecutor(workers, "drivetrain-index") as pool:
            try:
                found = list(pool.map(self._one, tars.tars))
            except BaseException:
                self._stop = True
                pool.shutdown(cancel_futures=True)
                raise
        bad = [f"{tar.path}: {part}" for tar, part in zip(tars.tars, found) if isinstance(part, str)]
        if bad:
            more = [f"and {len(bad) - _SHOWN} more"] if len(bad) > _SHOWN else []
            lines = "\n  ".join([*bad[:_SHOWN], *more])
            raise DataError(f"{len(bad)} of {len(found)} tars cannot be used:\n  {lines}", where=tars.where,
                            remedy="mend them, or take them away: the others need not be read again")  # fmt: skip
        return [part for part in found if not isinstance(part, str)]

    def _one(self, tar: Tar) -> ShardRows | str:
        """Its rows, or why it cannot be used."""
        path = self._folder / f"{tar.id}.rows"
        with contextlib.suppress(FileNotFoundError, Damage):
            rows = read_rows(path)
            self._advance(0, 1)
            return rows
        try:
            table, rows = walk(tar.path, tar.shard, self._advance)
        except (BadTar, OSError) as error:
            return str(error)
        if tar.changed:
            return "it was written to while it was read"
        write_atomically(path.with_suffix(".idx"), table.to_bytes())
        write_rows(path, rows)
        self._advance(0, 1)
        return rows

    def _advance(self, size: int, tars: int = 0) -> None:
        with self._lock:
            if self._stop:
                raise _Stopped
            self._tars, self._bytes = self._tars + tars, self._bytes + size
            now = monotonic()
            if not tars and now - self._told < _EVERY_S:
                return
            self._told, size_mb = now, self._bytes / 1e6
            self._progress.advance(self._tars, f"{size_mb:.0f} MB, {size_mb / self._progress.seconds:.1f} MB/s")


class _Stopped(Exception):
    """The index is not wanted any more."""
