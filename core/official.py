"""Reading official files: what is wrong with them is told by file, line, key and what was expected."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import DataError, near_matches

_SPACE = re.compile(r"[\s,:]*")


def read_official_json(path: Path, expected: str) -> Any:
    """What is in a JSON file. Raises DataError, with the line, where it is missing or no JSON; ``expected``: what it holds."""
    try:
        return json.loads(path.read_bytes())
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"cannot be read: {error}", where=str(path), remedy=f"expected {expected}") from None
    except json.JSONDecodeError as error:
        raise DataError(f"no JSON: {error.msg}", where=f"{path}:{error.lineno}", remedy=f"expected {expected}") from None


def wrong_json(path: Path, keys: Sequence[str | int], message: str, remedy: str) -> DataError:
    """What is wrong at a place in a JSON file, such as ``["annotations", 7, "bbox"]``, with its line."""
    text = path.read_text()
    place, steps = 0, []
    for key in keys:
        steps.append(f"[{key}]" if isinstance(key, int) else f".{key}")
        place = _inside(text, place, key)
    line = text.count("\n", 0, place) + 1
    return DataError(message, where=f"{path}:{line}: {''.join(steps).removeprefix('.') or 'the whole'}", remedy=remedy)


def _inside(text: str, place: int, key: str | int) -> int:
    """Where in a JSON text the value of ``key`` begins, that of the container at ``place`` where it has none."""
    decoder = json.JSONDecoder()
    start = at = _skip(text, place)
    named, count = text[at] == "{", 0
    at = _skip(text, at + 1)
    while text[at] not in "]}":
        name: Any = count
        if named:
            name, at = decoder.raw_decode(text, at)
            at = _skip(text, at)
        if name == key:
            return at
        at = _skip(text, decoder.raw_decode(text, at)[1])
        count += 1
    return start


def _skip(text: str, at: int) -> int:
    match = _SPACE.match(text, at)
    assert match is not None
    return match.end()


def wrong_line(path: Path, number: int, message: str, remedy: str) -> DataError:
    """What is wrong in line ``number``, from 1, of a text file."""
    return DataError(message, where=f"{path}:{number}", remedy=remedy)


def official_pairs(truth: Path, predictions: Path, suffix: str, ids: Sequence[str] | None) -> list[tuple[str, Path, Path]]:
    """Frame by frame the file of labels and that of predictions: two folders of files of equal names, ``ID`` + ``suffix``.

    Raises DataError for a folder or a file that is missing.
    """
    for folder in (truth, predictions):
        if not folder.is_dir():
            raise DataError("no such folder", where=str(folder), remedy=f"expected a folder of files ID{suffix}")
    names = ids if ids is not None else sorted(str(p.relative_to(truth))[: -len(suffix)] for p in truth.rglob(f"*{suffix}"))
    if not names:
        raise DataError(f"no file *{suffix} below", where=str(truth), remedy="name the folder that holds the labels")
    pairs = [(name, _of(truth, name, suffix), _of(predictions, name, suffix)) for name in names]
    _refuse_missing([labels for _, labels, _ in pairs], truth, suffix)
    _refuse_missing([found for _, _, found in pairs], predictions, suffix)
    return pairs


def _of(folder: Path, name: str, suffix: str) -> Path:
    return folder / (name.lstrip("/") + suffix)


def _refuse_missing(paths: Sequence[Path], folder: Path, suffix: str) -> None:
    missing = [path for path in paths if not path.is_file()]
    if missing:
        there = [path.name for path in folder.rglob(f"*{suffix}")] if len(missing) < 100 else []
        raise DataError(
            f"no such file, one of {len(missing)} that are missing of {len(paths)}", where=str(missing[0]),
            near=near_matches(missing[0].name, there),
            remedy="a frame in which nothing was found has a file too; --ids FILE names the frames that count",
        )  # fmt: skip
