"""A shard set's files: names, and the offset table that stands beside each tar.

    shard-000000.tar  a standard WebDataset tar: KEY.cam_front.jpg, KEY.cam_front.semantic.png, KEY.json
    shard-000000.idx  its offset table
    shards.parquet    one row a shard: name, samples, bytes, checksum of its table
    index.parquet     one row a sample: key, shard, scene, timestamp, tags, labelled tasks, class counts
    dataset.json      what the set is; written last, so a folder without it is half-written
    .conversion/      while a set is written: the plan, the whole shards' rows of the index, files that are not whole yet

A table is little-endian: the header, the suffixes as JSON, the samples, the members, and xxh3_64 of all before it. A
sample's checksum is xxh3_64 of its byte range in the tar, headers and padding included; a member's is of its content, so
that some of a sample's files can be read without the others. The table of a tar that others wrote ends with what the tar
lacks: the ``json`` of each sample (`Table.texts`).
"""

from __future__ import annotations

import json
import os
import socket
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import xxhash

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 2
_WITH_TEXTS = 3
DATASET_FILE, SHARDS_FILE, INDEX_FILE = "dataset.json", "shards.parquet", "index.parquet"
WITHDRAWN_FILE = "withdrawn.parquet"
"""Keys, column ``key``, of samples that are not to be read any more."""
WORK_FOLDER = ".conversion"
PLAN_FILE = f"{WORK_FOLDER}/plan.json"
TEMPORARY = ".tmp-"
MOST = 1 << 20  # samples in a shard: the order takes memory for what is declared

_GAP = 16 * 1024  # bytes between two wanted files that are read too
_MAGIC = b"DTSHARD\0"
_HEADER = struct.Struct("<8sIIQQQ")  # magic, version, bytes of suffixes, samples, members, bytes of the tar
_SAMPLE = np.dtype([("offset", "<u8"), ("length", "<u8"), ("checksum", "<u8"), ("first", "<u4"), ("members", "<u4")])
_MEMBER = np.dtype([("offset", "<u4"), ("length", "<u4"), ("checksum", "<u8"), ("suffix", "<u2")])  # from the sample's start


class Damage(Exception):
    """Bytes that are proven bad: they do not match their checksum, or cannot be decoded."""


def shard_name(number: int) -> str:
    return f"shard-{number:06d}"


def strange_names(names: pa.Array) -> list[str]:
    """Those that are no plain file names: they would lead out of the set's folder."""
    import pyarrow.compute as pc

    plain = pc.match_substring_regex(names, r"^[A-Za-z0-9_%-][A-Za-z0-9_%.-]*$").fill_null(False)
    return names.filter(pc.invert(plain)).to_pylist()


def is_list(listed: pa.Table) -> bool:
    """Whether ``name``, ``samples`` and ``checksum`` can be shards' names and sizes, and their tables' checksums."""
    import pyarrow as pa

    names, samples, checksums = (listed.column(name) for name in ("name", "samples", "checksum"))
    if [names.type, samples.type, checksums.type] != [pa.string(), pa.int64(), pa.uint64()]:
        return False
    if samples.null_count or checksums.null_count:
        return False
    sizes = samples.to_numpy()
    return bool(((sizes >= 0) & (sizes <= MOST)).all())


@dataclass(frozen=True)
class Wanted:
    """Which files of a sample are read: the frame's own ``json``, and those whose names without an ending are ``stems``."""

    stems: frozenset[str]

    def __call__(self, suffix: str) -> bool:
        stem, _, ending = suffix.rpartition(".")
        return not stem or stem in self.stems or not ending


@dataclass(frozen=True)
class Piece:
    """A byte range of a tar with some of a sample's files: (suffix, offset inside, length, xxh3_64). ``checksum``: of the
    whole range, where it is a whole sample."""

    offset: int
    length: int
    files: Sequence[tuple[str, int, int, int]]
    checksum: int | None = None

    def matches(self, data: bytes) -> bool:
        if len(data) != self.length:
            return False
        if self.checksum is not None:
            return xxhash.xxh3_64_intdigest(data) == self.checksum
        view = memoryview(data)
        return all(xxhash.xxh3_64_intdigest(view[start : start + size]) == content for _, start, size, content in self.files)

    def parts(self, data: bytes) -> dict[str, memoryview]:
        """Suffix -> the file's bytes, as views into ``data``."""
        view = memoryview(data)
        return {suffix: view[start : start + size] for suffix, start, size, _ in self.files}


