"""Writing files so that a reader sees the whole file or the one before it, also after a power cut."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .errors import UserError


def write_json(path: Path, value: Any) -> None:
    """Atomically: written aside, synced, renamed."""
    write_text(path, json.dumps(value, indent=1, allow_nan=False))


def write_text(path: Path, text: str) -> None:
    """Atomically: written aside, synced, renamed."""
    write_aside(path, lambda aside: Path(aside).write_text(text))


def write_aside(path: Path, write: Callable[[str], Any]) -> None:
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    write(str(aside))
    descriptor = os.open(aside, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    os.replace(aside, path)
    descriptor = os.open(path.parent, os.O_RDONLY)  # the rename itself must outlive a power cut too
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
