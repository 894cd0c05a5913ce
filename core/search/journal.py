"""A study's journal: records that are only ever appended, each with its length and checksum.

A record is a line, ``LENGTH CRC32 JSON``, both numbers as eight hexadecimal digits. A writer that is killed leaves at most a
torn last record: readers pass it over, and the next writer cuts it off. A damaged record with whole ones behind it is no torn
tail; that is said, and nothing is cut.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import DataError, UserError
from ..files import sync_folder

Record = Mapping[str, Any]
_HEAD = 18  # eight digits, a space, eight digits, a space
_TORN = re.compile(rb"[0-9a-f]{1,7}$|[0-9a-f]{8}($| )")
"""How a first record begins, whatever is left of it; anything else is somebody's file."""


def frame(record: Record) -> bytes:
    """A record as it is written. Raises ValueError for a number that is not finite, which JSON lacks."""
    payload = json.dumps(record, separators=(",", ":"), allow_nan=False).encode()
    return b"%08x %08x %b\n" % (len(payload), zlib.crc32(payload), payload)


def read_journal(path: Path) -> list[dict[str, Any]]:
    """The whole records of the journal at ``path``, also while it is written; none where there is no file.

    Raises DataError for damage in its middle."""
    return _read(path)[0] if path.is_file() else []


class Journal:
    """The journal at ``path``, to be written by the one process that may (`drivetrain.search.lease`).

    Opening it cuts off a torn tail. ``append`` gathers; ``commit`` writes what was gathered and returns once it would outlive
    a power cut (``durable``: False for studies that nobody will ever resume). ``guard`` is called before each write, and
    raises where the journal is no longer this process's. A guard can be late, as after a pause of the host: records of another
    writer behind those that this one knows are not written over, UserError.
    """

    def __init__(self, path: Path, guard: Callable[[], None] = lambda: None, durable: bool = True):
        self.path, self._guard, self._durable = path, guard, durable
        self._gathered: list[bytes] = []
        guard()
        is_new = not path.exists()
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        self.records, whole = _read(path)
        if os.fstat(self._file).st_size > whole:
            os.ftruncate(self._file, whole)
        self._size = whole
        if is_new and durable:
            sync_folder(path.parent)

    def append(self, record: Record) -> None:
        self._gathered.append(frame(record))

    def commit(self) -> None:
        if not self._gathered:
            return
        self._guard()
        if os.fstat(self._file).st_size != self._size:
            raise UserError(f"{self.path}: another process has written to it", remedy="it goes on with the study: see "
                            "drivetrain search status")  # fmt: skip
        data, self._gathered = memoryview(b"".join(self._gathered)), []
        self._size += len(data)
        while data:
            data = data[os.write(self._file, data) :]
        if self._durable:
            os.fsync(self._file)

    def close(self) -> None:
        self.commit()
        os.close(self._file)


def _read(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The whole records, and the size in bytes that they fill."""
    data = path.read_bytes()
    found = list(_whole(data))
    size = found[-1][1] if found else 0
    if any(_record(data, at) for at in _line_starts(data, size)):
        raise DataError(f"{path} is damaged at byte {size}, and there are records behind that",
                        remedy=f"keep a copy, then cut it there: truncate -s {size} {path}")  # fmt: skip
    if not found and data.strip(b"\0") and not _TORN.match(data):
        raise DataError(f"{path} is no journal of a study", remedy="name another folder: nothing was changed here")
    return [record for record, _ in found], size


def _whole(data: bytes) -> Iterator[tuple[dict[str, Any], int]]:
    """(record, where it ends) up to the first that is not whole."""
    at = 0
    while found := _record(data, at):
        yield found
        at = found[1]


def _record(data: bytes, at: int) -> tuple[dict[str, Any], int] | None:
    """The record at byte ``at`` and where it ends; None where none is whole there."""
    try:
        length, checksum = int(data[at : at + 8], 16), int(data[at + 9 : at + 17], 16)
    except ValueError:
        return None
    end = at + _HEAD + length
    payload = data[at + _HEAD : end]
    if len(payload) < length or data[end : end + 1] != b"\n" or zlib.crc32(payload) != checksum:
        return None
    return json.loads(payload), end + 1


def _line_starts(data: bytes, after: int) -> Iterable[int]:
    at = data.find(b"\n", after)
    while at >= 0:
        yield at + 1
        at = data.find(b"\n", at + 1)