class Texts:
    """A text a sample, ``ends`` uint64 [samples] of them in ``text``."""

    def __init__(self, ends: np.ndarray, text: bytes):
        self._ends, self._text = ends, text

    @staticmethod
    def of(texts: Iterable[bytes]) -> Texts:
        texts = list(texts)
        return Texts(np.cumsum([len(text) for text in texts], dtype="<u8"), b"".join(texts))

    def __getitem__(self, place: int) -> bytes:
        return self._text[int(self._ends[place - 1]) if place else 0 : int(self._ends[place])]

    @property
    def nbytes(self) -> int:
        """Of `to_bytes`, as far as the ends tell."""
        return self._ends.nbytes + (int(self._ends[-1]) if len(self._ends) else 0)

    def to_bytes(self) -> bytes:
        return self._ends.tobytes() + self._text

    @staticmethod
    def from_bytes(data: bytes, samples: int) -> Texts:
        return Texts(np.frombuffer(data, "<u8", samples), data[8 * samples :])


@lru_cache(maxsize=64)
def _wanted_of(suffixes: tuple[str, ...], wanted: Wanted) -> tuple[bool, ...]:
    return tuple(map(wanted, suffixes))


@dataclass(frozen=True)
class Table:
    """Where a shard's samples and their files lie. ``samples`` and ``members`` are structured arrays; ``texts``: of each
    sample the ``json`` that its tar does not hold, empty where it does."""

    suffixes: tuple[str, ...]
    samples: np.ndarray
    members: np.ndarray
    tar_bytes: int
    checksum: int = 0
    texts: Texts | None = None

    def __len__(self) -> int:
        return len(self.samples)

    def given(self, place: int) -> dict[str, memoryview]:
        """The files of a sample that are not in the tar: suffix -> bytes."""
        text = self.texts[place] if self.texts else b""
        return {"json": memoryview(text)} if text else {}

    def pieces(self, place: int, wanted: Wanted | None = None) -> list[Piece]:
        """What to read of a sample for the files that are ``wanted``, None for all. Wanted files that lie near each other
        come in one piece, since a second request costs more than the bytes between them."""
        offset, length, checksum, first, count = self.samples[place].item()
        files = [(self.suffixes[n], at, size, content) for at, size, content, n in self.members[first : first + count].tolist()]
        if wanted is None or all(_wanted_of(self.suffixes, wanted)):
            return [Piece(offset, length, files, checksum)]
        pieces: list[Piece] = []
        for suffix, at, size, content in files:
            if not wanted(suffix):
                continue
            last = pieces[-1] if pieces else None
            if last is None or offset + at - (last.offset + last.length) > _GAP:
                pieces.append(Piece(offset + at, size, [(suffix, 0, size, content)]))
                continue
            start = offset + at - last.offset
            pieces[-1] = Piece(last.offset, start + size, [*last.files, (suffix, start, size, content)])
        return pieces

    def matches(self, offset: int, data: bytes) -> bool:
        """Whether ``data``, which lies at ``offset`` of the tar, is right as to every sample that is wholly in it."""
        view, ends = memoryview(data), self.samples["offset"] + self.samples["length"]
        inside = self.samples[(self.samples["offset"] >= offset) & (ends <= offset + len(data))]
        return all(
            xxhash.xxh3_64_intdigest(view[at - offset : at - offset + length]) == checksum
            for at, length, checksum in inside[["offset", "length", "checksum"]].tolist()
        )

    def to_bytes(self) -> bytes:
        suffixes = json.dumps(self.suffixes).encode()
        version = FORMAT_VERSION if self.texts is None else _WITH_TEXTS
        header = _HEADER.pack(_MAGIC, version, len(suffixes), len(self.samples), len(self.members), self.tar_bytes)
        body = header + suffixes + self.samples.tobytes() + self.members.tobytes()
        if self.texts is not None:
            body += self.texts.to_bytes()
        return body + struct.pack("<Q", xxhash.xxh3_64_intdigest(body))

    @staticmethod
    def read(path: Path) -> Table:
        """Raises Damage where the file is not a whole table, OSError where it cannot be read."""
        return Table.from_bytes(path.read_bytes(), str(path))

    @staticmethod
    def from_bytes(data: bytes, path: str) -> Table:
        """Raises Damage, naming ``path``, where ``data`` is not a whole table."""
        if len(data) < _HEADER.size + 8 or data[:8] != _MAGIC:
            raise Damage(f"{path} is not an offset table")
        _, version, text, samples, members, tar_bytes = _HEADER.unpack_from(data)
        if version not in (FORMAT_VERSION, _WITH_TEXTS):
            raise Damage(f"{path} has format version {version}, this reads {FORMAT_VERSION}")
        checksum = struct.unpack("<Q", data[-8:])[0]
        if xxhash.xxh3_64_intdigest(memoryview(data)[:-8]) != checksum:
            raise Damage(f"{path} does not match its checksum")
        start = _HEADER.size + text
        end = start + samples * _SAMPLE.itemsize + members * _MEMBER.itemsize
        room = len(data) - 8 - end
        texts = Texts.from_bytes(data[end:-8], samples) if version == _WITH_TEXTS and room >= 8 * samples else None
        if room != (texts.nbytes if texts else 0):
            raise Damage(f"{path} declares {samples} samples and {members} files, and is {len(data)} bytes long")
        table = Table(
            _suffixes(data[_HEADER.size : start], path),
            np.frombuffer(data, _SAMPLE, samples, start),
            np.frombuffer(data, _MEMBER, members, start + samples * _SAMPLE.itemsize),
            tar_bytes,
            checksum,
            texts,
        )
        if not table.fits:
            raise Damage(f"{path} points outside its tar")
        return table

    @property
    def fits(self) -> bool:
        """Whether every sample lies inside the tar, and every file inside its sample."""
        first, count, length = (self.samples[name].astype(np.uint64) for name in ("first", "members", "length"))
        inside = (self.samples["offset"] <= self.tar_bytes) & (length <= self.tar_bytes - self.samples["offset"])
        if not inside.all() or (first + count > len(self.members)).any() or count.sum() != len(self.members):
            return False
        ends = self.members["offset"].astype(np.uint64) + self.members["length"]
        consecutive = bool((first == np.concatenate([[0], np.cumsum(count)[:-1]]).astype(np.uint64)).all())
        known = bool((self.members["suffix"] < len(self.suffixes)).all())
        return consecutive and known and bool((ends <= np.repeat(length, count.astype(np.int64))).all())


