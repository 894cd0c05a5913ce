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
    assert transform.training_only or not transform.partners, "a transform that takes partners is for training alone"
    shown = 0
    for seed in seeds:
        views = _check_views(transform, size, seed)
        sample = _check_pixels(transform, [_draw(view, size, n) for n, view in enumerate(views)], seed)
        shown += _check_aligned(sample, f"seed {seed}")
    assert shown, f"none of {len(seeds)} seeds shows the drawn object: {list(RECTANGLE)} of a picture of {size}"


def _check_views(transform: Transform, size: tuple[int, int], seed: int) -> list[View]:
    """Of a picture and of the partners that it takes."""
    views, again = (_seen_by(transform, size, Rng("check", seed)) for _ in range(2))
    what = f"seed {seed}: view"
    assert len(views) == len(again), f"{what}: equal keys took {len(views) - 1} and {len(again) - 1} partners"
    for view, other in zip(views, again):
        _check_view(view, other, what)
    assert len({view.size for view in views}) == 1, f"{what}: sizes {[view.size for view in views]}: a mixture has one"
    return views


def _seen_by(transform: Transform, size: tuple[int, int], rng: Rng) -> list[View]:
    if not transform.partners:
        return [transform.view(View.identity(*size), rng)]
    taken = transform.takes(rng)
    assert 0 <= taken <= transform.partners, f"it takes {taken} partners of {transform.partners}"
    views = transform.views([View.identity(*size)] * (1 + taken), rng)
    assert len(views) == 1 + taken, f"{len(views)} views of a picture and {taken} partners"
    return views


def _check_view(view: View, again: View, what: str) -> None:
    assert view.size == again.size and np.array_equal(view.matrix, again.matrix) and view.window == again.window, (
        f"{what}: equal keys gave {view} and {again}: draw from the given Rng alone"
    )
    matrix = np.asarray(view.matrix)
    assert matrix.shape == (3, 3), f"{what}: the matrix has shape {matrix.shape}, not (3, 3)"
    assert np.array_equal(matrix[2], [0, 0, 1]), f"{what}: the last row is {matrix[2].tolist()}, not [0, 0, 1]"
    assert matrix[0, 1] == matrix[1, 0] == 0, f"{what}: the matrix turns or shears, boxes cannot follow: {matrix.tolist()}"
    assert np.isfinite(matrix).all() and matrix[0, 0] * matrix[1, 1] != 0, f"{what}: cannot be undone: {matrix.tolist()}"
    assert all(isinstance(n, int) and n > 0 for n in view.size), f"{what}: size {view.size} is not two whole numbers above 0"


def _check_pixels(transform: Transform, samples: Sequence[CameraSample], seed: int) -> CameraSample:
    """The first of ``samples`` after the transform; the others are its partners."""
    out, again = (_changed(transform, [_copied(sample) for sample in samples], Rng("check", seed)) for _ in range(2))
    what = f"seed {seed}: pixels"
    assert np.array_equal(out.image, again.image), f"{what}: equal keys gave different pictures"
    assert out.image.dtype == np.uint8, f"{what}: the picture became {out.image.dtype}"
    height, width = out.view.size
    assert out.image.shape == (height, width, 3), f"{what}: a picture of {out.image.shape} for a view of {out.view.size}"
    for task, fields in samples[0].targets.items():
        for name, before in fields.items():
            after = out.targets[task][name]
            assert after.dtype == before.dtype, f"{what}: targets {task}.{name} became {after.dtype} from {before.dtype}"
            assert np.array_equal(after, again.targets[task][name]), f"{what}: equal keys gave different {task}.{name}"
    for name in _RASTERS:
        (pixels,) = out.targets[name].values()
        assert pixels.shape == (height, width), f"{what}: a mask of {pixels.shape} for a view of {out.view.size} ({name})"
    return out


def _changed(transform: Transform, samples: Sequence[CameraSample], rng: Rng) -> CameraSample:
    sample, *partners = samples
    return transform.mix(sample, partners, rng) if partners else transform.pixels(sample, rng)


def _check_aligned(sample: CameraSample, what: str) -> bool:
    """Whether an object can be seen. Objects' pixels, found by brightness, are compared with their mask and boxes."""
    mask = sample.targets["semantic_segmentation"]["mask"]
    labelled = mask == 1
    if labelled.sum() <= 16 or (mask == 0).sum() <= 16:
        return False
    grey = sample.image.astype(np.float32).mean(2)
    inside, outside = np.median(grey[labelled]), np.median(grey[mask == 0])
    seen = ((grey > (inside + outside) / 2) == (inside > outside)) & (mask != IGNORE)
    overlap = (seen & labelled).sum() / (seen | labelled).sum()
    assert overlap > 0.8, f"{what}: the mask and the object in the picture share only {overlap:.0%} of their area"
    _check_others(sample, labelled, what)
    fields = sample.targets["object_detection"]
    boxes = fields["boxes"]
    if len(boxes) == 1 and not len(fields["ignore_boxes"]):
        rows, columns = np.nonzero(labelled)
        bounds = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        off = np.abs(boxes[0] - bounds).max()
        assert off <= 2, f"{what}: the box is {boxes.tolist()}, the object's pixels reach from and to {bounds.tolist()}"
    else:
        _check_boxes(boxes, fields["ignore_boxes"], labelled, what)
    return True


