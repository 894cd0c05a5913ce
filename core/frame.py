"""A Frame: one moment of driving, as a dataset gives it and a shard set stores it.

Absent is not empty: ``boxes is None`` means that nobody looked, an empty `Boxes` that somebody looked and found none.
Ego frame: x forward, y left, z up (ISO 8855), metres, radians. Pixels: x right, y down, (0, 0) covers [0, 1) x [0, 1).
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, unquote

import numpy as np

from .lanes import Lanes, lanes_from_json, lanes_to_json

CAMERA_MODELS = ("pinhole", "brown_conrady", "kannala_brandt", "f_theta")
PIXEL_LABELS = ("semantic", "drivable", "depth", "instances")
"""The fields of a `CameraLabels` that are pictures of one channel, stored as ``CAMERA.FIELD.png`` (`drivetrain.rasters`)."""
_SENSOR = re.compile(r"[a-z0-9_]+")
# The header of an npy is a Python literal (NumPy's format specification, version 1.0), read here without Python's parser: that
# one keeps its depth per interpreter, and in several threads at once CPython 3.11 now and then refuses what is right.
_NPY_HEADER = {
    "descr": re.compile(rb"['\"]descr['\"]: *['\"]([<>|=]?[biuf]\d{1,2})['\"]"),
    "fortran_order": re.compile(rb"['\"]fortran_order['\"]: *(False)"),
    "shape": re.compile(rb"['\"]shape['\"]: *\(([\d, ]*)\)"),
}


@dataclass(frozen=True)
class ClassInfo:
    """One class of a dataset: its own ``name``, its ``id`` in masks, ``color`` (r, g, b); ``ignore`` marks void classes."""

    name: str
    id: int
    color: tuple[int, int, int] | None = None
    ignore: bool = False


@dataclass(frozen=True)
class Encoded:
    """A picture, mask or array as it lies on disk. ``format`` is ``jpg``, ``png`` or ``npy``; it is decoded on a rank, not
    before."""

    data: bytes
    format: str


@dataclass
class Boxes:
    """2D boxes of one picture, N of them.

    ``xyxy`` float32 [N, 4] in the picture's own pixels; ``names`` N class names; ``ignore`` bool [N] (DontCare, crowd);
    ``scores`` float32 [N] in predictions; ``truncation`` and ``occlusion`` float32 [N] in [0, 1], NaN where unknown;
    ``track_ids`` int64 [N], -1 where unknown; ``attributes`` N mappings.
    """

    xyxy: np.ndarray
    names: list[str]
    ignore: np.ndarray | None = None
    scores: np.ndarray | None = None
    truncation: np.ndarray | None = None
    occlusion: np.ndarray | None = None
    track_ids: np.ndarray | None = None
    attributes: list[dict[str, Any]] | None = None

    _ARRAYS = {"ignore": bool, "scores": np.float32, "truncation": np.float32, "occlusion": np.float32, "track_ids": np.int64}

    def __post_init__(self):
        self.xyxy = np.asarray(self.xyxy, np.float32).reshape(-1, 4)
        self.names = list(self.names)
        if self.ignore is None:
            self.ignore = np.zeros(len(self), bool)
        for name, dtype in self._ARRAYS.items():
            value = getattr(self, name)
            if value is not None:
                setattr(self, name, np.asarray(value, dtype).reshape(-1))
        for name in ("names", "attributes", *self._ARRAYS):
            value = getattr(self, name)
            if value is not None and len(value) != len(self):
                raise ValueError(f"Boxes.{name} has {len(value)} entries for {len(self)} boxes")

    def __len__(self) -> int:
        return len(self.xyxy)

    def select(self, index: np.ndarray) -> Boxes:
        """The boxes at ``index`` (bool [N] or int [M])."""
        index = np.arange(len(self))[index]
        arrays = {n: None if getattr(self, n) is None else getattr(self, n)[index] for n in self._ARRAYS}
        attributes = None if self.attributes is None else [self.attributes[i] for i in index]
        return Boxes(self.xyxy[index], [self.names[i] for i in index], attributes=attributes, **arrays)


@dataclass
class CameraLabels:
    """Labels of one picture, or what a model says of it; all at the picture's size, arrays or encoded as PNG.

    ``semantic`` and ``drivable``: uint8 [H, W] of class ids, each of its own task's classes. ``depth``: float32 [H, W],
    metres along the optical axis, 0 where unknown; encoded, 16 bits of 1/256 m. ``instances``: uint16 [H, W], 0 for none
    and n for the n-th of ``boxes``, counted from 1.
    """

    boxes: Boxes | None = None
    semantic: np.ndarray | Encoded | None = None
    drivable: np.ndarray | Encoded | None = None
    lanes: Lanes | None = None
    depth: np.ndarray | Encoded | None = None
    instances: np.ndarray | Encoded | None = None


@dataclass
class Camera(CameraLabels):
    """One camera's reading.

    ``intrinsics`` float64 [3, 3]; ``model`` one of `CAMERA_MODELS` with its ``distortion`` coefficients; ``timestamp`` in
    ns; ``sensor_to_ego`` and ``ego_to_world`` float64 [4, 4] at that time. ``labelled_classes``: task -> the class names
    that were looked for, where not all of the dataset's. ``ignore_regions`` float32 [M, 4] x1 y1 x2 y2: not labelled.
    """

    image: Encoded | None = None
    width: int = 0
    height: int = 0
    timestamp: int | None = None
    intrinsics: np.ndarray | None = None
    model: str = "pinhole"
    distortion: tuple[float, ...] = ()
    sensor_to_ego: np.ndarray | None = None
    ego_to_world: np.ndarray | None = None
    labelled_classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    ignore_regions: np.ndarray | None = None


@dataclass
class Lidar:
    """One sweep of a lidar or a radar.

    ``points`` float32 [N, C], or encoded so, in the sensor's own frame, its columns named by ``fields``: x, y, z in metres,
    then what there is (intensity, ring, time...). ``labels`` uint8 or uint16 [N] of class ids, or encoded so. ``timestamp``
    in ns; ``sensor_to_ego`` and ``ego_to_world`` float64 [4, 4] at that time.
    """

    points: np.ndarray | Encoded
    fields: tuple[str, ...] = ("x", "y", "z")
    labels: np.ndarray | Encoded | None = None
    timestamp: int | None = None
    sensor_to_ego: np.ndarray | None = None
    ego_to_world: np.ndarray | None = None


@dataclass
class Frame:
    """One moment of driving. ``key`` is unique in its dataset; ``scene`` is the drive that it belongs to."""

    key: str
    scene: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    cameras: dict[str, Camera] = field(default_factory=dict)
    lidars: dict[str, Lidar] = field(default_factory=dict)

    def __post_init__(self):
        for name in (*self.cameras, *self.lidars):
            if not _SENSOR.fullmatch(name):
                raise ValueError(f"frame {self.key!r}: sensor name {name!r}: use a-z, 0-9 and _")
        if both := self.cameras.keys() & self.lidars.keys():
            raise ValueError(f"frame {self.key!r}: camera and lidar have one name: {', '.join(sorted(both))}")
        for camera in self.cameras.values():
            if camera.model not in CAMERA_MODELS:
                raise ValueError(f"frame {self.key!r}: camera model {camera.model!r} is none of {', '.join(CAMERA_MODELS)}")


def encode_key(key: str) -> str:
    """A key as a file name in a tar: percent-encoded, since WebDataset splits a name at its first dot."""
    return quote(key, safe="").replace(".", "%2E")


def decode_key(name: str) -> str:
    return unquote(name)


def frame_to_parts(frame: Frame) -> dict[str, bytes]:
    """A Frame as the files of one WebDataset sample: suffix -> bytes, in the order in which they are stored.

    ``cam_front.jpg``, ``cam_front.semantic.png`` and the other `PIXEL_LABELS`, ``lidar_top.npy``, ``lidar_top.labels.npy``
    and, last, ``json``, which holds boxes and lanes. Equal Frames give equal bytes.
    """
    parts: dict[str, bytes] = {}
    meta: dict[str, Any] = {"key": frame.key, "scene": frame.scene, "tags": frame.tags, "cameras": {}}
    for name, camera in frame.cameras.items():
        if camera.image is None:
            raise ValueError(f"frame {frame.key!r}: camera {name!r} has no image")
        parts[f"{name}.{camera.image.format}"] = camera.image.data
        for label in PIXEL_LABELS:
            pixels = getattr(camera, label)
            if isinstance(pixels, np.ndarray):
                raise ValueError(f"frame {frame.key!r}: camera {name!r}: a stored mask is encoded, {label} is an array")
            if pixels is not None:
                parts[f"{name}.{label}.{pixels.format}"] = pixels.data
        meta["cameras"][name] = _camera_to_json(camera)
    for name, lidar in frame.lidars.items():
        parts[f"{name}.npy"] = encode_array(lidar.points).data
        if lidar.labels is not None:
            parts[f"{name}.labels.npy"] = encode_array(lidar.labels).data
        meta.setdefault("lidars", {})[name] = _lidar_to_json(lidar)
    parts["json"] = json.dumps(meta, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
    return parts


def frame_from_parts(parts: Mapping[str, bytes | memoryview]) -> Frame:
    """The Frame of one sample's files. Raises ValueError or KeyError where they are not a Frame."""
    meta = json.loads(bytes(parts["json"]))
    cameras = {}
    for name, values in meta["cameras"].items():
        camera = _camera_from_json(values)
        camera.image = _part(parts, name)
        for label in PIXEL_LABELS:
            setattr(camera, label, _part(parts, f"{name}.{label}"))
        cameras[name] = camera
    lidars = {name: _lidar_from_json(values, parts, name) for name, values in meta.get("lidars", {}).items()}
    return Frame(meta["key"], meta["scene"], meta["tags"], cameras, {n: lidar for n, lidar in lidars.items() if lidar})


