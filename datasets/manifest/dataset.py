"""A manifest's lines as Frames."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

from drivetrain import PIXEL_LABELS, DataError, Frame, near_matches

from .camera import CameraReader
from .files import Classes, Ref, classes_of, forget, manifest_file, read_row, rows
from .lines import parse_frame


def build(config: None) -> Manifest:
    return Manifest()


class Manifest:
    """The dataset; `classes` are those that the manifest declares."""

    def __init__(self) -> None:
        self.classes: Classes = {}

    def index(self, root: Path, split: str) -> list[Ref]:
        """The frames of ``split`` in the file's order; every line is checked.

        Raises DataError for a wrong line, a key given twice, a split that no line states, and files that are not there.
        """
        forget()
        path = manifest_file(Path(root), split)
        self.classes = classes_of(str(path))
        chosen = _of_split([_entry(ref, row) for ref, row in rows(path)], split, path)
        _check_keys(chosen)
        _check_files(chosen, path.parent)
        return [entry.ref for entry in chosen]

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        line = parse_frame(read_row(ref), ref.where)
        return line.key, line.scene

    def load(self, ref: Ref) -> Frame:
        """Raises DataError naming line, key and what is wrong with a picture or its labels."""
        line, classes = parse_frame(read_row(ref), ref.where), classes_of(ref.file)
        cameras = {}
        for name, camera in line.cameras.items():
            reader = CameraReader(os.path.dirname(ref.file), classes, ref.where, f"frame {line.key!r}: {name}")
            cameras[name] = reader.camera(camera)
        return Frame(line.key, line.scene, dict(line.tags), cameras)


class _Entry(NamedTuple):
    """What the index needs of a line."""

    ref: Ref
    key: str
    split: str | None
    files: tuple[str, ...]


def _entry(ref: Ref, row: Any) -> _Entry:
    line = parse_frame(row, ref.where)
    fields = ("image", *PIXEL_LABELS)
    files = (getattr(camera, field) for camera in line.cameras.values() for field in fields)
    return _Entry(ref, line.key, line.split, tuple(name for name in files if name is not None))


def _of_split(entries: list[_Entry], split: str, path: Path) -> list[_Entry]:
    stated = {entry.split for entry in entries if entry.split is not None}
    silent = [entry.ref for entry in entries if entry.split is None]
    if stated and silent and path.stem != split:
        raise DataError("states no split, other lines do", where=silent[0].where, remedy="state one in every line")
    chosen = [entry for entry in entries if entry.split in (split, None)]
    if not chosen:
        raise DataError(f"no frame of split {split!r}", where=str(path), near=near_matches(split, stated),
                        remedy=f"splits here: {', '.join(sorted(stated)) or 'none, the file is empty'}")  # fmt: skip
    return chosen


def _check_keys(entries: list[_Entry]) -> None:
    first: dict[str, Ref] = {}
    for ref, key, _, _ in entries:
        before = first.setdefault(key, ref)
        if before is not ref:
            raise DataError(f"frame {key!r} was given before, in line {before.number}", where=ref.where,
                            remedy="keys are unique in a dataset")  # fmt: skip


def _check_files(entries: list[_Entry], folder: Path) -> None:
    """Every folder is listed once: a look for each file would be slow on a parallel file system."""
    named = [(entry.ref, os.path.join(folder, name)) for entry in entries for name in entry.files]
    parents = {os.path.dirname(path) for _, path in named}
    there = {parent: set(os.listdir(parent)) if os.path.isdir(parent) else set() for parent in parents}
    missing = [(ref, path) for ref, path in named if os.path.basename(path) not in there[os.path.dirname(path)]]
    if missing:
        shown = [f"line {ref.number}: {path}" for ref, path in missing[:3]]
        raise DataError(f"names {len(named)} files, {len(missing)} of them are not there", where=entries[0].ref.file,
                        remedy="\n".join([*shown, "..."] if len(missing) > 3 else shown))  # fmt: skip
