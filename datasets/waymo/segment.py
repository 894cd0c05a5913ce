"""What a segment's files say, as far as a worker process needs it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from drivetrain import Boxes, ClassInfo, DataError, read_table

from .rows import TIME, Rows, matrix

# The labelling specification's types, by number.
NAMES = ("unknown", "vehicle", "pedestrian", "sign", "cyclist")
CLASSES = {"object_detection": tuple(ClassInfo(name, i, ignore=i == 0) for i, name in enumerate(NAMES))}
CAMERAS = ("", "cam_front", "cam_front_left", "cam_front_right", "cam_side_left", "cam_side_right")
CAMERA = "key.camera_name"
IMAGE = ("[CameraImageComponent].image", "[CameraImageComponent].pose.transform", "[CameraImageComponent].pose_timestamp")
_CALIBRATION = "[CameraCalibrationComponent]."
_INTRINSIC = tuple(f"{_CALIBRATION}intrinsic.{name}" for name in ("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3"))
_EXTRINSIC = f"{_CALIBRATION}extrinsic.transform"
_BOX = tuple(f"[CameraBoxComponent].box.{name}" for name in ("center.x", "center.y", "size.x", "size.y"))
_TYPE, _LEVEL = "[CameraBoxComponent].type", "[CameraBoxComponent].difficulty_level.detection"
_OBJECT = "key.camera_object_id"
_STATS = ("weather", "time_of_day", "location")
_FROM_OPTICAL = np.array([[0.0, 0, 1, 0], [-1, 0, 0, 0], [0, -1, 0, 0], [0, 0, 0, 1]])  # z ahead to x ahead


class Mount(NamedTuple):
    """A camera's ``intrinsics`` [3, 3], ``distortion`` (k1, k2, p1, p2, k3) and ``sensor_to_ego`` [4, 4]."""

    intrinsics: np.ndarray
    distortion: tuple[float, ...]
    sensor_to_ego: np.ndarray


class Segment(NamedTuple):
    """``boxes``: (time in µs, camera) -> its rows of ``labels``, which are None where nobody looked; ``tags``: time -> tags."""

    images: Rows
    mounts: dict[int, Mount]
    labels: dict[str, np.ndarray] | None
    boxes: dict[tuple[int, int], np.ndarray]
    tags: dict[int, dict[str, str]]


@functools.lru_cache(2)
def read_segment(folder: Path, name: str) -> Segment:
    """Of the split's ``folder``. Raises DataError for a file that is missing or wrong."""
    labels = folder / "camera_box" / f"{name}.parquet"
    images = Rows(folder / "camera_image" / f"{name}.parquet", CAMERA, IMAGE, batch=10)
    mounts = _mounts(folder / "camera_calibration" / f"{name}.parquet")
    rows, boxes = _labels(labels) if labels.is_file() else (None, {})
    return Segment(images, mounts, rows, boxes, _tags(folder / "stats" / f"{name}.parquet"))


def boxes_of(segment: Segment, time: int, camera: int, size: tuple[int, int]) -> Boxes | None:
    """The boxes of a picture of ``size`` (width, height), cut to it; None where nobody looked."""
    if segment.labels is None:
        return None
    rows = {name: column[segment.boxes.get((time, camera), [])] for name, column in segment.labels.items()}
    middle, half = (np.stack([rows[name] for name in names], 1) for names in (_BOX[:2], _BOX[2:]))
    xyxy = np.concatenate([middle - half / 2, middle + half / 2], 1).clip(0, [*size, *size])
    return Boxes(
        xyxy, [NAMES[number] for number in rows[_TYPE]], ignore=rows[_TYPE] == 0, track_ids=rows[_OBJECT],
        attributes=[{"difficulty": int(level)} if level > 0 else {} for level in rows[_LEVEL]],
    )  # fmt: skip


def _mounts(path: Path) -> dict[int, Mount]:
    columns = _read(path, (CAMERA, *_INTRINSIC, _EXTRINSIC))
    out = {}
    for row in zip(*columns.values()):
        fx, fy, cx, cy, *distortion = row[1:-1]
        intrinsics = np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
        out[int(row[0])] = Mount(intrinsics, tuple(float(k) for k in distortion), matrix(row[-1]) @ _FROM_OPTICAL)
    return out


def _labels(path: Path) -> tuple[dict[str, np.ndarray], dict[tuple[int, int], np.ndarray]]:
    """The columns, objects by number, and which rows are of a time and a camera."""
    columns = _read(path, (TIME, CAMERA, _OBJECT, _TYPE, *_BOX, _LEVEL))
    if ((columns[_TYPE] < 0) | (columns[_TYPE] >= len(NAMES))).any():
        raise DataError(f"a type is none of 0 to {len(NAMES) - 1}", where=str(path))
    columns[_OBJECT] = np.unique(columns[_OBJECT].astype(str), return_inverse=True)[1]
    columns[_LEVEL] = np.nan_to_num(columns[_LEVEL].astype(np.float64))  # null where it is not told
    keys = np.stack([columns[TIME], columns[CAMERA].astype(np.int64)], 1)
    kinds, place = np.unique(keys, axis=0, return_inverse=True)
    order = np.argsort(place.reshape(-1), kind="stable")
    parts = np.split(order, np.cumsum(np.bincount(place.reshape(-1), minlength=len(kinds)))[:-1])
    return columns, {(int(time), int(camera)): rows for (time, camera), rows in zip(kinds, parts)}


def _tags(path: Path) -> dict[int, dict[str, str]]:
    if not path.is_file():
        return {}
    columns = _read(path, (TIME, *(f"[StatsComponent].{name}" for name in _STATS)))
    return {int(time): {n: v for n, v in zip(_STATS, values) if v} for time, *values in zip(*columns.values())}


def _read(path: Path, names: Sequence[str]) -> dict[str, Any]:
    table = read_table(path, names)
    return {name: table[name].to_numpy() for name in names}
