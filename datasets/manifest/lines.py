"""The line format of a manifest, and what a wrong line is told."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from drivetrain import TASKS, ClassInfo, DataError, near_matches

SHORTHAND_CAMERA = "cam_front"

_Fraction = Annotated[float, Field(ge=0, le=1)]
_Box = tuple[float, float, float, float]
_Row3 = tuple[float, float, float]
_Row4 = tuple[float, float, float, float]
_Matrix3 = tuple[_Row3, _Row3, _Row3]
_Matrix4 = tuple[_Row4, _Row4, _Row4, _Row4]
_Text = Annotated[str, StringConstraints(min_length=1)]
_SensorName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BoxLine(_Line):
    xyxy: _Box
    name: _Text = Field(alias="class")
    ignore: bool = False
    track_id: int | None = None
    truncation: _Fraction | None = None
    occlusion: _Fraction | None = None
    attributes: dict[str, Any] | None = None


class LaneLine(_Line):
    points: Annotated[tuple[tuple[float, float], ...], Field(min_length=2)]
    name: _Text = Field(alias="class")
    attributes: dict[str, Any] | None = None


class CameraLine(_Line):
    image: _Text
    semantic: _Text | None = None
    boxes: tuple[BoxLine, ...] | None = None
    drivable: _Text | None = None
    lanes: tuple[LaneLine, ...] | None = None
    depth: _Text | None = None
    instances: _Text | None = None
    ignore_regions: tuple[_Box, ...] | None = None
    labelled_classes: dict[str, tuple[str, ...]] = Field(default_factory=dict)  # a default of {} is copied deeply each time
    timestamp: int | None = None
    intrinsics: _Matrix3 | None = None
    model: Literal["pinhole", "brown_conrady", "kannala_brandt", "f_theta"] = "pinhole"
    distortion: tuple[float, ...] = ()
    sensor_to_ego: _Matrix4 | None = None
    ego_to_world: _Matrix4 | None = None


class FrameLine(_Line):
    key: _Text
    scene: str = ""
    split: str | None = None
    tags: dict[str, str] = Field(default_factory=dict)
    cameras: Annotated[dict[_SensorName, CameraLine], Field(min_length=1)]


class ClassLine(_Line):
    name: _Text
    id: int | None = Field(default=None, ge=0, le=255)
    color: tuple[int, int, int] | None = None
    ignore: bool = False


class ClassesLine(_Line):
    classes: dict[str, tuple[_Text | ClassLine, ...]]


def parse_frame(row: Any, where: str) -> FrameLine:
    """A line's object as a frame. Raises DataError naming the place, the key, the field and what was expected."""
    if not isinstance(row, Mapping):
        raise DataError(f"expected an object, one frame a line, found {row!r:.60}", where=where)
    row = _without_nulls(dict(row))
    short = {name: row[name] for name in row if name in CameraLine.model_fields}
    if short and "cameras" in row:
        raise DataError(f"{_what(row)}states both cameras and {', '.join(map(repr, short))}", where=where,
                        remedy="put the latter into a camera")  # fmt: skip
    if short:
        row = {name: row[name] for name in row if name not in short} | {"cameras": {SHORTHAND_CAMERA: short}}
    try:
        return FrameLine.model_validate(row)
    except ValidationError as error:
        raise _told(error, _what(row), where, shorthand="cameras" not in row or bool(short)) from None


def parse_classes(row: Any, where: str) -> dict[str, tuple[ClassInfo, ...]]:
    """A declaration of classes: task -> classes. Raises DataError for unknown tasks and names or ids given twice."""
    try:
        declared = ClassesLine.model_validate(row).classes
    except ValidationError as error:
        raise _told(error, "", where, shorthand=False) from None
    for task in declared:
        if task not in TASKS:
            raise DataError(f"classes: no task {task!r}", where=where, near=near_matches(task, TASKS),
                            remedy=f"tasks: {', '.join(TASKS)}")  # fmt: skip
    return {task: _class_infos(task, lines, where) for task, lines in declared.items()}


def _class_infos(task: str, lines: tuple[str | ClassLine, ...], where: str) -> tuple[ClassInfo, ...]:
    entries = [ClassLine(name=line) if isinstance(line, str) else line for line in lines]
    infos = tuple(ClassInfo(c.name, i if c.id is None else c.id, c.color, c.ignore) for i, c in enumerate(entries))
    for field in ("name", "id"):
        values = [getattr(info, field) for info in infos]
        twice = sorted({value for value in values if values.count(value) > 1})
        if twice:
            raise DataError(f"classes of {task}: {field} {twice[0]!r} is given twice", where=where)
    return infos


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(v) if isinstance(v, (dict, list)) else v for key, v in value.items() if v is not None}
    return [_without_nulls(v) if isinstance(v, (dict, list)) else v for v in value]


def _what(row: Mapping[str, Any]) -> str:
    return f"frame {row['key']!r}: " if "key" in row else ""


_FIELDS: dict[str, type[_Line]] = {"boxes": BoxLine, "lanes": LaneLine, "cameras": CameraLine, "classes": ClassLine}


def _told(error: ValidationError, what: str, where: str, shorthand: bool) -> DataError:
    """Pydantic's findings as one error; an unknown field comes first, since it explains a missing one."""
    found = sorted(error.errors(include_url=False, include_context=False), key=lambda e: e["type"] != "extra_forbidden")
    first, more = found[0], len(found) - 1
    place = _place(first["loc"], shorthand)
    if first["type"] != "extra_forbidden":
        text = f"{what}{place}: {first['msg'][0].lower()}{first['msg'][1:]}"
        shown = "" if first["type"] == "missing" else f", found {first['input']!r:.60}"
        return DataError(text + shown, where=where, remedy=_and_more(more))
    name = str(first["loc"][-1])
    known = _known_fields(first["loc"], shorthand)
    return DataError(f"{what}unknown field {place!r}", where=where, near=near_matches(name, known),
                     remedy="known: " + ", ".join(known))  # fmt: skip


def _and_more(number: int) -> str | None:
    return f"and {number} more in this line" if number else None


def _place(loc: tuple[int | str, ...], shorthand: bool) -> str:
    if shorthand and loc[:2] == ("cameras", SHORTHAND_CAMERA):
        loc = loc[2:]
    if shorthand and loc == ("cameras",):
        loc = ("image",)
    return re.sub(r"\.\[", "[", ".".join(f"[{part}]" if isinstance(part, int) else str(part) for part in loc))


def _known_fields(loc: tuple[int | str, ...], shorthand: bool) -> list[str]:
    """The fields of the object in which the last part of ``loc`` stands."""
    parents = [_FIELDS[str(part)] for part in loc[:-1] if part in _FIELDS]
    models = parents[-1:] or [FrameLine, *([CameraLine] if shorthand else [])]
    return [field.alias or name for model in models for name, field in model.model_fields.items()]
