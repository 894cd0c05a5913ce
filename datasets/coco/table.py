"""A COCO json as columns: what a worker process needs of it, small enough to be sent there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from drivetrain import Boxes, ClassInfo, DataError, read_json


@dataclass
class Table:
    """Pictures: ``names``, ``scenes``, ``sizes`` int [P, 2] (0: not stated), ``extras`` picture -> what else it says.
    Annotations, those of a picture together, of picture i from ``starts[i]`` on: ``xywh`` float64 [A, 4], ``category`` int [A]
    (place in ``classes``), ``ignore`` bool [A], ``more`` annotation -> what else it says."""

    classes: tuple[ClassInfo, ...]
    names: list[str]
    scenes: list[str]
    sizes: np.ndarray
    extras: dict[int, dict[str, Any]]
    starts: np.ndarray
    xywh: np.ndarray
    category: np.ndarray
    ignore: np.ndarray
    more: dict[int, dict[str, Any]]

    def boxes(self, number: int, width: int, height: int) -> Boxes | None:
        """The boxes of a picture, cut to its size; None where nobody looked."""
        rows = np.arange(self.starts[number], self.starts[number + 1])
        if not self.extras.get(number, {}).get("labelled", True):
            return None
        corners = np.concatenate([self.xywh[rows, :2], self.xywh[rows, :2] + self.xywh[rows, 2:]], 1)
        corners = corners.clip(0, [width, height, width, height])
        there = (corners[:, 2:] > corners[:, :2]).all(1)
        rows, corners = rows[there], corners[there]
        said = [self.more.get(int(row), {}) for row in rows]
        return Boxes(
            corners, [self.classes[place].name for place in self.category[rows]], ignore=self.ignore[rows],
            truncation=_column(said, "truncation", np.nan), occlusion=_column(said, "occlusion", np.nan),
            track_ids=_column(said, "track_id", -1), attributes=_attributes(said),
        )  # fmt: skip

    def regions(self, number: int) -> np.ndarray | None:
        regions = self.extras.get(number, {}).get("ignore_regions")
        return None if regions is None else np.asarray(regions, np.float32).reshape(-1, 4)

    def looked_for(self, number: int) -> tuple[str, ...] | None:
        """The classes that were looked for in a picture; None where all of them were."""
        extras = self.extras.get(number, {})
        if "neg_category_ids" not in extras:
            return None
        rows = slice(self.starts[number], self.starts[number + 1])
        ids = {self.classes[place].id for place in self.category[rows]} | set(extras["neg_category_ids"])
        ids -= set(extras.get("not_exhaustive_category_ids", ()))
        return tuple(info.name for info in self.classes if info.id in ids)


_PICTURE_EXTRAS = ("labelled", "ignore_regions", "neg_category_ids", "not_exhaustive_category_ids")
_BOX_EXTRAS = ("area", "attributes", "track_id", "truncation", "occlusion")


def read_table(path: Path) -> Table:
    """Raises DataError for what is no COCO json."""
    said = read_json(path)
    missing = [name for name in ("images", "annotations", "categories") if not (isinstance(said, dict) and name in said)]
    if missing:
        raise DataError(f"is no COCO json: missing {', '.join(missing)}", where=str(path))
    try:
        return _table(said["images"], said["annotations"], said["categories"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise DataError(f"is no COCO json: {type(error).__name__}: {error}", where=str(path)) from error


def _table(images: Sequence[Mapping], annotations: Sequence[Mapping], categories: Sequence[Mapping]) -> Table:
    places = {image["id"]: place for place, image in enumerate(images)}
    if len(places) != len(images):
        raise ValueError("an image id is given twice")
    classes = tuple(ClassInfo(one["name"], int(one["id"])) for one in categories)
    category = {info.id: place for place, info in enumerate(classes)}
    of = np.array([places[one["image_id"]] for one in annotations], np.int64)
    order = np.argsort(of, kind="stable")
    rows = [annotations[place] for place in order]
    return Table(
        classes, [_name(image) for image in images], [str(image.get("video_id", image.get("scene", ""))) for image in images],
        np.array([(image.get("width", 0), image.get("height", 0)) for image in images], np.int64).reshape(-1, 2),
        _extras(images, _PICTURE_EXTRAS), np.searchsorted(of[order], np.arange(len(images) + 1)),
        np.array([one["bbox"] for one in rows], np.float64).reshape(len(rows), 4),
        np.array([category[one["category_id"]] for one in rows], np.int32),
        np.array([bool(one.get("iscrowd") or one.get("ignore")) for one in rows], bool), _extras(rows, _BOX_EXTRAS),
    )  # fmt: skip


def _extras(rows: Sequence[Mapping], names: Sequence[str]) -> dict[int, dict[str, Any]]:
    found = ((place, {name: row[name] for name in names if row.get(name) is not None}) for place, row in enumerate(rows))
    return {place: extras for place, extras in found if extras}


def _name(image: Mapping) -> str:
    """LVIS states an address, whose last two parts are folder and file."""
    return image["file_name"] if "file_name" in image else "/".join(image["coco_url"].split("/")[-2:])


def _column(said: Sequence[Mapping], name: str, unknown: float) -> np.ndarray | None:
    return np.array([one.get(name, unknown) for one in said]) if any(name in one for one in said) else None


def _attributes(said: Sequence[Mapping]) -> list[dict[str, Any]] | None:
    """The annotations' own, and the area, by which COCO tells sizes."""
    out = [{**one.get("attributes", {}), **({"area": one["area"]} if "area" in one else {})} for one in said]
    return out if any(out) else None
