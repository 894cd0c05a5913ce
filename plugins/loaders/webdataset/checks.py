"""A frame held against its dataset's classes, once, when it is written; and the row of the index that it gives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from drivetrain import (
    IGNORE,
    PIXEL_LABELS,
    TASKS,
    Boxes,
    Camera,
    ClassInfo,
    DataError,
    Encoded,
    Frame,
    Lanes,
    Lidar,
    near_matches,
)

from .decode import MAX_PIXELS, declared_size, decode_label
from .shards import Damage

Classes = Mapping[str, Sequence[ClassInfo]]


def row_of(frame: Frame, classes: Classes, where: str) -> dict[str, Any]:
    """The frame's row of ``index.parquet``, `shard` and `number` aside, with ``sizes``: camera -> (width, height).

    Raises DataError naming the frame, its camera and ``where`` it is from: a picture that cannot be read or is not of the
    stated size, a mask of another size or with ids that are not declared, a box of a class that is not declared.
    """
    counts: dict[str, dict[str, int]] = {}
    for name, camera in frame.cameras.items():
        what = f"frame {frame.key!r}, camera {name!r}"
        if camera.image is None:
            raise DataError(f"{what}: there is no image", where=where)
        size = stored_size(camera.image, what, where)
        if size != (camera.height, camera.width):
            stated = f"{camera.width} x {camera.height}"
            raise DataError(f"{what}: the image is {size[1]} x {size[0]}, the frame says {stated}", where=where)
        _check_instances(camera, what, where)
        for task, found in _labels(camera, classes, what, where).items():
            total = counts.setdefault(task, {})
            for label, count in found.items():
                total[label] = total.get(label, 0) + count
    sensors: list[Camera | Lidar] = [*frame.cameras.values(), *frame.lidars.values()]
    times = [sensor.timestamp for sensor in sensors if sensor.timestamp is not None]
    return {
        "key": frame.key, "scene": frame.scene, "timestamp": times[0] if times else None, "tags": dict(frame.tags),
        "labelled": sorted(counts), "class_counts": counts,
        "sizes": {name: (camera.width, camera.height) for name, camera in frame.cameras.items()},
    }  # fmt: skip


def refuse_strange(frame: Frame) -> None:
    """Raises ValueError where a frame that was read is not made of what it should be, or is larger than a camera's."""
    texts = [frame.key, frame.scene, *frame.tags.keys(), *frame.tags.values()]
    for name, camera in frame.cameras.items():
        size = camera.height, camera.width
        if not all(type(side) is int and 0 < side < 1 << 16 for side in size) or size[0] * size[1] > MAX_PIXELS:
            raise ValueError(f"camera {name!r} is {camera.width!r} x {camera.height!r}")
        for part in (camera.image, *(getattr(camera, label) for label in PIXEL_LABELS)):
            if isinstance(part, Encoded) and _declares_too_much(part):
                raise ValueError(f"camera {name!r}: a {part.format} declares more than {MAX_PIXELS} pixels")
        regions = camera.ignore_regions
        if regions is not None and regions.size and regions.shape != (len(regions), 4):
            raise ValueError(f"camera {name!r}: ignore regions of shape {regions.shape}")
        texts += [text for task, names in camera.labelled_classes.items() for text in (task, *names)]
        texts += [] if camera.boxes is None else camera.boxes.names
        texts += [] if camera.lanes is None else camera.lanes.names
    for name, lidar in frame.lidars.items():
        if lidar.sensor_to_ego is not None and lidar.sensor_to_ego.shape != (4, 4):
            raise ValueError(f"lidar {name!r}: a pose of shape {lidar.sensor_to_ego.shape}")
        texts += lidar.fields
    if not all(isinstance(text, str) for text in texts):
        raise ValueError(f"{next(text for text in texts if not isinstance(text, str))!r:.80} in place of a text")


def _declares_too_much(picture: Encoded) -> bool:
    try:
        height, width = declared_size(picture)
    except ValueError:  # the decoder will say so
        return False
    return height * width > MAX_PIXELS


def _labels(camera: Camera, classes: Classes, what: str, where: str) -> dict[str, dict[str, int]]:
    """task -> class -> pixels, boxes or lanes, of the tasks that are labelled."""
    found = {}
    for task in TASKS.values():
        if (label := getattr(camera, task.prediction)) is not None:
            infos = _declared(classes, task.name, what, where)
            found[task.name] = _count(camera, label, infos, what, where)
    return found


