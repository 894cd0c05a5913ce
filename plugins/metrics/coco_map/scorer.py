"""``drivetrain score coco``: detections in COCO's result format against a COCO json."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain import DataError, near_matches, read_official_json, wrong_json

from .counting import Matched
from .kinds import Boxes
from .outcomes import Outcomes, Sides

if TYPE_CHECKING:
    from .config import CocoScorerConfig

_TRUTH = "a COCO json: {images: [{id}], annotations: [{image_id, category_id, bbox, area, iscrowd}], categories: [{id, name}]}"
_RESULT = "COCO's result format: a list of {image_id, category_id, bbox: [x, y, width, height], score}"
_LABEL_KEYS, _FOUND_KEYS = ("image_id", "category_id", "bbox", "area"), ("image_id", "category_id", "bbox", "score")


def build(config: CocoScorerConfig) -> Callable[..., CocoScored]:
    return partial(CocoScored, errors=config.errors)


class CocoScored:
    """Boxes of a COCO json, matched by pycocotools. ``ids``: image ids as text; ``errors``: what became of the boxes too."""

    nothing = -1.0

    def __init__(self, truth: Path, predictions: Path, ids: Sequence[str] | None, errors: bool = False):
        dataset, detections = _read_truth(truth), _read_detections(predictions)
        images = {str(image["id"]): image["id"] for image in dataset["images"]}
        _refuse_unknown_images(detections, images, predictions)
        unknown = [name for name in ids or () if name not in images]
        if unknown:
            raise DataError(f"no image of id {unknown[0]!r}, which --ids names", where=str(truth),
                            near=near_matches(unknown[0], images))  # fmt: skip
        _tell_of_unknown_classes(dataset, detections, predictions)
        chosen = list(images.values()) if ids is None else [images[name] for name in ids]
        self.matched = Matched(dataset, detections, list(dict.fromkeys(chosen)))
        self.keys = self.scenes = [str(image) for image in self.matched.images]
        self.names = {row["id"]: row["name"] for row in dataset["categories"]}
        self.outcomes = self._outcomes(dataset["annotations"], detections) if errors else None

    def _outcomes(self, labels: list[dict[str, Any]], detections: list[dict[str, Any]]) -> Outcomes:
        names = [self.names[category] for category in self.matched.classes]
        score = np.array([row["score"] for row in detections], np.float64)
        return Outcomes(self._side(labels), self._side(detections), score, self.matched.pairs, names, False)

    def _side(self, rows: list[dict[str, Any]]) -> Sides:
        """Boxes of pictures and categories that do not count are there too, as of the first: they are in no pair."""
        pictures, classes = ({name: k for k, name in enumerate(one)} for one in (self.matched.images, self.matched.classes))
        numbers = [[pictures.get(row["image_id"], 0), classes.get(row["category_id"], 0)] for row in rows]
        picture, label = np.array(numbers, np.int64).reshape(-1, 2).T
        xywh = np.array([row["bbox"] for row in rows], np.float64).reshape(-1, 4)
        return Sides(
            Boxes(picture, label, xywh), np.array([row["area"] for row in rows], np.float64), np.full(len(rows), np.nan)
        )

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        whole, classes = self.matched.figures(times)
        per_category = {self.names[k]: found for k, found in zip(self.matched.classes, classes)}
        return {**whole, "per_category": per_category, **(self.outcomes.figures(times) if self.outcomes else {})}


def _read_truth(path: Path) -> dict[str, Any]:
    data = read_official_json(path, _TRUTH)
    if not isinstance(data, dict):
        raise wrong_json(path, [], f"is a {type(data).__name__}, expected a mapping", f"expected {_TRUTH}")
    for name, keys in (("images", ("id",)), ("categories", ("id", "name")), ("annotations", _LABEL_KEYS)):
        if not isinstance(data.get(name), list):
            raise wrong_json(path, [], f"has no list {name!r}", f"expected {_TRUTH}")
        _check_rows(path, data[name], [name], keys, f"expected {_TRUTH}")
    known = {"image_id": {row["id"] for row in data["images"]}, "category_id": {row["id"] for row in data["categories"]}}
    for number, row in enumerate(data["annotations"]):
        for key, ids in known.items():
            if row[key] not in ids:
                raise wrong_json(path, ["annotations", number, key], f"{row[key]!r} is none of the ids", f"expected {_TRUTH}")
    return data


def _read_detections(path: Path) -> list[dict[str, Any]]:
    data = read_official_json(path, _RESULT)
    if not isinstance(data, list):
        raise wrong_json(path, [], f"is a {type(data).__name__}, expected a list", f"expected {_RESULT}")
    _check_rows(path, data, [], _FOUND_KEYS, f"expected {_RESULT}")
    for row in data:
        row["area"], row["iscrowd"] = row["bbox"][2] * row["bbox"][3], 0
    return data


def _check_rows(path: Path, rows: list[Any], place: list[str], keys: Sequence[str], remedy: str) -> None:
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise wrong_json(path, [*place, number], f"is {row!r}, expected a mapping", remedy)
        for key in keys:
            if key not in row:
                raise wrong_json(path, [*place, number], f"has no {key!r}", remedy)
            if key in _RIGHT and not _RIGHT[key](row[key]):
                raise wrong_json(path, [*place, number, key], f"is {row[key]!r}, expected {_MEANT[key]}", remedy)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and np.isfinite(value)


_RIGHT = {
    "bbox": lambda v: isinstance(v, list) and len(v) == 4 and all(map(_is_number, v)) and v[2] >= 0 and v[3] >= 0,
    "score": _is_number, "area": _is_number,
    "id": lambda v: isinstance(v, (int, str)), "image_id": lambda v: isinstance(v, (int, str)),
    "category_id": lambda v: isinstance(v, int),
}  # fmt: skip
_MEANT = {"bbox": "four numbers x, y, width, height, none of the sizes below 0", "score": "a number", "area": "a number",
          "id": "a number or a name", "image_id": "a number or a name", "category_id": "a number"}  # fmt: skip


def _refuse_unknown_images(detections: list[dict[str, Any]], images: dict[str, Any], path: Path) -> None:
    known = set(images.values())
    for number, row in enumerate(detections):
        if row["image_id"] not in known:
            raise wrong_json(path, [number, "image_id"], f"{row['image_id']!r} is no image of the truth",
                             "expected the ids of its images, numbers where they are numbers")  # fmt: skip


def _tell_of_unknown_classes(dataset: dict[str, Any], detections: list[dict[str, Any]], path: Path) -> None:
    strange = {row["category_id"] for row in detections} - {row["id"] for row in dataset["categories"]}
    if strange:
        print(f"warning: {path}: category_id {sorted(strange)} are none of the truth's and do not count", file=sys.stderr)
