"""One picture laid over another, with the labels of both."""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from drivetrain import IGNORE, CameraSample

Fields = Mapping[str, np.ndarray]
RASTERS = {"mask": IGNORE, "depth": 0}
"""Targets that are pictures, and what they hold where nothing is known."""


def lay_window(onto: CameraSample, other: CameraSample) -> CameraSample:
    """``onto`` with what ``other``, which has its size, shows in its window; ``onto`` shows nothing there.

    What of ``other`` is not labelled for all classes that ``onto`` is labelled for is ignored."""
    x1, y1, x2, y2 = other.view.bounds
    if x1 >= x2 or y1 >= y2:
        return onto
    onto.image[y1:y2, x1:x2] = other.image[y1:y2, x1:x2]
    labelled = dict(onto.labelled_classes)
    targets = {}
    for task, fields in onto.targets.items():
        known = knows(onto, other, task)
        targets[task] = _joined(fields, other.targets[task], other.view.bounds, known)
        if not known and "points" in fields:  # nothing says where lanes are ignored
            labelled[task] = np.zeros_like(labelled[task])
    return onto.replace(targets=targets, labelled_classes=labelled)


def knows(onto: CameraSample, other: CameraSample, task: str) -> bool:
    """Whether all classes that were looked for in ``onto`` were in ``other``."""
    return not (onto.labelled_classes[task] & ~other.labelled_classes[task]).any()


def _joined(fields: Fields, more: Fields, bounds: tuple[int, int, int, int], known: bool) -> dict[str, np.ndarray]:
    """One task's targets; ``known``: whether those of the window ``bounds`` are."""
    x1, y1, x2, y2 = bounds
    out = {}
    for name, values in fields.items():
        if name in RASTERS:
            values[y1:y2, x1:x2] = more[name][y1:y2, x1:x2] if known else RASTERS[name]
            out[name] = values
        elif known:
            out[name] = np.concatenate(_as_wide(values, more[name]))
        else:
            out[name] = np.concatenate([values, np.array([bounds], np.float32)]) if name == "ignore_boxes" else values
    return out


def _as_wide(*arrays: np.ndarray) -> list[np.ndarray]:
    """[N, K, ...] of any K padded with zeros to the largest, other arrays as they are: lanes have points as they need."""
    if arrays[0].ndim < 2:
        return list(arrays)
    most = max(array.shape[1] for array in arrays)
    return [np.pad(a, ((0, 0), (0, most - a.shape[1]), *[(0, 0)] * (a.ndim - 2))) for a in arrays]


def lay_objects(onto: CameraSample, other: CameraSample, taken: np.ndarray, region: np.ndarray, hidden: float) -> CameraSample:
    """``onto`` with the pixels of ``other`` in ``region`` uint8 [H, W] (255 inside) laid over it, and the boxes ``taken``
    int [N] of ``other``. Boxes of which more than ``hidden`` is covered are ignored from then on; so are those boxes of
    ``other`` that are covered in part, yet not taken. Depth and masks follow the pixels, where ``other`` knows them; lanes
    stay as they are, since they go on under what stands on them."""
    _blend(onto.image, other.image, region)
    targets = dict(onto.targets)
    for task, fields in onto.targets.items():
        known = knows(onto, other, task)
        if "boxes" in fields:
            targets[task] = _with_boxes(fields, other.targets[task], taken, region, hidden)
        for name in fields.keys() & RASTERS.keys():
            source = other.targets[task][name] if known else np.full_like(fields[name], RASTERS[name])
            cv2.copyTo(source, region, fields[name])
    return onto.replace(targets=targets)


def _blend(image: np.ndarray, other: np.ndarray, region: np.ndarray) -> None:
    """In place, with an edge a pixel or two soft, so that it is no mark of what was pasted (Dwibedi, Misra, Hebert 2017)."""
    x, y, width, height = cv2.boundingRect(region)
    part = slice(y, y + height), slice(x, x + width)
    weight = cv2.GaussianBlur(region[part], (0, 0), 1.0, borderType=cv2.BORDER_REPLICATE).astype(np.float32) / 255
    image[part] = cv2.blendLinear(np.ascontiguousarray(other[part]), np.ascontiguousarray(image[part]), weight, 1 - weight)


def _with_boxes(fields: Fields, more: Fields, taken: np.ndarray, region: np.ndarray, hidden: float) -> dict[str, np.ndarray]:
    stay = covered(fields["boxes"], region) <= hidden
    share = covered(more["boxes"], region)
    share[taken] = 0
    partly = cut(more["boxes"][share > 0.1], region)
    return {
        "boxes": np.concatenate([fields["boxes"][stay], more["boxes"][taken]]),
        "classes": np.concatenate([fields["classes"][stay], more["classes"][taken]]),
        "ignore_boxes": np.concatenate([fields["ignore_boxes"], fields["boxes"][~stay], partly]),
    }


def region_of(boxes: np.ndarray, sample: CameraSample) -> np.ndarray:
    """uint8 [H, W], 255 where the objects of ``boxes`` are: their own pixels where the sample knows its instances, else all
    of the box."""
    region = np.zeros(sample.view.size, np.uint8)
    for box in boxes:
        x1, y1, x2, y2 = whole(box, region.shape)
        mask = None if sample.instances is None else _instance_in(sample.instances, (x1, y1, x2, y2))
        if mask is None:
            region[y1:y2, x1:x2] = 255
        else:
            region |= mask
    return region


def _instance_in(instances: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray | None:
    """uint8 [H, W], 255 where the instance is whose own bounds agree best with ``box``; None where none has half of it in
    common, as where most of the object is hidden."""
    x1, y1, x2, y2 = box
    best, found = 0.5, None
    seen = instances[y1:y2, x1:x2]
    for number in np.unique(seen[seen > 0]).tolist():
        mask = (instances == number).astype(np.uint8) * np.uint8(255)
        left, top, width, height = cv2.boundingRect(mask)
        shared = max(0, min(x2, left + width) - max(x1, left)) * max(0, min(y2, top + height) - max(y1, top))
        agreement = shared / ((x2 - x1) * (y2 - y1) + width * height - shared)
        if agreement > best:
            best, found = agreement, mask
    return found


def cut(boxes: np.ndarray, region: np.ndarray) -> np.ndarray:
    """float32 [N, 4]: each of ``boxes`` cut to what of it is in ``region``."""
    out = boxes.copy()
    for box in out:
        x1, y1, x2, y2 = whole(box, region.shape)
        x, y, width, height = cv2.boundingRect(region[y1:y2, x1:x2])
        box[:] = x1 + x, y1 + y, x1 + x + width, y1 + y + height
    return out


def covered(boxes: np.ndarray, region: np.ndarray) -> np.ndarray:
    """float64 [N]: the share of each box that is in ``region`` uint8 [H, W]."""
    shares = np.zeros(len(boxes))
    for place, box in enumerate(boxes):
        x1, y1, x2, y2 = whole(box, region.shape)
        shares[place] = np.count_nonzero(region[y1:y2, x1:x2]) / max(1, (y2 - y1) * (x2 - x1))
    return shares


def whole(box: np.ndarray, size: tuple[int, ...]) -> tuple[int, int, int, int]:
    """x1 y1 x2 y2 in whole pixels of a picture of ``size``, one pixel at least."""
    x1, y1 = min(max(0, int(box[0])), size[1] - 1), min(max(0, int(box[1])), size[0] - 1)
    return x1, y1, max(x1 + 1, min(size[1], round(float(box[2])))), max(y1 + 1, min(size[0], round(float(box[3]))))
