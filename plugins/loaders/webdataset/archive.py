"""A shard's tar and its table, as they are written: sample after sample, hashed and written where the bytes lie."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import xxhash

from drivetrain import encode_key

from .shards import Table, TableBuilder, aside_of, write_atomically

BLOCK = tarfile.BLOCKSIZE
_STARTED = 8 << 20  # bytes after which the disk is set to work
_EMPTY = tarfile.TarInfo().tobuf(tarfile.PAX_FORMAT)  # owner, group and time stay 0: equal frames give equal bytes
_SIZE, _SUM = slice(124, 135), slice(148, 155)
_SUM_OF_REST = sum(_EMPTY) - sum(_EMPTY[_SUM]) - sum(_EMPTY[_SIZE]) + len(_EMPTY[_SUM]) * ord(" ")


class Archive:
    """``path`` plus .tar and .idx, written aside until `publish`. Use as a context; after an error nothing is left."""

    def __init__(self, path: Path):
        self._tar, self._idx = path.with_suffix(".tar"), path.with_suffix(".idx")
        self._aside = aside_of(self._tar)
        self._file = os.open(self._aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._size, self._started, self._builder = 0, 0, TableBuilder()

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        os.close(self._file)
        if kind is not None:
            self._aside.unlink(missing_ok=True)

    def add(self, key: str, parts: Mapping[str, bytes]) -> None:
        """One sample: its files, suffix -> bytes."""
        name, pieces, members, length = encode_key(key), [], [], 0
        for suffix, content in parts.items():
            header, padding = tar_header(f"{name}.{suffix}", len(content)), bytes(-len(content) % BLOCK)
            members.append((suffix, length + len(header), len(content), xxhash.xxh3_64_intdigest(content)))
            pieces += [header, content, padding]
            length += len(header) + len(content) + len(padding)
        checksum = xxhash.xxh3_64()
        for piece in pieces:
            checksum.update(piece)
        self._builder.add(self._size, length, checksum.intdigest(), members)
        self._write(pieces)

    def publish(self) -> Table:
        """Ends and syncs both files and gives them their names. Between the two the table is another one, or none."""
        self._write([bytes(2 * BLOCK)])
        os.fsync(self._file)
        table = self._builder.table(self._size).to_bytes()
        os.replace(self._aside, self._tar)
        write_atomically(self._idx, table)  # it syncs the folder, for both
        return Table.from_bytes(table, str(self._idx))

    def _write(self, pieces: Sequence[bytes]) -> None:
        self._size += _write_all(self._file, pieces)
        if self._size - self._started >= _STARTED:  # so that the sync at the end finds little left to do
            os.posix_fadvise(self._file, self._started, self._size - self._started, os.POSIX_FADV_DONTNEED)
            self._started = self._size


def tar_header(name: str, size: int) -> bytes:
    """What tarfile gives for a file of ``size`` bytes, in a tenth of its time where the name is short and plain."""
    plain = name.encode()
    if len(plain) > tarfile.LENGTH_NAME or len(plain) != len(name) or size >= 1 << 33:
        info = tarfile.TarInfo(name)
        info.size = size
        return info.tobuf(tarfile.PAX_FORMAT)
    header, digits = bytearray(_EMPTY), b"%011o" % size
    header[: len(plain)], header[_SIZE] = plain, digits
    header[_SUM] = b"%06o\0" % (_SUM_OF_REST + sum(plain) + sum(digits))
    return bytes(header)


def _write_all(file: int, pieces: Sequence[bytes]) -> int:
    total = sum(len(piece) for piece in pieces)
    written = os.writev(file, pieces) if len(pieces) <= os.sysconf("SC_IOV_MAX") else 0
    if written < total:  # a full pipe of the file system, or a signal
        rest = memoryview(b"".join(pieces))[written:]
        while rest:
            rest = rest[os.write(file, rest) :]
    return total
