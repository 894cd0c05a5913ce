"""Labels that are pictures of one channel and are stored as PNG: masks of class ids, depth, numbers of instances."""

from __future__ import annotations

import dataclasses

import cv2
import numpy as np

from .frame import PIXEL_LABELS, CameraLabels, Encoded

DEPTH_UNIT = 1 / 256
"""Metres that 1 stands for in a stored depth map, 0 being unknown (the KITTI depth benchmark's convention, Uhrig 2017)."""
STORED = {"semantic": np.uint8, "drivable": np.uint8, "depth": np.uint16, "instances": np.uint16}
"""Field of a `CameraLabels` -> type of its pixels in a PNG."""
assert tuple(STORED) == PIXEL_LABELS


def encode_pixels(field: str, pixels: np.ndarray | Encoded, compression: int | None = None) -> Encoded:
    """Label ``field`` as PNG; what is encoded already stays as it is.

    Depth is rounded to 1/256 m: what is farther than 255.99 m is stored as that, what is no number as unknown. Raises
    ValueError for pixels that are not what the field holds."""
    if isinstance(pixels, Encoded):
        return pixels
    stored = _depth_to_stored(pixels) if field == "depth" else np.asarray(pixels)
    if stored.ndim != 2 or stored.dtype != STORED[field]:
        raise ValueError(f"{field} is {stored.dtype} {stored.shape}, expected {np.dtype(STORED[field])} [H, W]")
    done, png = cv2.imencode(".png", stored, [] if compression is None else [cv2.IMWRITE_PNG_COMPRESSION, compression])
    assert done, "PNG encodes any picture of one channel"
    return Encoded(png.tobytes(), "png")


def decode_pixels(field: str, pixels: np.ndarray | Encoded) -> np.ndarray:
    """Label ``field`` as an array: uint8 [H, W] of class ids, float32 [H, W] metres, uint16 [H, W] of instances.

    Raises ValueError where it cannot be decoded."""
    if not isinstance(pixels, Encoded):
        return pixels
    stored = decode_stored(field, pixels)
    return stored_to_depth(stored) if field == "depth" else stored


def decode_stored(field: str, encoded: Encoded) -> np.ndarray:
    """The same as it is stored: of depth uint16 [H, W] of 1/256 m."""
    stored = cv2.imdecode(np.frombuffer(encoded.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if stored is None or stored.ndim != 2 or stored.dtype != STORED[field]:
        raise ValueError(f"{field} is no {np.dtype(STORED[field]).itemsize * 8}-bit picture of one channel")
    return stored


def stored_to_depth(stored: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """float32 metres of uint16 [H, W], in ``out`` if that is given."""
    return np.multiply(stored, np.float32(DEPTH_UNIT), out=out)


def decoded(labels: CameraLabels) -> CameraLabels:
    """All labels of a picture, pixels decoded: to be looked at and scored."""
    names = {field.name for field in dataclasses.fields(CameraLabels)}
    values = {name: getattr(labels, name) for name in names}
    pixels = {name: decode_pixels(name, values[name]) for name in PIXEL_LABELS if values[name] is not None}
    return CameraLabels(**{**values, **pixels})


def _depth_to_stored(depth: np.ndarray) -> np.ndarray:
    known = np.nan_to_num(np.asarray(depth, np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    stored = np.rint(known / np.float32(DEPTH_UNIT)).clip(0, 65535)
    return np.where((known > 0) & (stored == 0), 1, stored).astype(np.uint16)