def _check_boxes(boxes: np.ndarray, ignored: np.ndarray, labelled: np.ndarray, what: str) -> None:
    """Every box is full of objects' pixels, and every one of these is in a box, learnt or ignored."""
    in_boxes = np.zeros(labelled.shape, bool)
    for box in np.concatenate([boxes, ignored]):
        x1, y1, x2, y2 = np.round(box).astype(int)
        in_boxes[max(0, y1 - 2) : y2 + 2, max(0, x1 - 2) : x2 + 2] = True
    for box in boxes:
        x1, y1, x2, y2 = np.round(box).astype(int)
        full = labelled[y1:y2, x1:x2].mean()
        assert full > 0.8, f"{what}: the box {box.tolist()} is only {full:.0%} full of its object's pixels"
    left = (labelled & ~in_boxes).sum() / labelled.sum()
    assert left < 0.05, f"{what}: {left:.0%} of the objects' pixels are in no box: {boxes.tolist()}"


def _check_others(sample: CameraSample, labelled: np.ndarray, what: str) -> None:
    """Drivable area, depth and the lane up the object's middle, against its mask."""
    depth = sample.targets["depth_estimation"]["depth"]
    for name, seen in (("drivable_area", sample.targets["drivable_area"]["mask"] == 1), ("depth", depth == NEAR)):
        overlap = (seen & labelled).sum() / (seen | labelled).sum()
        assert overlap > 0.8, f"{what}: {name} and the mask share only {overlap:.0%} of the object's area"
    assert set(np.unique(depth).tolist()) <= {0, NEAR, FAR}, f"{what}: depth was mixed: {np.unique(depth)[:9].tolist()}"
    lanes = sample.targets["lane_detection"]
    lines = [line[valid] for line, valid in zip(lanes["points"], lanes["points_valid"])]
    points = np.concatenate([line for line in lines if np.ptp(line, 0).max() > 2] or [np.zeros((0, 2), np.float32)])
    near = cv2.dilate(labelled.astype(np.uint8), np.ones((5, 5), np.uint8))
    x, y = points.astype(int).clip(0, np.array(near.shape[::-1]) - 1).T
    assert near[y, x].all(), f"{what}: the lane is {points.tolist()}, no object's pixels are there"


def _draw(view: View, size: tuple[int, int], number: int = 0) -> CameraSample:
    """One bright rectangle on a dark ground seen by ``view``, with its mask (1, ground 0, outside `IGNORE`) and box; that of
    partner ``number`` lies further to the right."""
    x1, y1, x2, y2 = np.array(RECTANGLE) + [number * 16, number * 10] * 2
    assert number or (size[0] > y2 and size[1] > x2), f"a picture of {size} does not hold the object {list(RECTANGLE)}"
    image, mask = np.full((*size, 3), DARK, np.uint8), np.zeros(size, np.uint8)
    image[y1:y2, x1:x2], mask[y1:y2, x1:x2] = BRIGHT, 1
    drawn = np.array([[x1, y1, min(x2, size[1]), min(y2, size[0])]])
    left, top, right, bottom = view.bounds
    boxes = view.boxes(drawn).clip([left, top] * 2, [right, bottom] * 2).astype(np.float32)
    boxes = boxes[(boxes[:, 2:] - boxes[:, :2] >= 1).all(1)]
    middle = np.array([((x1 + x2) / 2, drawn[0, 3]), ((x1 + x2) / 2, y1)], np.float32)
    lane = _cut(view.points(middle), view.bounds)[None]
    there = int(lane.size > 0)
    targets: dict[str, dict[str, np.ndarray]] = {
        "semantic_segmentation": {"mask": _seen(mask, view, IGNORE)},
        "drivable_area": {"mask": _seen(mask, view, IGNORE)},
        "depth_estimation": {"depth": _seen(np.where(mask == 1, NEAR, FAR).astype(np.float32), view, 0)},
        "lane_detection": {
            "points": lane[:there], "points_valid": np.ones((there, lane.shape[1]), bool), "classes": np.zeros(there, np.int64),
        },
        "object_detection": {
            "boxes": boxes, "classes": np.zeros(len(boxes), np.int64), "ignore_boxes": np.zeros((0, 4), np.float32),
        },
    }  # fmt: skip
    labelled = {task: np.ones(2 * TASKS[task].has_classes, bool) for task in targets}
    return CameraSample(_seen(image, view, 0), view, size, targets, labelled)


def _cut(line: np.ndarray, bounds: tuple[int, int, int, int]) -> np.ndarray:
    x1, y1, x2, y2 = bounds
    corner = np.array([x1, y1], np.float32)
    return clip_line(line - corner, (max(0, y2 - y1), max(0, x2 - x1))) + corner


def _seen(pixels: np.ndarray, view: View, outside: int) -> np.ndarray:
    """``pixels`` through ``view``, nearest pixel; OpenCV counts from a pixel's centre, a view from its corner."""
    centre = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    matrix = (np.linalg.inv(centre) @ view.matrix @ centre)[:2]
    height, width = view.size
    fill = (outside,) * 3
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_NEAREST, borderValue=fill)


def _copied(sample: CameraSample) -> CameraSample:
    targets = {task: {name: array.copy() for name, array in fields.items()} for task, fields in sample.targets.items()}
    return sample.replace(image=sample.image.copy(), targets=targets)