def _count(camera: Camera, label: Any, infos: Sequence[ClassInfo], what: str, where: str) -> dict[str, int]:
    if isinstance(label, Boxes):
        return _box_counts(label, infos, what, where)
    if isinstance(label, Lanes):
        return _lane_counts(label, infos, what, where)
    if label is camera.depth:
        _pixels(camera, "depth", what, where)
        return {}
    return _mask_counts(
        _pixels(camera, "semantic" if label is camera.semantic else "drivable", what, where), infos, what, where
    )


def _declared(classes: Classes, task: str, what: str, where: str) -> Sequence[ClassInfo]:
    if task not in classes:
        raise DataError(f"{what}: labels of {task}, for which the dataset declares no classes", where=where)
    return classes[task]


def _pixels(camera: Camera, label: str, what: str, where: str) -> np.ndarray:
    """A camera's ``label`` as it is stored, of its picture's size."""
    pixels = getattr(camera, label)
    try:
        pixels = decode_label(label, pixels) if isinstance(pixels, Encoded) else pixels
    except Damage as error:
        raise DataError(f"{what}: {error}", where=where) from error
    if pixels.shape != (camera.height, camera.width):
        name = "the mask" if label == "semantic" else label
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise DataError(f"{what}: {name} is {size}, the image {camera.width} x {camera.height}", where=where)
    return pixels


def _check_instances(camera: Camera, what: str, where: str) -> None:
    if camera.instances is None:
        return
    boxes, highest = len(camera.boxes or ()), int(_pixels(camera, "instances", what, where).max(initial=0))
    if highest > boxes:
        raise DataError(f"{what}: instances holds {highest}, there are {boxes} boxes", where=where,
                        remedy="0 is none, n the n-th box, counted from 1")  # fmt: skip


def _mask_counts(mask: np.ndarray, infos: Sequence[ClassInfo], what: str, where: str) -> dict[str, int]:
    pixels = np.bincount(mask.ravel(), minlength=256)
    unknown = sorted(set(np.flatnonzero(pixels).tolist()) - {info.id for info in infos} - {IGNORE})
    if unknown:
        ids = sorted(info.id for info in infos)
        raise DataError(
            f"{what}: the mask holds class ids {unknown} that are outside the dataset's classes",
            where=where, remedy=f"ids of the dataset: {ids}, and {IGNORE} where nothing is labelled",
        )  # fmt: skip
    return {info.name: int(pixels[info.id]) for info in infos if pixels[info.id]}


def _box_counts(boxes: Boxes, infos: Sequence[ClassInfo], what: str, where: str) -> dict[str, int]:
    counts = _name_counts(boxes.names, infos, f"{what}: box", where)
    good = np.isfinite(boxes.xyxy).all(1) & (boxes.xyxy[:, :2] <= boxes.xyxy[:, 2:]).all(1)
    if not good.all():
        bad = boxes.xyxy[~good][0].tolist()
        raise DataError(f"{what}: box {bad} is not finite with x1 <= x2 and y1 <= y2", where=where)
    return counts


def _lane_counts(lanes: Lanes, infos: Sequence[ClassInfo], what: str, where: str) -> dict[str, int]:
    if not all(np.isfinite(line).all() for line in lanes.points):
        raise DataError(f"{what}: a lane has points that are not finite", where=where)
    return _name_counts(lanes.names, infos, f"{what}: lane", where)


def _name_counts(found: Sequence[str], infos: Sequence[ClassInfo], what: str, where: str) -> dict[str, int]:
    names = [info.name for info in infos]
    unknown = sorted(set(found) - set(names))
    if unknown:
        raise DataError(f"{what} classes {unknown} are outside the dataset's classes", where=where,
                        near=near_matches(unknown[0], names))  # fmt: skip
    return {name: found.count(name) for name in names if name in found}


def stored_size(image: Encoded, what: str, where: str) -> tuple[int, int]:
    """(height, width) from the picture's header."""
    try:
        height, width = declared_size(image)
    except ValueError as error:
        raise DataError(f"{what}: the image is no whole {image.format}: {error}", where=where) from error
    if height * width > MAX_PIXELS:
        raise DataError(f"{what}: the image is {width} x {height}, more than {MAX_PIXELS} pixels", where=where,
                        remedy="store it smaller: --resize")  # fmt: skip
    return height, width
