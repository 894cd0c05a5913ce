"""``drivetrain score panoptic``: COCO's panoptic format, a json with a folder of PNGs beside it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import local
from typing import Any

import cv2
import numpy as np

from drivetrain import DataError, near_matches, read_official_json, wrong_json

from .matching import Places, Segments, match, quality, shared_pixels

_FORMAT = ("COCO's panoptic format: NAME.json with annotations [{image_id, file_name, segments_info: [{id, category_id}]}] "
           "and, of the labels, categories [{id, name, isthing}]; beside it NAME/ with the PNGs")  # fmt: skip


def build(config: None) -> Any:
    return PanopticScored


class PanopticScored:
    """Panoptic segments, read and matched a picture at a time; a few numbers a class and picture stay."""

    nothing = None

    def __init__(self, truth: Path, predictions: Path, ids: Sequence[str] | None):
        self.labels, self.found = _Side(truth), _Side(predictions)
        self.names, self.things, self._class_of = _categories(self.labels)
        self.keys = self.scenes = self.labels.keys() if ids is None else list(ids)
        self.counts = np.zeros((len(self.keys), len(self.names), 4))
        self._of_thread = local()
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as threads:  # a thread holds one pair of pictures
            for counts, counted in zip(self.counts, threads.map(self._count, self.keys)):
                counts[:] = counted

    def _count(self, key: str) -> np.ndarray:
        if not hasattr(self._of_thread, "places"):
            self._of_thread.places = Places()
        truth, found = self.labels.segments(key, self._class_of), self.found.segments(key, self._class_of)
        pixels, said = self.labels.pixels(key), self.found.pixels(key)
        if pixels.shape != said.shape:
            raise DataError(f"is {said.shape} pixels, its truth {pixels.shape}", where=str(self.found.png(key)),
                            remedy="[rows, columns]; panoptic segments are scored at the truth's resolution")  # fmt: skip
        places: Places = self._of_thread.places
        of_truth, of_found = places.of(pixels, truth.ids), places.of(said, found.ids)
        shared = shared_pixels(of_truth, of_found, len(truth.ids) + 2, len(found.ids) + 2)
        self.found.refuse_unknown(key, shared, found)
        return match(shared, truth, found, len(self.names))

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        return quality(np.tensordot(times, self.counts, 1), self.names, self.things)


class _Side:
    """One json and its folder of PNGs; either may be named."""

    def __init__(self, path: Path):
        path = path.with_name(f"{path.name}.json") if path.is_dir() else path
        self.path, self.data = path, read_official_json(path, _FORMAT)
        if not isinstance(self.data, dict) or not isinstance(self.data.get("annotations"), list):
            raise wrong_json(path, [], "has no list 'annotations'", f"expected {_FORMAT}")
        self.folder = path.with_suffix("")
        if not self.folder.is_dir():
            raise DataError("no such folder", where=str(self.folder), remedy=f"expected {_FORMAT}")
        for number, row in enumerate(self.data["annotations"]):
            _check(path, row, ["annotations", number], ("image_id", "file_name", "segments_info"))
        self._place = {str(row["image_id"]): number for number, row in enumerate(self.data["annotations"])}

    def keys(self) -> list[str]:
        return list(self._place)

    def _row(self, key: str) -> tuple[int, dict[str, Any]]:
        if key not in self._place:
            raise DataError(f"has no annotation of image_id {key!r}", where=str(self.path), near=near_matches(key, self._place),
                            remedy="every picture of the truth has one, or --ids FILE names those that count")  # fmt: skip
        number = self._place[key]
        return number, self.data["annotations"][number]

    def png(self, key: str) -> Path:
        return self.folder / self._row(key)[1]["file_name"]

    def segments(self, key: str, place: dict[int, int]) -> Segments:
        """Raises DataError for a segment without id, or of a category that the truth does not list."""
        number, row = self._row(key)
        infos = row["segments_info"]
        for k, info in enumerate(infos):
            where: list[str | int] = ["annotations", number, "segments_info", k]
            _check(self.path, info, where, ("id", "category_id"))
            if info["category_id"] not in place:
                raise wrong_json(self.path, [*where, "category_id"], f"{info['category_id']!r} is no category of the truth",
                                 f"its categories: {', '.join(map(str, place))}")  # fmt: skip
            if not isinstance(info["id"], int) or not 0 < info["id"] < 1 << 24:
                raise wrong_json(self.path, [*where, "id"], f"is {info['id']!r}, expected a number from 1 to 2^24 - 1",
                                 "the id of a pixel is R + 256 G + 65536 B, 0 is void")  # fmt: skip
        column = lambda read: np.array([read(info) for info in infos], np.int64)
        return Segments(column(lambda i: i["id"]), column(lambda i: place[i["category_id"]]),
                        column(lambda i: i.get("iscrowd", 0)).astype(bool), column(lambda i: i.get("area", -1)))  # fmt: skip

    def pixels(self, key: str) -> np.ndarray:
        """int32 [H, W] of ids."""
        path = self.png(key)
        picture = cv2.imread(str(path), cv2.IMREAD_COLOR) if path.is_file() else None
        if picture is None:
            raise DataError("no picture that can be read", where=str(path), remedy=f"expected {_FORMAT}")
        return cv2.cvtColor(picture, cv2.COLOR_BGR2RGBA).view("<i4")[..., 0] & 0xFFFFFF  # the fourth byte is alpha

    def refuse_unknown(self, key: str, shared: np.ndarray, segments: Segments) -> None:
        """Raises DataError where picture and json of a prediction do not name the same segments."""
        where: list[str | int] = ["annotations", self._row(key)[0], "segments_info"]
        if shared[:, 1].any():
            raise wrong_json(self.path, where, f"does not name all ids that {self.png(key)} holds", f"expected {_FORMAT}")
        empty = np.flatnonzero(shared[:, 2:].sum(0) == 0)
        if len(empty):
            raise wrong_json(self.path, [*where, int(empty[0])], f"id {segments.ids[empty[0]]} is nowhere in {self.png(key)}",
                             "leave it out, or draw it")  # fmt: skip


def _check(path: Path, row: Any, where: list[Any], keys: Sequence[str]) -> None:
    for key in keys:
        if not isinstance(row, dict) or key not in row:
            raise wrong_json(path, where, f"has no {key!r}", f"expected {_FORMAT}")


def _categories(labels: _Side) -> tuple[list[str], np.ndarray, dict[int, int]]:
    """Names, which are things (bool [classes]), and category id -> place."""
    rows = labels.data.get("categories")
    if not isinstance(rows, list) or not rows:
        raise wrong_json(labels.path, [], "has no list 'categories'", f"expected {_FORMAT}")
    for number, row in enumerate(rows):
        _check(labels.path, row, ["categories", number], ("id", "name", "isthing"))
    return [r["name"] for r in rows], np.array([bool(r["isthing"]) for r in rows]), {r["id"]: k for k, r in enumerate(rows)}
