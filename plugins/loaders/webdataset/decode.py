"""Pictures and masks decoded into given buffers, outside the interpreter's lock."""

from __future__ import annotations

import struct
import threading

import cv2
import numpy as np
import simplejpeg

from drivetrain import IGNORE, Encoded, decode_stored, stored_to_depth

from .placement import Placement
from .shards import Damage

MAX_PIXELS = 1 << 26  # of one picture, more than any camera of a car has: decoders take memory for what a header says
_GRIDS = (8, 4, 2)  # reductions whose inverse DCT is as fast as it is small; 3/8, 5/8... take longer than no reduction
_memory = threading.local()

cv2.setNumThreads(0)  # the streams' threads are the parallelism


def grids(image: Encoded) -> tuple[tuple[int, ...], bool]:
    """By how much the picture can be reduced while it is decoded, and whether it is good enough at just that size.

    Colours of half the width, but of all the height, are reduced with the brightness and then stretched: up to 18 dB worse.
    """
    if image.format != "jpg":
        return (), True
    try:
        return _GRIDS, simplejpeg.decode_jpeg_header(image.data)[3] in ("Gray", "444", "420")
    except ValueError:  # the decoder will say so
        return _GRIDS, True


def declared_size(picture: Encoded) -> tuple[int, int]:
    """(height, width) from the header of a jpg or png. Raises ValueError where it cannot be read, or has other colours."""
    if picture.format != "png":
        height, width, colours, _ = simplejpeg.decode_jpeg_header(picture.data)
        if colours in ("CMYK", "YCCK"):
            raise ValueError(f"it is {colours}, expected RGB or grey")
        return height, width
    if len(picture.data) < 24 or picture.data[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("it has no header")
    width, height = struct.unpack_from(">II", picture.data, 16)
    return height, width


def draw_image(image: Encoded, size: tuple[int, int], at: Placement, out: np.ndarray) -> None:
    """Draw a picture of ``size`` (height, width) into ``out`` uint8 [H, W, 3], RGB; black where there is no picture.

    Raises Damage where it cannot be decoded or is of another size.
    """
    window = out[at.y.low : at.y.high, at.x.low : at.x.high]
    if window.shape != out.shape:
        out.fill(0)
    if not window.size:
        return
    decoded = (-(-size[0] // at.grid), -(-size[1] // at.grid), 3)
    straight = image.format == "jpg" and out.shape == window.shape == decoded and out.flags.c_contiguous
    target = out if straight else _scratch(decoded)
    picture = _jpeg(image, decoded, target) if image.format == "jpg" else _png(image, size)
    if picture.shape != decoded:
        raise _of_another_size(picture.shape, decoded)
    if not straight:
        _resize(picture[at.y.a : at.y.b, at.x.a : at.x.b], window)
        if image.format == "png":
            cv2.cvtColor(window, cv2.COLOR_BGR2RGB, dst=window)
    _flip(window, at)


def draw_mask(mask: np.ndarray, at: Placement, out: np.ndarray, outside: int = IGNORE) -> None:
    """Draw ``mask``, at the picture's original size, into ``out`` [H, W] of its type, each pixel from the centre of what it
    covers; ``outside`` where there is no picture."""
    window = out[at.y.low : at.y.high, at.x.low : at.x.high]
    if window.shape != out.shape:
        out.fill(outside)
    if not window.size:
        return
    right, bottom = (max(0, axis.b * at.grid - length) for axis, length in ((at.x, mask.shape[1]), (at.y, mask.shape[0])))
    if right or bottom:  # the last decoded pixel of an odd picture covers more than there is
        mask = cv2.copyMakeBorder(mask, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
    source = mask[at.y.a * at.grid : at.y.b * at.grid, at.x.a * at.grid : at.x.b * at.grid]
    cv2.resize(source, window.shape[::-1], dst=window, interpolation=cv2.INTER_NEAREST_EXACT)
    _flip(window, at)


def draw_depth(depth: np.ndarray, at: Placement, out: np.ndarray) -> None:
    """Draw ``depth``, metres or as it is stored, into ``out`` float32 [H, W] of metres, 0 where there is no picture.

    As a mask is: a mean over an edge would be the depth of nothing. Metres stay metres at any scale: a picture that is
    enlarged shows the same things at the same distance, with a longer focal length."""
    if depth.dtype == out.dtype:
        draw_mask(depth, at, out, 0)
        return
    drawn = np.empty(out.shape, depth.dtype)
    draw_mask(depth, at, drawn, 0)
    stored_to_depth(drawn, out)


def decode_label(label: str, pixels: Encoded) -> np.ndarray:
    """The pixels of a camera's ``label`` as they are stored, [H, W]. Raises Damage."""
    height, width = size_of_mask(pixels)
    if height * width > MAX_PIXELS:
        raise Damage(f"a mask declares {width} x {height} pixels")
    try:
        return decode_stored(label, pixels)
    except ValueError as error:
        raise Damage(f"a mask cannot be decoded: {error}") from error


def size_of_mask(mask: Encoded) -> tuple[int, int]:
    """(height, width) from its header. Raises Damage."""
    try:
        return declared_size(mask)
    except ValueError as error:
        raise Damage(f"a mask is no picture of one channel: {error}") from error


def _jpeg(image: Encoded, shape: tuple[int, int, int], buffer: np.ndarray) -> np.ndarray:
    """Decoded at the scale that gives ``shape``. The fast DCT is left alone: 2% faster, 2 to 4 dB worse."""
    try:
        return simplejpeg.decode_jpeg(image.data, "RGB", min_height=shape[0], min_width=shape[1], buffer=buffer)
    except ValueError as error:
        raise Damage(f"a jpg cannot be decoded: {error}") from error


def _png(image: Encoded, size: tuple[int, int]) -> np.ndarray:
    """uint8 [H, W, 3], BGR."""
    try:
        declared = declared_size(image)
    except ValueError as error:
        raise Damage(f"a png cannot be decoded: {error}") from error
    if declared != size:  # before memory is taken for it
        raise _of_another_size(declared, size)
    picture = cv2.imdecode(np.frombuffer(image.data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if picture is None:
        raise Damage("a png cannot be decoded")
    return picture


def _of_another_size(found: tuple[int, ...], expected: tuple[int, ...]) -> Damage:
    return Damage(f"the image is {found[1]} x {found[0]} pixels, expected {expected[1]} x {expected[0]}")


def _resize(source: np.ndarray, out: np.ndarray) -> None:
    if source.shape == out.shape:
        np.copyto(out, source)
        return
    shrinks = out.shape[0] <= source.shape[0] and out.shape[1] <= source.shape[1]
    cv2.resize(source, out.shape[1::-1], dst=out, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


def _flip(window: np.ndarray, at: Placement) -> None:
    if at.x.flip or at.y.flip:
        cv2.flip(window, 1 if not at.y.flip else -1 if at.x.flip else 0, dst=window)


def _scratch(shape: tuple[int, int, int]) -> np.ndarray:
    """This thread's own memory, written again by the next picture."""
    size = shape[0] * shape[1] * shape[2]
    if getattr(_memory, "bytes", np.empty(0)).size < size:
        _memory.bytes = np.empty(size, np.uint8)
    return _memory.bytes[:size].reshape(shape)
