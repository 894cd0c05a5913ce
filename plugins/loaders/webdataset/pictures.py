"""Frames encoded anew and resized, when a plan asks for it."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import simplejpeg

from drivetrain import PIXEL_LABELS, Boxes, Camera, DataError, Encoded, Frame, Lanes, View

from .decode import decode_label, draw_image
from .placement import place
from .shards import Damage


def changed(frame: Frame, reencode: str | None, resize: str | None) -> Frame:
    """``frame`` with its pictures as the plan wants them; the frame itself where it wants nothing.

    A resize is a pure scaling: boxes, lanes, ignore regions and intrinsics follow, masks and depth by nearest neighbour.
    """
    if reencode is None and resize is None:
        return frame
    try:
        cameras = {name: _camera(camera, reencode, resize) for name, camera in frame.cameras.items()}
    except Damage as error:
        raise DataError(f"frame {frame.key!r}: {error}") from error
    return dataclasses.replace(frame, cameras=cameras)


def _camera(camera: Camera, reencode: str | None, resize: str | None) -> Camera:
    assert camera.image is not None, "a stored camera has its image"
    size = camera.height, camera.width
    width, height = (int(word) for word in resize.split("x")) if resize else (camera.width, camera.height)
    view = View.identity(*size).scaled(height, width)
    picture = np.empty((height, width, 3), np.uint8)
    draw_image(camera.image, size, place(view, *size, ()), picture)
    image = _encoded(picture, reencode or ("png" if camera.image.format == "png" else "jpg:95"))
    if (height, width) == size:
        return dataclasses.replace(camera, image=image)
    return dataclasses.replace(
        camera, image=image, width=width, height=height, **_pixels(camera, (width, height)),
        lanes=None if camera.lanes is None else _lanes(camera.lanes, view),
        boxes=None if camera.boxes is None else _boxes(camera.boxes, view),
        ignore_regions=None if camera.ignore_regions is None else view.boxes(camera.ignore_regions),
        intrinsics=None if camera.intrinsics is None else view.matrix @ camera.intrinsics,
    )  # fmt: skip


def _boxes(boxes: Boxes, view: View) -> Boxes:
    """An area that the labels state (COCO's is the mask's) is scaled too."""
    scale = abs(float(view.matrix[0, 0] * view.matrix[1, 1]))
    said = [one | {"area": one["area"] * scale} if "area" in one else one for one in boxes.attributes or ()]
    return dataclasses.replace(boxes, xyxy=view.boxes(boxes.xyxy), attributes=None if boxes.attributes is None else said)


def _lanes(lanes: Lanes, view: View) -> Lanes:
    return dataclasses.replace(lanes, points=[view.points(line) for line in lanes.points])


def _pixels(camera: Camera, size: tuple[int, int]) -> dict[str, Any]:
    labels = {label: value for label in PIXEL_LABELS if isinstance(value := getattr(camera, label), Encoded)}
    return {label: _resized(label, value, size) for label, value in labels.items()}


def _resized(label: str, pixels: Encoded, size: tuple[int, int]) -> Encoded:
    stored = cv2.resize(decode_label(label, pixels), size, interpolation=cv2.INTER_NEAREST_EXACT)
    return Encoded(cv2.imencode(".png", stored)[1].tobytes(), "png")


def _encoded(picture: np.ndarray, how: str) -> Encoded:
    """``picture`` uint8 [H, W, 3] RGB as ``png`` or ``jpg:QUALITY``, the latter with full chroma from quality 95 on."""
    if how == "png":
        return Encoded(cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))[1].tobytes(), "png")
    quality = int(how.partition(":")[2])
    return Encoded(simplejpeg.encode_jpeg(picture, quality, "RGB", "444" if quality >= 95 else "420"), "jpg")