def encode_array(array: np.ndarray | Encoded) -> Encoded:
    """An array as ``npy``, the same bytes for equal arrays; what is encoded already stays as it is."""
    if isinstance(array, Encoded):
        return array
    sink = io.BytesIO()
    np.lib.format.write_array(sink, np.ascontiguousarray(array), version=(1, 0), allow_pickle=False)
    return Encoded(sink.getvalue(), "npy")


def decode_array(encoded: Encoded) -> np.ndarray:
    """The array in an ``npy``, a read-only view of its bytes. Raises ValueError where it is none, or not all of it is there;
    nothing in it is executed, and no memory is taken on its word."""
    data = encoded.data
    if data[:8] != b"\x93NUMPY\x01\x00":
        raise ValueError("no npy of version 1.0")
    start = 10 + int.from_bytes(data[8:10], "little")
    header = bytes(data[10:start])
    found = {name: pattern.search(header) for name, pattern in _NPY_HEADER.items()}
    if unread := [name for name, match in found.items() if not match]:
        raise ValueError(f"an npy whose header has no {unread[0]} of a plain array in C order: {header.strip()!r:.200}")
    dtype, shape = (found[name][1].decode() for name in ("descr", "shape"))  # type: ignore[index]
    try:
        return np.frombuffer(data, dtype, offset=start).reshape([int(n) for n in shape.split(",") if n.strip()])
    except (TypeError, OverflowError) as error:
        raise ValueError(f"an npy of {dtype} [{shape}]: {error}") from error