def _suffixes(text: bytes, path: str) -> tuple[str, ...]:
    try:
        suffixes = json.loads(text)
    except ValueError:
        suffixes = None
    if not isinstance(suffixes, list) or not all(isinstance(suffix, str) for suffix in suffixes):
        raise Damage(f"{path} holds no list of suffixes")
    return tuple(suffixes)


class TableBuilder:
    """Collects a table while its tar is written."""

    def __init__(self):
        self._suffixes: dict[str, int] = {}
        self._samples: list[tuple[int, ...]] = []
        self._members: list[tuple[int, ...]] = []
        self._texts: list[bytes] = []

    def add(self, offset: int, length: int, checksum: int, members: Sequence[tuple[str, int, int, int]],
            text: bytes = b"") -> None:  # fmt: skip
        """One sample: its byte range in the tar and that range's xxh3_64, ``members`` (suffix, offset inside, length and
        xxh3_64 of the content), and its ``json`` where the tar does not hold it."""
        self._texts.append(text)
        self._samples.append((offset, length, checksum, len(self._members), len(members)))
        for suffix, start, size, content in members:
            self._members.append((start, size, content, self._suffixes.setdefault(suffix, len(self._suffixes))))

    def table(self, tar_bytes: int) -> Table:
        samples, members = np.array(self._samples, _SAMPLE), np.array(self._members, _MEMBER)
        texts = Texts.of(self._texts) if any(self._texts) else None
        return Table(tuple(self._suffixes), samples, members, tar_bytes, texts=texts)


def aside_of(path: Path) -> Path:
    """Where a file of this process is written before it gets its name: in the set's work folder if there is one."""
    work = path.parent / WORK_FOLDER
    name = f"{TEMPORARY}{path.name}-{socket.gethostname()}-{os.getpid()}"
    return work / name if work.is_dir() else path.with_name(name)


def write_atomically(path: Path, data: bytes | memoryview) -> None:
    """The whole file or none of it, also after a power cut."""
    aside = aside_of(path)
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    publish(aside, path)


def publish_synced(aside: Path, path: Path) -> None:
    """Sync a file that somebody else wrote aside, and give it its name."""
    with open(aside, "rb") as file:
        os.fsync(file.fileno())
    publish(aside, path)


def publish(aside: Path, path: Path) -> None:
    """Give a file that was written and synced aside its name."""
    os.replace(aside, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def order_id(shards: Sequence[tuple[str, int]]) -> str:
    """What the order of samples depends on: the ordered (name, sample count) of all shards, as 16 hex digits."""
    return xxhash.xxh3_64_hexdigest(json.dumps(shards, separators=(",", ":")).encode())


def content_id(checksums: Sequence[int]) -> str:
    """What the samples hold: the tables' checksums, as 16 hex digits."""
    return xxhash.xxh3_64_hexdigest(np.array(checksums, "<u8").tobytes())
