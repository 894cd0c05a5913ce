"""The node's cache: chunks of the shards of remote roots, in a folder that all processes of a node share.

A chunk's name says what it holds: the checksum of its shard's offset table, which covers every byte, and its number. While
it is fetched it is a ``.part`` that the fetching process has locked; a ``.part`` without a lock is what a killed one left.
Who needs a chunk soon holds it: an open file with a shared lock. What is not held makes room for more, the oldest use
first. Nothing here is trusted: who reads a sample checks it, and drops a chunk that is wrong.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from fcntl import LOCK_EX, LOCK_NB, LOCK_SH, flock
from pathlib import Path
from threading import Event, Lock
from time import sleep, time
from typing import BinaryIO

from drivetrain import DataError

from .config import CacheConfig

_REQUEST = 4 << 20  # bytes asked for at once: a slow root answers well within the time-out
_REQUESTS = 2  # of a chunk at once: few chunks at a time, so that the first to be used is there first
_LOOK = 0.05  # seconds between two looks at a chunk that another process fetches
_SPARE = 2 << 30  # bytes of the disk that are left to others
_FRESH = 1.0  # seconds within which a use is not noted again
_STALLED = 20.0  # seconds without a byte after which a chunk that is being fetched is not waited for
_CHUNK, _PART = "chunk-", ".part"

Fetch = Callable[[int, int], bytes]
"""(offset in the file, length) -> so many bytes."""


def open_cache(config: CacheConfig | None, remote: bool) -> Cache | None:
    """The cache of a set: as it is configured; by default one for remote roots only, where a folder can be had for it.

    Raises DataError where the configured folder cannot be made."""
    asked = config or CacheConfig()
    if not asked.max_gb or not (remote or config):
        return None
    try:
        return Cache(asked)
    except OSError as error:
        if not asked.path:
            return None
        raise DataError(f"the cache's folder cannot be used: {error}", where="loader.storage.cache.path") from error


def default_folder() -> Path:
    """$DRIVETRAIN_CACHE, or a folder of this user's under the system's temporary directory."""
    named = os.environ.get("DRIVETRAIN_CACHE")
    return Path(named) if named else Path(tempfile.gettempdir()) / f"drivetrain-cache-{os.getuid()}"


def cache_folder(config: CacheConfig | None) -> Path:
    """The cache's folder, as it is configured or by default."""
    return Path(config.path) if config and config.path else default_folder()


