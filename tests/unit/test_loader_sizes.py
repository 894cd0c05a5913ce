"""Decoded pictures of any size, kind and target are within 40 dB of a full decode that is resized by area."""

import io
import sys
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from PIL import Image

from drivetrain import DataError, Encoded, View

sys.path.append(str(Path(__file__).parent))
from loader_pictures import crop_of, drawn, psnr, textured
from loader_toy import Toy, convert

LIMIT = 40  # dB


@lru_cache(2)
def picture(height: int, width: int) -> np.ndarray:
    return textured(height, width, seed=height + width)


def encoded(image: np.ndarray, subsampling: str = "4:2:0", progressive: bool = False, format: str = "JPEG") -> Encoded:
    sink = io.BytesIO()
    how = {"quality": 92, "subsampling": subsampling, "progressive": progressive} if format == "JPEG" else {}
    Image.fromarray(image).save(sink, format, **how)
    return Encoded(sink.getvalue(), "jpg" if format == "JPEG" else "png")


def reference(picture: Encoded, size: tuple[int, int], region: tuple[slice, slice] = (slice(None), slice(None))) -> np.ndarray:
    """By another decoder: all of the picture, then by area where it shrinks and linearly where it grows, each axis alone."""
    full = cv2.imdecode(np.frombuffer(picture.data, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)[region]
    for height, width in ((size[0], full.shape[1]), size):
        shrinks = height <= full.shape[0] and width <= full.shape[1]
        full = cv2.resize(full, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return full


def quality(picture: Encoded, size: tuple[int, int], view: View) -> float:
    got, moved = drawn(picture, size, view)
    return psnr(got, reference(picture, view.size, crop_of(moved)))


WHOLE = [  # (height, width) of the picture and of the target
    ((1080, 1920), (540, 960)), ((1080, 1920), (270, 480)), ((1080, 1920), (135, 240)), ((1080, 1920), (512, 1024)),
    ((1080, 1920), (333, 555)), ((1080, 1920), (541, 961)), ((1080, 1920), (224, 224)), ((1080, 1920), (1080, 1920)),
    ((1280, 720), (640, 360)), ((1280, 720), (319, 181)), ((1280, 720), (400, 711)), ((1920, 1080), (480, 270)),
    ((375, 1242), (188, 621)), ((376, 1241), (188, 621)), ((376, 1241), (188, 620)), ((370, 1226), (93, 307)),
    ((375, 1242), (47, 156)), ((375, 1242), (375, 621)), ((719, 1283), (360, 642)), ((719, 1283), (359, 641)),
    ((719, 1283), (180, 321)), ((719, 1283), (90, 161)), ((719, 1283), (101, 203)), ((721, 1279), (361, 640)),
    ((360, 640), (540, 960)), ((360, 640), (721, 1283)), ((360, 640), (180, 960)), ((361, 639), (500, 300)),
]  # fmt: skip


@pytest.mark.parametrize(("size", "target"), WHOLE, ids=lambda size: f"{size[1]}x{size[0]}")
def test_a_whole_picture(size, target):
    jpeg = encoded(picture(*size))
    got, _ = drawn(jpeg, size, View.identity(*size).scaled(*target))
    assert psnr(got, reference(jpeg, target)) >= LIMIT


def test_a_large_picture():
    size = (2160, 3840)
    jpeg = encoded(picture(*size))
    for target in ((1080, 1920), (540, 960), (270, 480), (512, 896), (301, 533)):
        assert quality(jpeg, size, View.identity(*size).scaled(*target)) >= LIMIT, target


@pytest.mark.parametrize("subsampling", ["4:2:0", "4:2:2", "4:4:4"])
@pytest.mark.parametrize("progressive", [False, True])
def test_kinds_of_jpeg(subsampling, progressive):
    for size in ((480, 640), (479, 641)):
        jpeg = encoded(picture(*size), subsampling, progressive)
        for factor in (1, 0.75, 1 / 2, 1 / 4, 0.3, 1 / 8, 1.3):
            view = View.identity(*size).scaled(round(size[0] * factor), round(size[1] * factor))
            assert quality(jpeg, size, view) >= LIMIT, (size, factor)


@pytest.mark.parametrize("format", ["JPEG", "PNG"])
def test_grey_pictures(format):
    size = (479, 641)
    grey = encoded(picture(*size)[..., 1], format=format)
    for factor in (1, 1 / 2, 0.3, 1.3):
        view = View.identity(*size).scaled(round(size[0] * factor), round(size[1] * factor))
        got, _ = drawn(grey, size, view)
        assert (got == got[..., :1]).all(), "its three channels are equal"
        assert quality(grey, size, view) >= LIMIT, factor


def test_cmyk_is_refused_when_it_is_written(tmp_path):
    cmyk = simplejpeg.encode_jpeg(np.zeros((48, 64, 4), np.uint8), 90, "CMYK")
    with pytest.raises(DataError, match=r"frame/00001[\s\S]*expected RGB or grey"):
        convert(Toy(2, changes={1: {"image": Encoded(cmyk, "jpg")}}), tmp_path / "set")


@pytest.mark.parametrize("size", [(720, 1280), (719, 1281), (1281, 719)])
def test_crops(size):
    """Scaled by chance, then cut out anywhere; what is compared is what the moved view says that it shows."""
    rng, jpeg = np.random.default_rng(size[0]), encoded(picture(*size))
    for _ in range(20):
        factor = rng.choice([1.7, 1.0, 0.71, 0.5, 0.37, 0.25])
        view = View.identity(*size).scaled(round(size[0] * factor), round(size[1] * factor))
        target = [int(rng.integers(60, side)) for side in view.size]
        top, left = (int(rng.integers(0, side - cut + 1)) for side, cut in zip(view.size, target))
        view = view.then(np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]]), tuple(target))
        if rng.uniform() < 0.5:  # a flip is undone to compare
            flipped = view.then(np.array([[-1.0, 0, target[1]], [0, 1, 0], [0, 0, 1]]), tuple(target))
            got, moved = drawn(jpeg, size, flipped)
            assert psnr(got[:, ::-1], reference(jpeg, tuple(target), crop_of(moved))) >= LIMIT, (factor, target)
        else:
            assert quality(jpeg, size, view) >= LIMIT, (factor, target, top, left)
