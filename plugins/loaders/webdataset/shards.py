"""A shard set's files: names, and the offset table that stands beside each tar.

    shard-000000.tar  a standard WebDataset tar: KEY.cam_front.jpg, KEY.cam_front.semantic.png, KEY.json
    shard-000000.idx  its offset table
    shards.parquet    one row a shard: name, samples, bytes, checksum of its table
    index.parquet     one row a sample: key, shard, scene, timestamp, tags, labelled tasks, class counts
    dataset.json      what the set is; written last, so a folder without it is half-written

A table is little-endian: the header, the suffixes as JSON, the samples, the members, and xxh3_64 of all before it. A
sample's checksum is xxh3_64 of its byte range in the tar, headers and padding included.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xxhash

FORMAT_VERSION = 1
DATASET_FILE, SHARDS_FILE, INDEX_FILE = "dataset.json", "shards.parquet", "index.parquet"
WITHDRAWN_FILE = "withdrawn.parquet"
"""Keys, column ``key``, of samples that are not to be read any more."""
PLAN_FILE = ".conversion.json"
TEMPORARY = ".tmp-"

_MAGIC = b"DTSHARD\0"
_HEADER = struct.Struct("<8sIIQQQ")  # magic, version, bytes of suffixes, samples, members, bytes of the tar
_SAMPLE = np.dtype([("offset", "<u8"), ("length", "<u8"), ("checksum", "<u8"), ("first", "<u4"), ("members", "<u4")])
_MEMBER = np.dtype([("offset", "<u4"), ("length", "<u4"), ("suffix", "<u2")])  # offset from the sample's start


class Damage(Exception):
    """Bytes that are proven bad: they do not match their checksum, or cannot be decoded."""


def shard_name(number: int) -> str:
    return f"shard-{number:06d}"


@dataclass(frozen=True)
class Table:
    """Where a shard's samples and their files lie. ``samples`` and ``members`` are structured arrays."""

    suffixes: tuple[str, ...]
    samples: np.ndarray
    members: np.ndarray
    tar_bytes: int
    checksum: int = 0

    def __len__(self) -> int:
        return len(self.samples)

    def range(self, place: int) -> tuple[int, int, int]:
        """Offset, length and checksum of a sample's byte range."""
        offset, length, checksum, _, _ = self.samples[place].item()
        return offset, length, checksum

    def parts(self, place: int, data: bytes) -> dict[str, memoryview]:
        """A sample's files, suffix -> bytes, as views into its byte range ``data``."""
        _, _, _, first, count = self.samples[place].item()
        view = memoryview(data)
        members = self.members[first : first + count].tolist()
        return {self.suffixes[suffix]: view[offset : offset + length] for offset, length, suffix in members}

    def to_bytes(self) -> bytes:
        suffixes = json.dumps(self.suffixes).encode()
        header = _HEADER.pack(_MAGIC, FORMAT_VERSION, len(suffixes), len(self.samples), len(self.members), self.tar_bytes)
        body = header + suffixes + self.samples.tobytes() + self.members.tobytes()
        return body + struct.pack("<Q", xxhash.xxh3_64_intdigest(body))

    @staticmethod
    def read(path: Path) -> Table:
        """Raises Damage where the file is not a whole table, OSError where it cannot be read."""
        data = path.read_bytes()
        if len(data) < _HEADER.size + 8 or data[:8] != _MAGIC:
            raise Damage(f"{path} is not an offset table")
        _, version, text, samples, members, tar_bytes = _HEADER.unpack_from(data)
        if version != FORMAT_VERSION:
            raise Damage(f"{path} has format version {version}, this reads {FORMAT_VERSION}")
        checksum = struct.unpack("<Q", data[-8:])[0]
        if xxhash.xxh3_64_intdigest(memoryview(data)[:-8]) != checksum:
            raise Damage(f"{path} does not match its checksum")
        start = _HEADER.size + text
        return Table(
            tuple(json.loads(data[_HEADER.size : start])),
            np.frombuffer(data, _SAMPLE, samples, start),
            np.frombuffer(data, _MEMBER, members, start + samples * _SAMPLE.itemsize),
            tar_bytes,
            checksum,
        )


class TableBuilder:
    """Collects a table while its tar is written."""

    def __init__(self):
        self._suffixes: dict[str, int] = {}
        self._samples: list[tuple[int, ...]] = []
        self._members: list[tuple[int, ...]] = []

    def add(self, offset: int, data: bytes, members: Sequence[tuple[str, int, int]]) -> None:
        """One sample: its byte range ``data`` at ``offset`` of the tar, ``members`` (suffix, offset in data, length)."""
        checksum = xxhash.xxh3_64_intdigest(data)
        self._samples.append((offset, len(data), checksum, len(self._members), len(members)))
        for suffix, start, length in members:
            self._members.append((start, length, self._suffixes.setdefault(suffix, len(self._suffixes))))

    def table(self, tar_bytes: int) -> Table:
        return Table(tuple(self._suffixes), np.array(self._samples, _SAMPLE), np.array(self._members, _MEMBER), tar_bytes)


def write_atomically(path: Path, data: bytes) -> None:
    """The whole file or none of it, also after a power cut."""
    aside = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    with open(aside, "wb") as file:
        file.write(data)
        file.flush()
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
