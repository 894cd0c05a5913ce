"""Checks of a transform: drawn pictures go through it, and labels must still lie where the picture shows them."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ..geometry import View, clip_line
from ..sample import CameraSample, Transform
from ..seeding import Rng
from ..tasks import IGNORE, TASKS

RECTANGLE = (20, 12, 59, 47)
"""x1 y1 x2 y2 of the drawn object: off the centre, so that a flip of either axis shows."""
DARK, BRIGHT = (40, 60, 50), (200, 180, 190)
NEAR, FAR = 10.0, 50.0
"""m, how far the object and the ground are."""
_RASTERS = ("semantic_segmentation", "drivable_area", "depth_estimation")


def check_transform(transform: Transform, size: tuple[int, int] = (96, 128), seeds: Sequence[int] = range(16)) -> None:
    """Raise AssertionError, in words, where ``transform`` breaks the contract of `drivetrain.Transform`.

    Looked at for each of ``seeds``, on a picture of ``size`` (height, width): equal keys give equal results; views move
    along the axes and can be undone; pictures stay uint8 and of their size; masks, depth, boxes and lanes stay where the
    picture shows their object. A transform must show the object, at more than 16 pixels, for at least one seed.
    """
    shown = 0
    for seed in seeds:
        view = _check_view(transform, size, seed)
        sample = _check_pixels(transform, _draw(view, size), seed)
        shown += _check_aligned(sample, f"seed {seed}")
    assert shown, f"none of {len(seeds)} seeds shows the drawn object: {list(RECTANGLE)} of a picture of {size}"


def _check_view(transform: Transform, size: tuple[int, int], seed: int) -> View:
    view, again = (transform.view(View.identity(*size), Rng("check", seed)) for _ in range(2))
    what = f"seed {seed}: view"
    assert view.size == again.size and np.array_equal(view.matrix, again.matrix), (
        f"{what}: equal keys gave {view} and {again}: draw from the given Rng alone"
    )
    matrix = np.asarray(view.matrix)
    assert matrix.shape == (3, 3), f"{what}: the matrix has shape {matrix.shape}, not (3, 3)"
    assert np.array_equal(matrix[2], [0, 0, 1]), f"{what}: the last row is {matrix[2].tolist()}, not [0, 0, 1]"
    assert matrix[0, 1] == matrix[1, 0] == 0, f"{what}: the matrix turns or shears, boxes cannot follow: {matrix.tolist()}"
    assert np.isfinite(matrix).all() and matrix[0, 0] * matrix[1, 1] != 0, f"{what}: cannot be undone: {matrix.tolist()}"
    assert all(isinstance(n, int) and n > 0 for n in view.size), f"{what}: size {view.size} is not two whole numbers above 0"
    return view


def _check_pixels(transform: Transform, sample: CameraSample, seed: int) -> CameraSample:
    copies = [sample.replace(image=sample.image.copy(), targets=_copied(sample)) for _ in range(2)]
    out, again = (transform.pixels(copy, Rng("check", seed)) for copy in copies)
    what = f"seed {seed}: pixels"
    assert np.array_equal(out.image, again.image), f"{what}: equal keys gave different pictures"
    assert out.image.dtype == np.uint8, f"{what}: the picture became {out.image.dtype}"
    height, width = out.view.size
    assert out.image.shape == (height, width, 3), f"{what}: a picture of {out.image.shape} for a view of {out.view.size}"
    for task, fields in sample.targets.items():
        for name, before in fields.items():
            after = out.targets[task][name]
            assert after.dtype == before.dtype, f"{what}: targets {task}.{name} became {after.dtype} from {before.dtype}"
            assert np.array_equal(after, again.targets[task][name]), f"{what}: equal keys gave different {task}.{name}"
    for name, pixels in ((name, *out.targets[name].values()) for name in _RASTERS):
        assert pixels.shape == (height, width), f"{what}: a mask of {pixels.shape} for a view of {out.view.size} ({name})"
    return out


def _check_aligned(sample: CameraSample, what: str) -> bool:
    """Whether the object can be seen. Its pixels, found by brightness, are compared with its mask and its box."""
    mask = sample.targets["semantic_segmentation"]["mask"]
    labelled = mask == 1
    if labelled.sum() <= 16 or (mask == 0).sum() <= 16:
        return False
    grey = sample.image.astype(np.float32).mean(2)
    inside, outside = np.median(grey[labelled]), np.median(grey[mask == 0])
    seen = ((grey > (inside + outside) / 2) == (inside > outside)) & (mask != IGNORE)
    overlap = (seen & labelled).sum() / (seen | labelled).sum()
    assert overlap > 0.8, f"{what}: the mask and the object in the picture share only {overlap:.0%} of their area"
    rows, columns = np.nonzero(labelled)
    bounds = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    boxes = sample.targets["object_detection"]["boxes"]
    off = np.abs(boxes[0] - bounds).max() if len(boxes) else np.inf
    assert off <= 2, f"{what}: the box is {boxes.tolist()}, the object's pixels reach from and to {bounds.tolist()}"
    _check_others(sample, labelled, bounds, what)
    return True


def _check_others(sample: CameraSample, labelled: np.ndarray, bounds: np.ndarray, what: str) -> None:
    """Drivable area, depth and the lane up the object's middle, against its mask and its bounds."""
    depth = sample.targets["depth_estimation"]["depth"]
    for name, seen in (("drivable_area", sample.targets["drivable_area"]["mask"] == 1), ("depth", depth == NEAR)):
        overlap = (seen & labelled).sum() / (seen | labelled).sum()
        assert overlap > 0.8, f"{what}: {name} and the mask share only {overlap:.0%} of the object's area"
    assert set(np.unique(depth).tolist()) <= {0, NEAR, FAR}, f"{what}: depth was mixed: {np.unique(depth)[:9].tolist()}"
    lanes = sample.targets["lane_detection"]
    points = lanes["points"][lanes["points_valid"]]
    low, high = bounds[:2] - 2, bounds[2:] + 2
    assert ((points >= low) & (points <= high)).all(), f"{what}: the lane is {points.tolist()}, the object {bounds.tolist()}"


