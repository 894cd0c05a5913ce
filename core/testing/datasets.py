"""What every dataset must keep: small references, frames that load alike each time, labels within what is declared."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..contracts import Dataset
from ..frame import PIXEL_LABELS, Boxes, Camera, ClassInfo, Encoded, Frame, frame_from_parts, frame_to_parts
from ..lanes import Lanes
from ..rasters import STORED
from ..tasks import IGNORE, TASKS

_LARGEST_REF = 64 * 1024
_SLACK = 1.0  # px that a box may reach over its picture's edge


def check_dataset(dataset: Dataset, root: Path, split: str, limit: int | None = None) -> list[Frame]:
    """Hold a dataset to its contract on the first ``limit`` frames of a ``split`` (None: all), and return these.

    Checked: the index is the same each time; references are small and can be pickled; a frame loads to the same bytes
    each time, is what `identify` says where there is that method, and survives `frame_to_parts`; keys are unique; pictures
    decode at the stated size; masks, depth and instances have their picture's size, masks hold declared ids, instances
    numbers of boxes; boxes lie in the picture and they and lanes are of declared classes; lanes run from near to far.
    Raises AssertionError naming the frame.
    """
    refs = list(dataset.index(root, split))
    assert refs, f"split {split!r} of {root} is empty"
    _check_classes(dataset.classes)
    assert [pickle.dumps(r) for r in dataset.index(root, split)] == [pickle.dumps(r) for r in refs], "index() varies"
    frames = [_load(dataset, ref) for ref in refs[:limit]]
    keys = [frame.key for frame in frames]
    assert len(set(keys)) == len(keys), f"keys are not unique: {sorted(k for k in set(keys) if keys.count(k) > 1)[:3]}"
    if hasattr(dataset, "identify"):
        for ref, frame in zip(refs, frames):
            assert dataset.identify(ref) == (frame.key, frame.scene), f"frame {frame.key!r}: identify() says otherwise"
    for frame in frames:
        for name, camera in frame.cameras.items():
            check_camera(camera, dataset.classes, f"frame {frame.key!r}, {name}")
    return frames


def check_camera(camera: Camera, classes: Mapping[str, Sequence[ClassInfo]], what: str) -> None:
    """One camera's picture and labels against the declared ``classes``; ``what`` begins the messages."""
    assert camera.image is not None, f"{what}: no image"
    height, width = _decode(camera.image, cv2.IMREAD_COLOR, what).shape[:2]
    assert (camera.width, camera.height) == (width, height), (
        f"{what}: stated {camera.width}x{camera.height}, the picture is {width}x{height}"
    )
    for task in TASKS.values():
        labelled = getattr(camera, task.prediction) is not None
        assert not labelled or task.name in classes, f"{what}: labels of {task.name}, for which no classes are declared"
    for label in PIXEL_LABELS:
        if getattr(camera, label) is not None:
            _check_pixels(camera, label, classes, what)
    if camera.boxes is not None:
        _check_boxes(camera.boxes, (height, width), classes["object_detection"], what)
    if camera.lanes is not None:
        _check_lanes(camera.lanes, classes["lane_detection"], what)


def _load(dataset: Dataset, ref) -> Frame:
    pickled = pickle.dumps(ref)
    assert len(pickled) <= _LARGEST_REF, f"a reference is {len(pickled)} bytes: it should name what to load, not hold it"
    frame, again = dataset.load(ref), dataset.load(pickle.loads(pickled))
    assert isinstance(frame, Frame), f"load() gave a {type(frame).__name__}"
    parts = frame_to_parts(frame)
    assert frame_to_parts(again) == parts, f"frame {frame.key!r} loads differently the second time"
    assert frame_to_parts(frame_from_parts(parts)) == parts, f"frame {frame.key!r} changes when it is stored and read"
    return frame


def _check_classes(classes: Mapping[str, Sequence[ClassInfo]]) -> None:
    for task, infos in classes.items():
        names, ids = [info.name for info in infos], [info.id for info in infos]
        assert len(set(names)) == len(names), f"{task}: class names are not unique: {names}"
        assert len(set(ids)) == len(ids), f"{task}: class ids are not unique: {ids}"
        assert all(0 <= number <= IGNORE for number in ids), f"{task}: class ids outside 0..{IGNORE}: {ids}"


def _decode(encoded: Encoded, flags: int, what: str) -> np.ndarray:
    array = cv2.imdecode(np.frombuffer(encoded.data, np.uint8), flags)
    assert array is not None, f"{what}: cannot be decoded as {encoded.format}"
    return array


def _check_pixels(camera: Camera, label: str, classes: Mapping[str, Sequence[ClassInfo]], what: str) -> None:
    encoded, wanted = getattr(camera, label), (camera.height, camera.width)
    assert isinstance(encoded, Encoded), f"{what}: a dataset gives its mask encoded, {label} is an array"
    pixels = _decode(encoded, cv2.IMREAD_UNCHANGED, what)
    name = "mask" if label == "semantic" else label
    assert pixels.dtype == STORED[label] and pixels.shape == wanted, (
        f"{what}: {name} is {pixels.dtype} {pixels.shape}, expected {np.dtype(STORED[label])} {wanted}"
    )
    if label == "instances":
        boxes = 0 if camera.boxes is None else len(camera.boxes)
        assert pixels.max() <= boxes, f"{what}: instances holds {pixels.max()}, there are {boxes} boxes"
    for task in (task for task in TASKS.values() if task.is_mask and task.prediction == label):
        strange = sorted(set(np.unique(pixels).tolist()) - {info.id for info in classes[task.name]} - {IGNORE})
        assert not strange, f"{what}: {name} holds ids {strange} of no declared class"


def _check_lanes(lanes: Lanes, infos: Sequence[ClassInfo], what: str) -> None:
    strange = sorted(set(lanes.names) - {info.name for info in infos})
    assert not strange, f"{what}: lanes of undeclared classes {strange}"
    for line in lanes.points:
        assert len(line) >= 2 and np.isfinite(line).all(), f"{what}: a lane needs two points or more, all finite"
        assert line[0, 1] >= line[-1, 1], f"{what}: a lane runs from near to far: its first point is below its last"


def _check_boxes(boxes: Boxes, size: tuple[int, int], infos: Sequence[ClassInfo], what: str) -> None:
    height, width = size
    low, high = boxes.xyxy[:, :2], boxes.xyxy[:, 2:]
    assert (low <= high).all(), f"{what}: boxes with x1 > x2, y1 > y2 or NaN"
    assert (low >= -_SLACK).all() and (high <= np.array([width, height]) + _SLACK).all(), f"{what}: boxes out of the picture"
    strange = sorted(set(boxes.names) - {info.name for info in infos})
    assert not strange, f"{what}: boxes of undeclared classes {strange}"
