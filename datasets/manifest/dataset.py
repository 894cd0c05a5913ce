"""A manifest's lines as Frames."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from drivetrain import IGNORE, Boxes, Camera, ClassInfo, DataError, Encoded, Frame, near_matches, picture_header

from .files import SIDECAR, Classes, Ref, classes_of, forget, manifest_file, read_row, rows
from .lines import BoxLine, CameraLine, parse_frame

if TYPE_CHECKING:
    from PIL import Image

_SLACK = 1.0  # px that a box may reach over its picture's edge: half-open and inclusive corners both occur


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
            reader = _CameraReader(os.path.dirname(ref.file), classes, ref.where, f"frame {line.key!r}: {name}")
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
    files = (name for camera in line.cameras.values() for name in (camera.image, camera.semantic))
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


class _CameraReader:
    """Reads one camera of one line; ``where`` and ``what`` begin its errors."""

    def __init__(self, folder: str, classes: Classes, where: str, what: str):
        self.folder, self.classes, self.where, self.what = folder, classes, where, what

    def camera(self, line: CameraLine) -> Camera:
        image, (width, height) = self._image(line.image)
        labelled = {task: tuple(names) for task, names in line.labelled_classes.items()}
        for task, names in labelled.items():
            self._check_declared(names, task, f"labelled_classes.{task}")
        return Camera(
            image=image, width=width, height=height,
            semantic=None if line.semantic is None else self._mask(line.semantic, (width, height)),
            boxes=None if line.boxes is None else self._boxes(line.boxes, width, height),
            timestamp=line.timestamp, model=line.model, distortion=line.distortion, labelled_classes=labelled,
            ignore_regions=None if line.ignore_regions is None else np.array(line.ignore_regions, np.float32).reshape(-1, 4),
            intrinsics=_matrix(line.intrinsics), sensor_to_ego=_matrix(line.sensor_to_ego),
            ego_to_world=_matrix(line.ego_to_world),
        )  # fmt: skip

    def _error(self, message: str, **more: Any) -> DataError:
        return DataError(f"{self.what}: {message}", where=self.where, **more)

    def _read(self, name: str) -> bytes:
        try:
            with open(os.path.join(self.folder, name), "rb", buffering=0) as file:
                return file.readall()
        except OSError as error:
            raise self._error(f"{name} cannot be read: {error.strerror or error}") from error

    def _open(self, name: str, data: bytes) -> Image.Image:
        from PIL import Image, UnidentifiedImageError  # most pictures need no Pillow, which takes a while to be imported

        try:
            return Image.open(io.BytesIO(data))
        except UnidentifiedImageError:
            raise self._error(f"{name} is no picture") from None
        except OSError as error:
            raise self._error(f"{name} cannot be read: {error}") from error

    def _image(self, name: str) -> tuple[Encoded, tuple[int, int]]:
        data = self._read(name)
        if (known := picture_header(data)) is not None:
            return Encoded(data, known[0]), known[1]
        picture = self._open(name, data)
        if picture.format not in ("JPEG", "PNG"):
            raise self._error(f"{name} is {picture.format}, expected JPEG or PNG")
        return Encoded(data, {"JPEG": "jpg", "PNG": "png"}[picture.format]), picture.size

    def _mask(self, name: str, size: tuple[int, int]) -> Encoded:
        """The mask's file as it is; one with a palette is stored anew as its indexes, which are the class ids."""
        data = self._read(name)
        picture = self._open(name, data)
        if picture.format != "PNG" or picture.mode not in ("L", "P"):
            raise self._error(f"{name} is {picture.format} {picture.mode}", remedy="a mask is a PNG of one 8-bit channel")
        if picture.size != size:
            raise self._error("mask {} is {}x{}, its picture {}x{}".format(name, *picture.size, *size))
        try:
            ids = np.asarray(picture)
        except (OSError, SyntaxError) as error:  # what Pillow says of a damaged PNG
            raise self._error(f"{name} is damaged: {error}") from error
        infos = self._declared("semantic_segmentation")
        strange = sorted(set(np.unique(ids).tolist()) - {info.id for info in infos} - {IGNORE})
        if strange:
            raise self._error(f"mask {name} holds ids {strange[:8]} of no declared class",
                              remedy=f"declared: {', '.join(f'{i.id} {i.name}' for i in infos)}")  # fmt: skip
        return Encoded(data if picture.mode == "L" else _as_png(ids), "png")

    def _boxes(self, lines: Sequence[BoxLine], width: int, height: int) -> Boxes:
        self._check_declared([line.name for line in lines], "object_detection", "boxes")
        for number, line in enumerate(lines):
            x1, y1, x2, y2 = line.xyxy
            if x2 <= x1 or y2 <= y1 or min(x1, y1) < -_SLACK or x2 > width + _SLACK or y2 > height + _SLACK:
                raise self._error(f"boxes[{number}] is {list(line.xyxy)}, in a picture of {width}x{height}",
                                  remedy="xyxy is x1 y1 x2 y2 in pixels, inside the picture and not empty")  # fmt: skip
        return Boxes(
            np.array([line.xyxy for line in lines], np.float32), [line.name for line in lines],
            ignore=np.array([line.ignore for line in lines], bool), track_ids=_column(lines, "track_id", -1),
            truncation=_column(lines, "truncation", np.nan), occlusion=_column(lines, "occlusion", np.nan),
            attributes=[line.attributes or {} for line in lines] if any(line.attributes for line in lines) else None,
        )  # fmt: skip

    def _declared(self, task: str) -> Sequence[ClassInfo]:
        if task not in self.classes:
            raise self._error(f"has labels of {task}, whose classes are not declared",
                              remedy=f"declare them in a first line or in {SIDECAR}: "
                                     f'{{"classes": {{"{task}": ["car", ...]}}}}')  # fmt: skip
        return self.classes[task]

    def _check_declared(self, names: Iterable[str], task: str, field: str) -> None:
        declared = [info.name for info in self._declared(task)]
        for name in names:
            if name not in declared:
                raise self._error(f"{field}: class {name!r} is not declared", near=near_matches(name, declared),
                                  remedy=f"declared for {task}: {', '.join(declared)}")  # fmt: skip


def _column(lines: Sequence[BoxLine], name: str, unknown: float) -> np.ndarray | None:
    values = [getattr(line, name) for line in lines]
    return None if all(v is None for v in values) else np.array([unknown if v is None else v for v in values])


def _matrix(rows: Any) -> np.ndarray | None:
    return None if rows is None else np.array(rows, np.float64)


def _as_png(ids: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(ids).save(out, "PNG")
    return out.getvalue()