def _draw(view: View, size: tuple[int, int]) -> CameraSample:
    """One bright rectangle on a dark ground seen by ``view``, with its mask (1, ground 0, outside `IGNORE`) and box."""
    x1, y1, x2, y2 = RECTANGLE
    assert size[0] > y2 and size[1] > x2, f"a picture of {size} does not hold the object {list(RECTANGLE)}"
    image, mask = np.full((*size, 3), DARK, np.uint8), np.zeros(size, np.uint8)
    image[y1:y2, x1:x2], mask[y1:y2, x1:x2] = BRIGHT, 1
    boxes = view.boxes(np.array([RECTANGLE])).clip(0, [view.size[1], view.size[0]] * 2)
    lane = clip_line(view.points(np.array([((x1 + x2) / 2, y2), ((x1 + x2) / 2, y1)], np.float32)), view.size)[None]
    there = int(lane.size > 0)
    targets = {
        "semantic_segmentation": {"mask": _seen(mask, view, IGNORE)},
        "drivable_area": {"mask": _seen(mask, view, IGNORE)},
        "depth_estimation": {"depth": _seen(np.where(mask == 1, NEAR, FAR).astype(np.float32), view, 0)},
        "lane_detection": {
            "points": lane[:there], "points_valid": np.ones((there, lane.shape[1]), bool), "classes": np.zeros(there, np.int64),
        },
        "object_detection": {
            "boxes": boxes, "classes": np.zeros(1, np.int64), "ignore_boxes": np.zeros((0, 4), np.float32),
        },
    }  # fmt: skip
    labelled = {task: np.ones(2 * TASKS[task].has_classes, bool) for task in targets}
    return CameraSample(_seen(image, view, 0), view, size, targets, labelled)


def _seen(pixels: np.ndarray, view: View, outside: int) -> np.ndarray:
    """``pixels`` through ``view``, nearest pixel; OpenCV counts from a pixel's centre, a view from its corner."""
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = (np.linalg.inv(centre) @ view.matrix @ centre)[:2]
    height, width = view.size
    fill = (outside,) * 3
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=fill)


def _copied(sample: CameraSample) -> dict[str, dict[str, np.ndarray]]:
    return {task: {name: array.copy() for name, array in fields.items()} for task, fields in sample.targets.items()}
