"""BDD100K's classes, and the labels of one picture in its json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drivetrain import Boxes, ClassInfo, DataError, near_matches

_BOXES = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle", "traffic light", "traffic sign")
_IGNORED = ("other person", "other vehicle", "trailer")
_OTHER_NAMES = {"bike": "bicycle", "motor": "motorcycle", "person": "pedestrian", "van": "car", "caravan": "car"}
_SEMANTIC = {
    "road": (128, 64, 128), "sidewalk": (244, 35, 232), "building": (70, 70, 70), "wall": (102, 102, 156),
    "fence": (190, 153, 153), "pole": (153, 153, 153), "traffic light": (250, 170, 30), "traffic sign": (220, 220, 0),
    "vegetation": (107, 142, 35), "terrain": (152, 251, 152), "sky": (70, 130, 180), "person": (220, 20, 60),
    "rider": (255, 0, 0), "car": (0, 0, 142), "truck": (0, 0, 70), "bus": (0, 60, 100), "train": (0, 80, 100),
    "motorcycle": (0, 0, 230), "bicycle": (119, 11, 32),
}  # fmt: skip
_DRIVABLE = {"direct": (219, 94, 86), "alternative": (86, 211, 219), "background": None}

CLASSES = {
    "detection": tuple(ClassInfo(name, i, ignore=name in _IGNORED) for i, name in enumerate((*_BOXES, *_IGNORED))),
    "drivable": tuple(ClassInfo(name, i, color) for i, (name, color) in enumerate(_DRIVABLE.items())),
    "semantic": tuple(ClassInfo(name, i, color) for i, (name, color) in enumerate(_SEMANTIC.items())),
}
_TAGS = {"weather": "weather", "timeofday": "time_of_day", "scene": "place"}
_UNDEFINED = ("undefined", "", None)


def tags_of(row: Mapping[str, Any]) -> dict[str, str]:
    said = row.get("attributes") or {}
    return {ours: said[theirs] for theirs, ours in _TAGS.items() if said.get(theirs) not in _UNDEFINED}


def boxes_of(row: Mapping[str, Any], size: tuple[int, int], where: str) -> Boxes:
    """The boxes of one picture of ``size`` (width, height), cut to it. Raises DataError for what is none."""
    found = [label for label in _labels(row) if label.get("box2d")]
    names = [_name(label, where) for label in found]
    said = [{key.lower(): value for key, value in (label.get("attributes") or {}).items()} for label in found]
    ignore = [bool(a.get("crowd") or a.get("ignored")) or name in _IGNORED for a, name in zip(said, names)]
    corners = _corners([label["box2d"] for label in found], where).clip(0, [*size, *size])
    return Boxes(corners, names, ignore=np.array(ignore, bool), attributes=[_attributes(a, n) for a, n in zip(said, names)])


def _labels(row: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Of a picture among others, or of a picture's own file, which calls them the objects of its only frame."""
    if "frames" in row:
        return [label for frame in row["frames"] for label in frame["objects"]]
    return row.get("labels") or []


def _name(label: Mapping[str, Any], where: str) -> str:
    said = label.get("category", "")
    name = _OTHER_NAMES.get(said, said)
    if name not in (*_BOXES, *_IGNORED):
        raise DataError(f"no class {said!r}", where=where, near=near_matches(said, (*_BOXES, *_IGNORED)))
    return name


def _corners(boxes: Sequence[Mapping[str, float]], where: str) -> np.ndarray:
    """float64 [N, 4]: from the first pixel to the end of the last."""
    try:
        corners = np.array([[box[side] for side in ("x1", "y1", "x2", "y2")] for box in boxes], np.float64).reshape(-1, 4)
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"a box2d is no x1 y1 x2 y2: {error!r}", where=where) from None
    return corners + (0, 0, 1, 1)


def _attributes(said: Mapping[str, Any], name: str) -> dict[str, Any]:
    out = {key: bool(said[key]) for key in ("occluded", "truncated") if key in said}
    if name == "traffic light" and "trafficlightcolor" in said:
        out["trafficLightColor"] = said["trafficlightcolor"]
    return out
