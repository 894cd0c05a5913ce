"""BDD100K's classes, and the labels of one picture in its json."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drivetrain import Boxes, ClassInfo, DataError, Lanes, near_matches

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
_LANES = ("crosswalk", "double other", "double white", "double yellow", "road curb", "single other", "single white",
          "single yellow")  # fmt: skip
_CURVE = np.linspace(0, 1, 9)[1:, None]  # of a Bezier curve, where points are taken

CLASSES = {
    "detection": tuple(ClassInfo(name, i, ignore=name in _IGNORED) for i, name in enumerate((*_BOXES, *_IGNORED))),
    "lanes": tuple(ClassInfo(name, i) for i, name in enumerate(_LANES)),
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


def lanes_of(row: Mapping[str, Any], where: str) -> Lanes:
    """The lane markings of one picture, each from near to far. Raises DataError for what is none."""
    found = [(name, label) for label in _labels(row) if label.get("poly2d") and (name := _lane_name(label)) is not None]
    lines = [(name, label, _line(part, where)) for name, label in found for part in _parts(label["poly2d"])]
    attributes = [{key: value for key, value in (label.get("attributes") or {}).items() if key in _SAID_OF_LANES}
                  for _, label, _ in lines]  # fmt: skip
    return Lanes([line for *_, line in lines], [name for name, *_ in lines], attributes=attributes)


_SAID_OF_LANES = ("laneDirection", "laneStyle", "direction", "style")


def _lane_name(label: Mapping[str, Any]) -> str | None:
    """``single white``, ``lane/single white``, or ``lane`` whose type is an attribute; None for another polygon."""
    said = label.get("category", "").removeprefix("lane/")
    name = (label.get("attributes") or {}).get("laneTypes") if said == "lane" else said
    return name if name in _LANES else None


def _parts(poly2d: Sequence[Any]) -> Sequence[Any]:
    """Of a picture's own file a poly2d is one line, else a list of lines."""
    return [poly2d] if isinstance(poly2d[0], (list, tuple)) and not isinstance(poly2d[0][0], (list, tuple)) else poly2d


def _line(part: Any, where: str) -> np.ndarray:
    """float64 [K, 2] of vertices whose types are L, or three C for a cubic Bezier curve: two control points and its end."""
    try:
        if isinstance(part, Mapping):
            vertices, types = np.array(part["vertices"], np.float64).reshape(-1, 2), part["types"]
        else:
            vertices, types = np.array([point[:2] for point in part], np.float64), "".join(point[2] for point in part)
        line, at = [vertices[:1]], 1
        while at < len(vertices):
            curved = types[at] == "C" and at + 2 < len(vertices)
            line.append(_bezier(*vertices[at - 1 : at + 3]) if curved else vertices[at : at + 1])
            at += 3 if curved else 1
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"a poly2d is no line: {error!r}", where=where) from None
    points = np.concatenate(line)
    return points if points[0, 1] >= points[-1, 1] else points[::-1]


def _bezier(*points: np.ndarray) -> np.ndarray:
    a, b, c, d = points
    t, u = _CURVE, 1 - _CURVE
    return u**3 * a + 3 * u**2 * t * b + 3 * u * t**2 * c + t**3 * d


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