def _part(parts: Mapping[str, bytes | memoryview], stem: str) -> Encoded | None:
    for format in ("jpg", "png"):
        if f"{stem}.{format}" in parts:
            return Encoded(parts[f"{stem}.{format}"], format)  # type: ignore[arg-type]
    return None


def _lidar_to_json(lidar: Lidar) -> dict[str, Any]:
    out: dict[str, Any] = {"fields": list(lidar.fields)}
    if lidar.timestamp is not None:
        out["timestamp"] = lidar.timestamp
    poses = {name: getattr(lidar, name) for name in _POSES}
    return out | {name: np.asarray(pose).tolist() for name, pose in poses.items() if pose is not None}


def _lidar_from_json(values: dict[str, Any], parts: Mapping[str, bytes | memoryview], name: str) -> Lidar | None:
    """None where the sweep itself was not read."""
    if f"{name}.npy" not in parts:
        return None
    labels = parts.get(f"{name}.labels.npy")
    poses: dict[str, Any] = {n: np.asarray(values[n], np.float64) for n in _POSES if n in values}
    return Lidar(
        Encoded(parts[f"{name}.npy"], "npy"),  # type: ignore[arg-type]
        tuple(values["fields"]), None if labels is None else Encoded(labels, "npy"),  # type: ignore[arg-type]
        timestamp=values.get("timestamp"), **poses,
    )  # fmt: skip


