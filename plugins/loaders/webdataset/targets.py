"""The targets of one picture, as its view shows them, in the recipe's classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from drivetrain import IGNORE, Camera, DataError, Encoded, Taxonomy, View, clip_line, stored_to_depth

from .decode import decode_label, draw_depth, draw_mask, size_of_mask
from .placement import Placement
from .rasters import Raster

_VISIBLE = 0.1  # a box of which less is left in the output is not learnt
Targets = dict[str, np.ndarray]
Pixels = Mapping[str, "np.ndarray | None"]
"""Task -> the label as it is stored."""


@dataclass(frozen=True)
class Reader:
    """One task of one source: from its classes to the recipe's."""

    taxonomy: Taxonomy
    undeclared: np.ndarray  # uint8 [256], 1 for mask ids that the source does not have


def checked_pixels(camera: Camera, raster: Raster, what: str) -> np.ndarray | None:
    """The label as it is stored, None where there is none. Raises DataError where it is not of its picture's size."""
    pixels = getattr(camera, raster.label)
    if pixels is None:
        return None
    height, width = size_of_mask(pixels) if isinstance(pixels, Encoded) else pixels.shape
    if (height, width) != (camera.height, camera.width):
        name = "the mask" if raster.is_mask else raster.label
        raise DataError(f"{what}: {name} is {width} x {height}, the image {camera.width} x {camera.height}")
    return decode_label(raster.label, pixels) if isinstance(pixels, Encoded) else pixels


def in_recipes_terms(task: str, label: Any, camera: Camera, taxonomy: Taxonomy, what: str) -> Any:
    """A ``label`` of ``camera`` at its original size in the recipe's classes, pixels decoded, depth in metres."""
    if task == "object_detection":
        return taxonomy.map_boxes(label, what)[0]
    if task == "lane_detection":
        return taxonomy.map_lanes(label, what)[0]
    if task == "depth_estimation":
        return label if label.dtype == np.float32 else stored_to_depth(label)
    mask = taxonomy.map_mask(label, what)
    if camera.ignore_regions is not None:
        _paint(mask, camera.ignore_regions)
    return mask


def raster_target(raster: Raster, camera: Camera, pixels: np.ndarray | None, reader: Reader, at: Placement, out: np.ndarray,
                  what: str) -> Targets:  # fmt: skip
    """``pixels`` of the original, or None where nothing is labelled, drawn into ``out`` [H, W]."""
    if pixels is None:
        out.fill(raster.outside)
    elif raster.is_mask:
        _draw_ids(camera, pixels, reader, at, out, what)
    else:
        draw_depth(pixels, at, out)
    return {raster.target: out}


def _draw_ids(camera: Camera, mask: np.ndarray, reader: Reader, at: Placement, out: np.ndarray, what: str) -> None:
    """Class ids of the recipe, `IGNORE` outside the picture and in its ignore regions."""
    draw_mask(mask, at, out)
    if cv2.LUT(out, reader.undeclared).any():
        reader.taxonomy.map_mask(out, what)  # raises, naming the ids
    lut = reader.taxonomy.lut
    cv2.LUT(out, reader.taxonomy.mirrored[lut] if at.view.mirrors else lut, dst=out)
    if camera.ignore_regions is not None:
        _paint(out, at.view.boxes(camera.ignore_regions))


def _paint(mask: np.ndarray, regions: np.ndarray) -> None:
    """Every pixel that a region (x1 y1 x2 y2) touches becomes `IGNORE`."""
    lows, highs = np.floor(regions[:, :2]).astype(int).clip(0), np.ceil(regions[:, 2:]).astype(int).clip(0)
    for (x1, y1), (x2, y2) in zip(lows.tolist(), highs.tolist()):
        mask[y1:y2, x1:x2] = IGNORE


def box_targets(camera: Camera, taxonomy: Taxonomy, view: View, what: str) -> Targets:
    """``boxes`` float32 [N, 4] with ``classes`` int64 [N], and ``ignore_boxes`` float32 [M, 4], in output pixels."""
    if camera.boxes is None:
        empty = np.zeros((0, 4), np.float32)
        return {"boxes": empty, "classes": np.zeros(0, np.int64), "ignore_boxes": empty}
    boxes, ids = taxonomy.map_boxes(camera.boxes, what)
    assert boxes.ignore is not None
    ids = _as_seen(ids, taxonomy, view)
    ignore = boxes.ignore | (ids == IGNORE)
    moved = view.boxes(boxes.xyxy)
    clipped, area = _clip(moved, view.bounds), _area(moved)
    visible = (clipped[:, 2:] - clipped[:, :2] >= 1).all(1)
    learnt = visible & ~ignore & (_area(clipped) >= _VISIBLE * area)
    ignored = clipped[visible & ignore]
    if camera.ignore_regions is not None:
        regions = _clip(view.boxes(camera.ignore_regions), view.bounds)
        ignored = np.concatenate([ignored, regions[(regions[:, 2:] - regions[:, :2] >= 1).all(1)]])
    return {"boxes": clipped[learnt], "classes": ids[learnt], "ignore_boxes": ignored}


def lane_targets(camera: Camera, taxonomy: Taxonomy, view: View, what: str) -> Targets:
    """``points`` float32 [L, K, 2] in output pixels, cut at the picture's edges, with ``points_valid`` bool [L, K] and
    ``classes`` int64 [L]."""
    found: list[tuple[np.ndarray, int]] = []
    if camera.lanes is not None:
        lanes, ids = taxonomy.map_lanes(camera.lanes, what)
        seen = [_cut(view.points(line), view.bounds) for line in lanes.points]
        found = [(line, id) for line, id in zip(seen, _as_seen(ids, taxonomy, view)) if len(line) and id != IGNORE]
    longest = max((len(line) for line, _ in found), default=0)
    points, valid = np.zeros((len(found), longest, 2), np.float32), np.zeros((len(found), longest), bool)
    for row, there, (line, _) in zip(points, valid, found):
        row[: len(line)], there[: len(line)] = line, True
    return {"points": points, "points_valid": valid, "classes": np.array([id for _, id in found], np.int64)}


SHAPES = {"object_detection": box_targets, "lane_detection": lane_targets}
"""Task -> what makes targets of its labels, where these are no pictures."""


def _as_seen(ids: np.ndarray, taxonomy: Taxonomy, view: View) -> np.ndarray:
    """Class ids int64 [N] in a view that may be mirrored."""
    return taxonomy.mirrored[ids.clip(0)].astype(np.int64) if view.mirrors else ids


def _cut(line: np.ndarray, bounds: tuple[int, int, int, int]) -> np.ndarray:
    """The longest piece of a polyline [K, 2] inside ``bounds``."""
    x1, y1, x2, y2 = bounds
    corner = np.array([x1, y1], np.float32)
    return clip_line(line - corner, (max(0, y2 - y1), max(0, x2 - x1))) + corner


def _clip(boxes: np.ndarray, bounds: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = bounds
    return boxes.clip(np.array([x1, y1, x1, y1], np.float32), np.array([x2, y2, x2, y2], np.float32))


def _area(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
