"""One tar, read through once, sample by sample: where its files lie, what they hold, and their checksums."""

from __future__ import annotations

import os
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import xxhash

from ..rows import ShardRows, sizes_of, table_of
from ..shards import Table, TableBuilder
from .frames import Found, found_in
from .naming import split_name

_BLOCK = tarfile.BLOCKSIZE
_MOST = 1 << 32  # bytes of a sample, and beyond: a table has 4 bytes for where a file begins in it
_PACKERS = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x04\x22\x4d\x18": "lz4"}
Member = tuple[str, str, tarfile.TarInfo]
"""Key, suffix, and where the file lies."""


class BadTar(Exception):
    """Why a tar cannot be used, in words."""


class Notes:
    """What was left out, counted, with one example each."""

    def __init__(self) -> None:
        self.found: dict[str, list[int | str]] = {}

    def add(self, what: str, example: str, count: int = 1) -> None:
        entry = self.found.setdefault(what, [0, example])
        entry[0] = int(entry[0]) + count

    def merge(self, others: Mapping[str, Sequence[int | str]]) -> None:
        for what, (count, example) in others.items():
            self.add(what, str(example), int(count))


def walk(path: Path, shard: str, advance: Callable[[int], None]) -> tuple[Table, ShardRows]:
    """The tar's table, and its rows of the index, as shard ``shard``; ``advance(bytes)`` as it goes.

    ``ShardRows.more`` holds ``first`` and ``last``, the keys at the tar's ends, and ``notes``. Raises BadTar, and OSError where
    the file cannot be read."""
    notes, builder, rows, seen = Notes(), TableBuilder(), [], dict[str, None]()
    fd = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(fd).st_size
        for key, members in groupby(_members(fd, path, notes), lambda member: member[0]):
            if key in seen:
                raise BadTar(f"the files of sample {key!r} do not follow each other, or two samples have that key")
            if not _is_utf8(key):
                raise BadTar(f"the name {key!r} is no UTF-8")
            seen[key] = None
            found, length = _sample(fd, key, list(members), builder, notes)
            advance(length)
            rows += [found.row] if found else []
    finally:
        os.close(fd)
    table = builder.table(size)
    ends = {"first": next(iter(seen), None), "last": next(reversed(seen), None)}
    checksum = int.from_bytes(table.to_bytes()[-8:], "little")
    return table, ShardRows(table_of(rows, shard, 0), size, checksum, sizes_of(rows), {**ends, "notes": notes.found})


def _is_utf8(name: str) -> bool:
    return name == name.encode("utf-8", "replace").decode()


def _sample(fd: int, key: str, members: Sequence[Member], builder: TableBuilder, notes: Notes) -> tuple[Found | None, int]:
    """Adds a sample to the table where it is a frame; its bytes in the tar."""
    first, last = members[0][2], members[-1][2]
    offset, length = first.offset, last.offset_data + -(-last.size // _BLOCK) * _BLOCK - first.offset
    if length >= _MOST:
        raise BadTar(f"sample {key!r} has {length / 1e9:.1f} GB, 4.2 at most can be read")
    suffixes = [suffix for _, suffix, _ in members]
    if len(set(suffixes)) < len(suffixes):
        raise BadTar(f"sample {key!r} has a file twice: {', '.join(sorted(suffixes))}")
    data = _read(fd, offset, length)
    spans = [(info.offset_data - offset, info.size) for _, _, info in members]
    view = memoryview(data)
    parts = {suffix: view[start : start + size] for suffix, (start, size) in zip(suffixes, spans)}
    try:
        found = found_in(key, parts, notes)
    except ValueError as error:
        raise BadTar(f"sample {key!r}: {error}") from error
    if found is not None:
        hashes = [xxhash.xxh3_64_intdigest(part) for part in parts.values()]
        files = [(found.names[suffix], *span, content) for suffix, span, content in zip(suffixes, spans, hashes)]
        builder.add(offset, length, xxhash.xxh3_64_intdigest(data), files, found.text)
    return found, length


def _read(fd: int, offset: int, length: int) -> bytes:
    if offset + length > os.fstat(fd).st_size:  # before memory is taken for what a header declares
        raise BadTar(f"it ends in the middle of the sample at byte {offset}")
    parts = []
    while length:
        part = os.pread(fd, min(length, 1 << 30), offset)  # one call gives 2 GB at most
        if not part:
            raise BadTar("it was cut while it was read")
        parts.append(part)
        offset, length = offset + len(part), length - len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _members(fd: int, path: Path, notes: Notes) -> Iterator[Member]:
    """The files that belong to samples. Raises BadTar for what a WebDataset tar must not hold."""
    with open(fd, "rb", buffering=0, closefd=False) as file:
        for info in _headers(file, path):
            if info.isdir():
                continue
            if info.islnk() or info.issym():
                raise BadTar(f"{info.name!r} is a link to {info.linkname!r}: write it with "
                             "tar --dereference --hard-dereference")  # fmt: skip
            if info.issparse() or not info.isreg():
                raise BadTar(f"{info.name!r} is {'a sparse' if info.issparse() else 'no regular'} file")
            named = split_name(info.name)
            if named is None:
                notes.add("files whose names give no key (KEY.ENDING)", f"{info.name!r} in {path.name}")
            else:
                yield *named, info


def _headers(file: object, path: Path) -> Iterator[tarfile.TarInfo]:
    """Python's tarfile ends in silence at a damaged header: what follows the last one must be zeros."""
    assert hasattr(file, "fileno")
    fd = file.fileno()
    start = os.pread(fd, 8, 0)
    packer = next((name for magic, name in _PACKERS.items() if start.startswith(magic)), None)
    if packer:
        raise BadTar(f"it is compressed ({packer}): unpack it, no sample of it can be read without all before it")
    end = 0
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:  # type: ignore[call-overload]
            while (info := tar.next()) is not None:
                if info.size < 0:  # it would be read again and again
                    raise tarfile.ReadError(f"{info.name!r} has a size below 0")
                yield info
                tar.members, end = [], tar.offset  # type: ignore[attr-defined]  # it would keep them all
    except (tarfile.TarError, ValueError, LookupError, ArithmeticError, MemoryError) as error:  # of hostile headers
        raise BadTar(f"it is no whole tar: {error}, after byte {end}") from error
    _check_end(fd, end)


def _check_end(fd: int, end: int) -> None:
    while block := os.pread(fd, 1 << 20, end):
        strange = np.flatnonzero(np.frombuffer(block, np.uint8))
        if len(strange):
            at = end + int(strange[0]) // _BLOCK * _BLOCK
            raise BadTar(f"what lies at byte {at} is no header of a file: it is damaged, or two tars are one after the other")
        end += len(block)
