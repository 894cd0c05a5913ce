"""Manifest files: JSON lines and Parquet, read row by row through small references."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from drivetrain import ClassInfo, DataError

from .lines import parse_classes

SIDECAR = "classes.json"
_SUFFIXES = (".jsonl", ".parquet")


class Ref(NamedTuple):
    """One row of ``file``. ``number`` counts from 1. JSON lines: byte ``offset`` and ``size``; Parquet: row group and row."""

    file: str
    number: int
    offset: int
    size: int

    @property
    def where(self) -> str:
        return f"{self.file}:{self.number}"


Classes = dict[str, tuple[ClassInfo, ...]]


def manifest_file(root: Path, split: str) -> Path:
    """The manifest at ``root``. Raises DataError saying which names were looked for."""
    if root.is_file():
        return root
    wanted = [stem + suffix for stem in (split, "manifest") for suffix in _SUFFIXES]
    for name in wanted:
        if (root / name).is_file():
            return root / name
    found = sorted(path.name for path in root.iterdir())[:10] if root.is_dir() else []
    raise DataError("no manifest here", where=str(root),
                    remedy=f"expected one of: {', '.join(wanted)}\nfound: {', '.join(found) or 'nothing'}")  # fmt: skip


def rows(path: Path) -> Iterator[tuple[Ref, Any]]:
    """Every frame's row, with a reference from which `read_row` gets it again."""
    yield from _parquet_rows(path) if path.suffix == ".parquet" else _json_rows(path)


def read_row(ref: Ref) -> Any:
    if ref.file.endswith(".parquet"):
        return _row_group(ref.file, ref.offset)[ref.size]
    return _json(os.pread(_open(ref.file).fileno(), ref.size, ref.offset), ref.where)


@functools.lru_cache(8)
def _open(file: str) -> BinaryIO:
    """Kept open: a row is a small part of it."""
    return open(file, "rb", buffering=0)


@functools.lru_cache(8)
def classes_of(file: str) -> Classes:
    """What the manifest declares: in its first line or schema, else in the sidecar; nothing if neither is there."""
    path = Path(file)
    own = _parquet_classes(path) if path.suffix == ".parquet" else _first_line(path)
    if own is not None:
        return parse_classes(own, f"{path}:1")
    sidecar = path.with_name(SIDECAR)
    return parse_classes(_json(sidecar.read_bytes(), str(sidecar)), str(sidecar)) if sidecar.is_file() else {}


def forget() -> None:
    """Read files anew: they may have been mended."""
    classes_of.cache_clear()
    _open.cache_clear()
    _row_group.cache_clear()


def _json(text: bytes | str, where: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise DataError(f"is not JSON: {error}", where=where) from None


def _json_rows(path: Path) -> Iterator[tuple[Ref, Any]]:
    offset = 0
    with path.open("rb") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                ref = Ref(str(path), number, offset, len(line))
                row = _json(line, ref.where)
                if not (number == 1 and _is_header(row)):
                    yield ref, row
            offset += len(line)


def _is_header(row: Any) -> bool:
    return isinstance(row, dict) and "classes" in row and "key" not in row


def _first_line(path: Path) -> Any:
    with path.open("rb") as file:
        row = _json(file.readline().strip() or b"null", f"{path}:1")
    return row if _is_header(row) else None


def _open_parquet(path: str | Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise DataError(f"is not Parquet: {error}", where=str(path)) from None


def _parquet_rows(path: Path) -> Iterator[tuple[Ref, Any]]:
    number = 0
    for group in range(_open_parquet(path).num_row_groups):
        for place, row in enumerate(_row_group(str(path), group)):
            number += 1
            yield Ref(str(path), number, group, place), row


@functools.lru_cache(2)
def _row_group(file: str, group: int) -> list[Any]:
    found = _open_parquet(file).read_row_group(group).to_pylist(maps_as_pydicts="strict")
    return [_json(row["frame"], f"{file}: row group {group}") if row.keys() == {"frame"} else row for row in found]


def _parquet_classes(path: Path) -> Any:
    metadata = _open_parquet(path).schema_arrow.metadata or {}
    return {"classes": _json(metadata[b"classes"], f"{path}: classes")} if b"classes" in metadata else None