_POSES = ("sensor_to_ego", "ego_to_world")
_MATRICES = ("intrinsics", *_POSES, "ignore_regions")


def _camera_to_json(camera: Camera) -> dict[str, Any]:
    out: dict[str, Any] = {"width": camera.width, "height": camera.height, "model": camera.model}
    if camera.timestamp is not None:
        out["timestamp"] = camera.timestamp
    if camera.distortion:
        out["distortion"] = list(camera.distortion)
    if camera.labelled_classes:
        out["labelled_classes"] = {task: list(names) for task, names in camera.labelled_classes.items()}
    for name in _MATRICES:
        if getattr(camera, name) is not None:
            out[name] = np.asarray(getattr(camera, name)).tolist()
    if camera.boxes is not None:
        out["boxes"] = boxes_to_json(camera.boxes)
    if camera.lanes is not None:
        out["lanes"] = lanes_to_json(camera.lanes)
    return out


def _camera_from_json(values: dict[str, Any]) -> Camera:
    matrices: dict[str, Any] = {n: np.asarray(values[n], np.float64) for n in _MATRICES if n in values}
    boxes = boxes_from_json(values["boxes"]) if "boxes" in values else None
    lanes = lanes_from_json(values["lanes"]) if "lanes" in values else None
    labelled = {task: tuple(names) for task, names in values.get("labelled_classes", {}).items()}
    return Camera(
        boxes=boxes, lanes=lanes, width=values["width"], height=values["height"], model=values["model"],
        timestamp=values.get("timestamp"), distortion=tuple(values.get("distortion", ())), labelled_classes=labelled,
        **matrices,
    )  # fmt: skip


def boxes_to_json(boxes: Boxes) -> dict[str, Any]:
    """Plain lists; what is unknown for every box is left out, an unknown single value is null."""
    out: dict[str, Any] = {"xyxy": boxes.xyxy.tolist(), "names": boxes.names}
    for name in Boxes._ARRAYS:
        value = getattr(boxes, name)
        if value is not None and not (name == "ignore" and not value.any()):
            out[name] = [None if isinstance(v, float) and v != v else v for v in value.tolist()]
    if boxes.attributes is not None:
        out["attributes"] = boxes.attributes
    return out


def boxes_from_json(values: Mapping[str, Any]) -> Boxes:
    arrays: dict[str, Sequence[Any]] = {
        n: [np.nan if v is None else v for v in values[n]] for n in Boxes._ARRAYS if n in values
    }
    return Boxes(np.asarray(values["xyxy"], np.float32), values["names"], attributes=values.get("attributes"), **arrays)  # type: ignore[arg-type]
