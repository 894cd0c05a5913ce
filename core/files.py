"""Writing files so that a reader sees the whole file or the one before it, also after a power cut."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import xxhash

from .errors import UserError

_BLOCK = 1 << 22


def new_file(path: Path) -> Path:
    """``path``, in a folder that is made where there is none. Raises UserError where a file is there already."""
    if path.exists():
        raise UserError(f"{path} is there already", remedy="name another file with --out")
    path.parent.mkdir(parents=True, exist_ok=True)
    return path


def write_json(path: Path, value: Any) -> None:
    """Atomically: written aside, synced, renamed."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False))


def write_text(path: Path, text: str) -> None:
    """Atomically: written aside, synced, renamed."""
    write_aside(path, lambda aside: Path(aside).write_text(text))


def write_aside(path: Path, write: Callable[[str], Any]) -> None:
    """``write`` is given the name to write to; nothing stays of an attempt that failed."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        write(str(aside))
        _sync(aside)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    os.replace(aside, path)
    sync_folder(path.parent)


def write_hashed(path: Path, parts: Iterable[Any]) -> dict[str, Any]:
    """``parts`` (bytes, or arrays of them) one after the other, atomically. Returns ``bytes`` and the hash ``xxh3``."""
    digest, size = xxhash.xxh3_128(), 0

    def write(aside: str) -> None:
        nonlocal size
        with open(aside, "wb", buffering=0) as file:
            for block in _blocks(parts):
                digest.update(block)
                while block:  # an unbuffered file may take less than it is given
                    written = file.write(block)
                    block, size = block[written:], size + written

    write_aside(path, write)
    return {"bytes": size, "xxh3": digest.hexdigest()}


def _blocks(parts: Iterable[Any]) -> Iterator[memoryview]:
    for part in parts:
        view = memoryview(part)
        yield from (view[at : at + _BLOCK] for at in range(0, len(view), _BLOCK))


def hash_file(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def sync_folder(path: Path) -> None:
    """Names in a folder must outlive a power cut too."""
    _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file that hold something. Raises UserError where it cannot be read."""
    try:
        return [line for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read: {error}") from error