class Cache:
    """Safe to use from several threads and processes. ``chunk``: bytes of a chunk; ``limit``: bytes of all of them."""

    def __init__(self, config: CacheConfig):
        self.folder = cache_folder(config)
        self.chunk, self.limit = max(1, int(config.chunk_mb * 2**20)), int(config.max_gb * 1e9)
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.counters = dict.fromkeys(("hits", "misses", "waits", "dropped", "bytes_ahead"), 0.0)
        self._lock = Lock()
        with self._alone():
            self._clear_leftovers()

    def chunks(self, offset: int, length: int) -> range:
        """The numbers of the chunks that a range of a file lies in."""
        return range(offset // self.chunk, -(-(offset + length) // self.chunk))

    def read(self, file: int, offset: int, length: int) -> bytes | None:
        """A range of the file whose table has the checksum ``file``; None where a chunk of it is not there.

        A chunk that somebody is fetching is waited for, as long as its bytes keep coming: else they would come twice."""
        parts = []
        for number in self.chunks(offset, length):
            first = number * self.chunk
            start, end = max(offset - first, 0), min(offset + length - first, self.chunk)
            part = self._part(file, number, start, end - start)
            if part is None and self._arrives(self._path(file, number)):
                part = self._part(file, number, start, end - start)
            if part is None:
                self.count("misses")
                return None
            parts.append(part)
        self.count("hits")
        return b"".join(parts)

    def drop(self, file: int, offset: int, length: int) -> None:
        """Forget the chunks of a range, whose bytes were found to be wrong."""
        for number in self.chunks(offset, length):
            self._path(file, number).unlink(missing_ok=True)
        self.count("dropped")

    def bring(self, file: int, number: int, length: int, fetch: Fetch, stop: Event) -> BinaryIO | None:
        """A hold on a chunk of ``length`` bytes, to be closed once it is not needed any more; it is fetched where it is not
        there, by one process only. None where there is no room, or ``stop`` is set meanwhile. Raises what ``fetch`` does,
        and OSError where the folder cannot be written."""
        path = self._path(file, number)
        part = _part_of(path)
        while not stop.is_set():
            with self._alone():
                if (held := _hold(path, length)) is not None:
                    return held
                if not part.exists() or _remove_unlocked(part):
                    if not self._make_room(length):
                        return None
                    begun = _begin(part, length)
                    break
            stop.wait(_LOOK)
        else:
            return None
        try:
            for data in _in_order(fetch, number * self.chunk, length):
                begun.write(data)
            begun.flush()
            os.replace(part, path)
        except BaseException:
            part.unlink(missing_ok=True)
            with suppress(OSError):
                begun.close()
            raise
        flock(begun, LOCK_SH)
        self.count("bytes_ahead", length)
        return begun

    def count(self, name: str, value: float = 1) -> None:
        with self._lock:
            self.counters[name] += value

    def _path(self, file: int, number: int) -> Path:
        return self.folder / f"{_CHUNK}{file:016x}-{self.chunk:x}-{number:08d}"

    def _arrives(self, path: Path) -> bool:
        """Whether the chunk is there, once it is no longer being fetched."""
        waited = False
        while _is_coming(_part_of(path)):
            if not waited:
                self.count("waits")
            waited = True
            sleep(_LOOK)
        return path.exists()

    def _part(self, file: int, number: int, start: int, length: int) -> bytes | None:
        try:
            fd = os.open(self._path(file, number), os.O_RDONLY)
        except OSError:
            return None
        try:
            if time() - os.fstat(fd).st_mtime > _FRESH:
                os.utime(fd)
            data = os.pread(fd, length, start)
            return data if len(data) == length else None
        except OSError:
            return None
        finally:
            os.close(fd)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process and thread at a time; none holds it while it waits for a root."""
        with open(self.folder / "lock", "wb") as file:
            flock(file, LOCK_EX)
            yield

    def _clear_leftovers(self) -> None:
        for part in self.folder.glob(f"{_CHUNK}*{_PART}"):
            _remove_unlocked(part)

    def _make_room(self, needed: int) -> bool:
        self._clear_leftovers()
        found = []
        for path in self.folder.glob(f"{_CHUNK}*"):
            with suppress(FileNotFoundError):  # renamed or dropped meanwhile
                about = path.stat()
                found.append((about.st_mtime, path, about.st_size))
        total = sum(size for _, _, size in found)
        room = min(self.limit, total + shutil.disk_usage(self.folder).free - _SPARE) - needed
        for _, path, size in sorted(found):
            if total <= room:
                break
            if not path.name.endswith(_PART) and _remove_unlocked(path):
                total -= size
        return total <= room


def _in_order(fetch: Fetch, first: int, length: int) -> Iterator[bytes]:
    """``length`` bytes from ``first`` on, by some requests at once."""
    with ThreadPoolExecutor(_REQUESTS, "drivetrain-chunk") as pool:
        sizes = {start: min(_REQUEST, length - start) for start in range(0, length, _REQUEST)}
        yield from pool.map(lambda start: fetch(first + start, sizes[start]), sizes)


def _part_of(path: Path) -> Path:
    return path.with_name(path.name + _PART)


def _is_coming(part: Path) -> bool:
    """Whether somebody fetches it, and bytes of it came of late."""
    try:
        with open(part, "rb") as file:
            if time() - os.fstat(file.fileno()).st_mtime > _STALLED:
                return False
            flock(file, LOCK_SH | LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False  # a killed process left it


def _hold(path: Path, length: int) -> BinaryIO | None:
    try:
        file = open(path, "rb")  # noqa: SIM115
    except FileNotFoundError:
        return None
    flock(file, LOCK_SH)
    if os.fstat(file.fileno()).st_size == length:
        os.utime(file.fileno())
        return file
    file.close()
    path.unlink(missing_ok=True)
    return None


def _begin(part: Path, length: int) -> BinaryIO:
    """The file of a chunk to be fetched, locked, and as long as it will be so that its room is taken."""
    file = open(part, "wb")  # noqa: SIM115
    flock(file, LOCK_EX)
    file.truncate(length)
    return file


def _remove_unlocked(path: Path) -> bool:
    """Whether it is gone: nobody fetches or holds it."""
    try:
        with open(path, "rb") as file:
            flock(file, LOCK_EX | LOCK_NB)
            path.unlink(missing_ok=True)
    except FileNotFoundError:
        return True
    except BlockingIOError:
        return False
    return True
