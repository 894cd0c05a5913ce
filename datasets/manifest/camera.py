"""What a line says of one camera: its picture and its labels, checked."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain import (
    IGNORE,
    PIXEL_LABELS,
    TASKS,
    Boxes,
    Camera,
    ClassInfo,
    DataError,
    Encoded,
    Lanes,
    near_matches,
    picture_header,
)

from .files import SIDECAR, Classes
from .lines import BoxLine, CameraLine, LaneLine

if TYPE_CHECKING:
    from PIL import Image

_SLACK = 1.0  # px that a box may reach over its picture's edge: half-open and inclusive corners both occur
_DEEP = ("I;16", "I")  # by Pillow's version
_MASK = (("L", "P"), np.uint8, "a mask is a PNG of one 8-bit channel")
# What a label's PNG may hold, by Pillow's names, first that which is stored as it is; what is stored; what one is told.
_PIXELS = {
    "semantic": _MASK, "drivable": _MASK,
    "depth": (_DEEP, np.uint16, "depth is a PNG of one 16-bit channel, in 1/256 m, 0 where unknown"),
    "instances": ((*_DEEP, "L"), np.uint16, "instances are a PNG of one channel, n where the n-th box's object is, 0 for none"),
}  # fmt: skip


class CameraReader:
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
            boxes=None if line.boxes is None else self._boxes(line.boxes, width, height),
            lanes=None if line.lanes is None else self._lanes(line.lanes),
            **{label: self._pixels(label, name, (width, height), line.boxes or ())
               for label in PIXEL_LABELS if (name := getattr(line, label)) is not None},
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

    def _pixels(self, label: str, name: str, size: tuple[int, int], boxes: Sequence[BoxLine]) -> Encoded:
        """A label's picture as it is; one with a palette is stored anew as its indexes, instances of 8 bits as 16."""
        modes, stored, wanted = _PIXELS[label]
        data = self._read(name)
        picture = self._open(name, data)
        if picture.format != "PNG" or picture.mode not in modes:
            raise self._error(f"{label}: {name} is {picture.format} {picture.mode}", remedy=wanted)
        if picture.size != size:
            raise self._error("{}: {} is {}x{}, its picture {}x{}".format(label, name, *picture.size, *size))
        try:
            values = np.asarray(picture)
        except (OSError, SyntaxError) as error:  # what Pillow says of a damaged PNG
            raise self._error(f"{name} is damaged: {error}") from error
        if label == "instances":
            self._check_instances(name, values, boxes)
        else:
            self._check_ids(label, name, values)
        return Encoded(data if picture.mode == modes[0] else _as_png(values.astype(stored)), "png")

    def _check_ids(self, label: str, name: str, values: np.ndarray) -> None:
        (task,) = (task for task in TASKS.values() if task.prediction == label)
        infos = self._declared(task.name)
        if not task.is_mask:
            return
        strange = sorted(set(np.unique(values).tolist()) - {info.id for info in infos} - {IGNORE})
        if strange:
            raise self._error(f"{label}: {name} holds ids {strange[:8]} of no declared class",
                              remedy=f"declared: {', '.join(f'{i.id} {i.name}' for i in infos)}")  # fmt: skip

    def _check_instances(self, name: str, values: np.ndarray, boxes: Sequence[BoxLine]) -> None:
        if values.max(initial=0) > len(boxes):
            raise self._error(f"instances: {name} holds {values.max()}, there are {len(boxes)} boxes",
                              remedy="n is where the object of the n-th of boxes is, counted from 1; 0 is none")  # fmt: skip

    def _lanes(self, lines: Sequence[LaneLine]) -> Lanes:
        """As they are, turned round where they come from far to near."""
        self._check_declared([line.name for line in lines], "lane_detection", "lanes")
        points = [np.array(line.points, np.float32) for line in lines]
        return Lanes(
            [one if one[0, 1] >= one[-1, 1] else one[::-1] for one in points], [line.name for line in lines],
            attributes=_attributes(lines),
        )  # fmt: skip

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
            attributes=_attributes(lines),
        )  # fmt: skip

    def _declared(self, task: str) -> Sequence[ClassInfo]:
        if task not in self.classes:
            example = '"car", ...' if TASKS[task].has_classes else ""
            raise self._error(f"has labels of {task}, whose classes are not declared",
                              remedy=f"declare them in a first line or in {SIDECAR}: "
                                     f'{{"classes": {{"{task}": [{example}]}}}}')  # fmt: skip
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


def _attributes(lines: Sequence[BoxLine] | Sequence[LaneLine]) -> list[dict[str, Any]] | None:
    return [line.attributes or {} for line in lines] if any(line.attributes for line in lines) else None


def _matrix(rows: Any) -> np.ndarray | None:
    return None if rows is None else np.array(rows, np.float64)


def _as_png(ids: np.ndarray) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(ids).save(out, "PNG")
    return out.getvalue()
