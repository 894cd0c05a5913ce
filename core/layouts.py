"""What readers of official layouts share: pictures and masks as the bytes that they are, JSON tables, and what is missing."""

from __future__ import annotations

import io
import json
import os
import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from .errors import DataError, near_matches
from .frame import Encoded

if TYPE_CHECKING:
    import pyarrow as pa

_SHOWN = 5
_SPACE = re.compile(r"[\s,]*")


def check_layout(what: str, root: Path, wanted: Sequence[str]) -> None:
    """That all of ``wanted`` is there: paths below ``root``, those of folders with a slash at their end.

    Raises DataError naming what is missing and what is there instead, or the folder close by that has all of it."""
    missing = [name for name in wanted if not _is_there(root, name)]
    if missing:
        raise DataError(f"the layout of {what} is not complete: missing {', '.join(missing)}", where=str(root),
                        remedy=_instead(root, wanted))  # fmt: skip


def check_split(what: str, split: str, known: Sequence[str], root: Path) -> None:
    """Raises DataError for a split that the dataset does not have."""
    if split not in known:
        raise DataError(f"{what} has no split {split!r}", where=str(root), near=near_matches(split, known),
                        remedy=f"splits: {', '.join(known)}")  # fmt: skip


def check_files(what: str, paths: Iterable[str | Path]) -> None:
    """That all files are there. Every folder is listed once: a look for each file would be slow on a parallel file system.

    Raises DataError naming the first that are not."""
    names = [os.path.split(path) for path in paths]
    there = {folder: set(_listed(folder)) for folder in {folder for folder, _ in names}}
    missing = [os.path.join(folder, name) for folder, name in names if name not in there[folder]]
    if missing:
        shown = [*missing[:_SHOWN], *(["..."] if len(missing) > _SHOWN else [])]
        raise DataError(f"{what} names {len(names)} files, {len(missing)} of them are not there",
                        remedy="\n".join(["the first of them:", *shown]))  # fmt: skip


def read_bytes(path: str | Path) -> bytes:
    """Raises DataError for a file that cannot be read."""
    try:
        with open(path, "rb", buffering=0) as file:
            return file.readall()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


def read_picture(path: str | Path) -> tuple[Encoded, tuple[int, int]]:
    """A JPEG or PNG as it is, and its (width, height). Raises DataError for anything else."""
    data = read_bytes(path)
    if (known := picture_header(data)) is None:
        raise DataError("is no JPEG and no PNG", where=str(path))
    return Encoded(data, known[0]), known[1]


def read_mask(path: str | Path, size: tuple[int, int]) -> Encoded:
    """A PNG of class ids for a picture of ``size`` (width, height): its file as it is, or its indexes where it has a palette.

    Raises DataError for another size, and for what is no PNG of one 8-bit channel."""
    mask, found = read_picture(path)
    depth, colour = mask.data[24:26] if mask.format == "png" and len(mask.data) > 26 else (0, 0)
    if depth != 8 or colour not in (0, 3):  # PNG specification, 11.2.2: grey, palette
        raise DataError("is no PNG of one 8-bit channel", where=str(path))
    if found != size:
        raise DataError(f"mask is {found[0]}x{found[1]}, its picture {size[0]}x{size[1]}", where=str(path))
    return mask if colour == 0 else _indexes(mask)


def picture_header(data: bytes) -> tuple[str, tuple[int, int]] | None:
    """``jpg`` or ``png`` and (width, height), in a hundredth of the time that Pillow takes; None where it is neither."""
    import simplejpeg

    if data[:2] == b"\xff\xd8":
        try:
            height, width, _, _ = simplejpeg.decode_jpeg_header(data)
        except ValueError:
            return None
        return "jpg", (width, height)
    if data[:8] == b"\x89PNG\r\n\x1a\n" and data[12:16] == b"IHDR" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return "png", (width, height)
    return None


class JsonRow(NamedTuple):
    """One entry of an array, and the bytes at which it lies."""

    offset: int
    size: int
    value: Any


def json_rows(path: str | Path, member: str | None = None) -> Iterator[JsonRow]:
    """The entries of a file's array, one at a time: a table of gigabytes is never all in memory as objects. ``member``: where
    the file is an object, its member that is meant.

    Raises DataError where there is no such array, or it is broken."""
    text = read_bytes(path).decode("latin-1")  # a character a byte, so that places are offsets
    at, decoder = _array_start(text, member, path), json.JSONDecoder()
    try:
        while text[at := _SPACE.match(text, at).end()] != "]":  # type: ignore[union-attr]
            value, end = decoder.raw_decode(text, at)
            raw = text[at:end]
            yield JsonRow(at, end - at, value if raw.isascii() else json.loads(raw.encode("latin-1")))
            at = end
    except (ValueError, IndexError) as error:
        raise DataError(f"is not JSON: {error} at byte {at}", where=str(path)) from None


def read_json(path: str | Path, offset: int = 0, size: int | None = None) -> Any:
    """A JSON file, or the entry that `json_rows` found at ``offset``. Raises DataError where it is none."""
    try:
        if size is None:
            return json.loads(read_bytes(path))
        with open(path, "rb", buffering=0) as file:
            return json.loads(os.pread(file.fileno(), size, offset))
    except ValueError as error:
        raise DataError(f"is not JSON: {error}", where=str(path)) from None
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror or error}", where=str(path)) from error


def read_table(path: str | Path, columns: Sequence[str]) -> pa.Table:
    """Those ``columns`` of a feather or parquet file. Raises DataError for a file that is neither, or lacks one of them."""
    import pyarrow as pa
    from pyarrow import feather, parquet

    read = feather.read_table if Path(path).suffix == ".feather" else parquet.read_table
    try:
        table = read(str(path), columns=list(columns))
    except OSError as error:
        raise DataError(f"cannot be read: {error}", where=str(path)) from error
    except pa.ArrowException as error:
        raise DataError(f"is no table with {', '.join(columns)}: {error}", where=str(path)) from error
    if missing := [name for name in columns if name not in table.column_names]:
        raise DataError(f"has no column {missing[0]!r}", where=str(path))
    return table


def _array_start(text: str, member: str | None, path: str | Path) -> int:
    found = re.match(r"\s*\[", text)
    if found is None and member is not None and text.lstrip().startswith("{"):
        found = re.search(rf'"{re.escape(member)}"\s*:\s*\[', text)
    if found is None:
        raise DataError("is no JSON array" + (f", and has no {member!r}" if member else ""), where=str(path))
    return found.end()


def _is_there(root: Path, name: str) -> bool:
    return (root / name).is_dir() if name.endswith("/") else (root / name).is_file()


def _instead(root: Path, wanted: Sequence[str]) -> str:
    below = [root / name for name in _listed(root)]
    for near in (*below, root.absolute().parent):
        if near.is_dir() and all(_is_there(near, name) for name in wanted):
            return f"give {near}"
    found = sorted(path.name + "/" * path.is_dir() for path in below)[:10]
    return f"found: {', '.join(found) or 'nothing'}"


def _listed(folder: str | Path) -> list[str]:
    return os.listdir(folder) if os.path.isdir(folder) else []


def _indexes(mask: Encoded) -> Encoded:
    import numpy as np
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(np.asarray(Image.open(io.BytesIO(mask.data)))).save(out, "PNG")
    return Encoded(out.getvalue(), "png")
