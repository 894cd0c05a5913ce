"""What every dataset must keep: small references, frames that load alike each time, labels within what is declared."""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from ..contracts import Dataset
from ..frame import Boxes, Camera, ClassInfo, Encoded, Frame, frame_from_parts, frame_to_parts
from ..tasks import IGNORE

_LARGEST_REF = 64 * 1024
_SLACK = 1.0  # px that a box may reach over its picture's edge


def check_dataset(dataset: Dataset, root: Path, split: str, limit: int | None = None) -> list[Frame]:
    """Hold a dataset to its contract on the first ``limit`` frames of a ``split`` (None: all), and return these.

    Checked: the index is the same each time; references are small and can be pickled; a frame loads to the same bytes
    each time, is what `identify` says where there is that method, and survives `frame_to_parts`; keys are unique; pictures
    decode at the stated size; masks have their picture's size and hold declared ids; boxes lie in the picture and are of
    declared classes.
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
    if camera.semantic is not None:
        assert isinstance(camera.semantic, Encoded), f"{what}: a dataset gives its mask encoded"
        _check_mask(camera.semantic, (height, width), classes.get("semantic_segmentation", ()), what)
    if camera.boxes is not None:
        _check_boxes(camera.boxes, (height, width), classes.get("object_detection", ()), what)


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


def _check_mask(mask: Encoded, size: tuple[int, int], infos: Sequence[ClassInfo], what: str) -> None:
    ids = _decode(mask, cv2.IMREAD_UNCHANGED, what)
    assert ids.dtype == np.uint8 and ids.shape == size, f"{what}: mask is {ids.dtype} {ids.shape}, expected uint8 {size}"
    strange = sorted(set(np.unique(ids).tolist()) - {info.id for info in infos} - {IGNORE})
    assert not strange, f"{what}: mask holds ids {strange} of no declared class"


def _check_boxes(boxes: Boxes, size: tuple[int, int], infos: Sequence[ClassInfo], what: str) -> None:
    height, width = size
    low, high = boxes.xyxy[:, :2], boxes.xyxy[:, 2:]
    assert (low <= high).all(), f"{what}: boxes with x1 > x2, y1 > y2 or NaN"
    assert (low >= -_SLACK).all() and (high <= np.array([width, height]) + _SLACK).all(), f"{what}: boxes out of the picture"
    strange = sorted(set(boxes.names) - {info.name for info in infos})
    assert not strange, f"{what}: boxes of undeclared classes {strange}"
