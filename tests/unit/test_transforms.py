"""Transforms keep pictures, masks and boxes together; the laws of each one's geometry; colours against torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.transforms.v2 import functional as referee

from drivetrain import IGNORE, CameraSample, Optics, RecipeError, Rng, View
from drivetrain.plugins.transforms import drivetrain_transforms
from drivetrain.plugins.transforms.colour import Colour, colour_matrix
from drivetrain.plugins.transforms.config import (
    BlurConfig,
    ColourConfig,
    CopyPasteConfig,
    FlipConfig,
    FogConfig,
    JpegConfig,
    LetterboxConfig,
    MosaicConfig,
    NightConfig,
    NoiseConfig,
    RainConfig,
    RandomScaleCropConfig,
    ResizeConfig,
    ResizeShortestConfig,
    RoiConfig,
)
from drivetrain.plugins.transforms.copy_paste import CopyPaste
from drivetrain.plugins.transforms.degrade import Blur, Jpeg, Noise, line_kernel
from drivetrain.plugins.transforms.geometry import Flip, Letterbox, RandomScaleCrop, Resize, ResizeShortest, Roi
from drivetrain.plugins.transforms.mosaic import Mosaic
from drivetrain.plugins.transforms.weather import FAR, Fog, Night, Rain, fogged, road_distances
from drivetrain.testing import check_transform

LENGTHS = st.integers(1, 4000)
SIZES = st.tuples(LENGTHS, LENGTHS)


def sample(image: np.ndarray) -> CameraSample:
    return CameraSample(image, View.identity(*image.shape[:2]), image.shape[:2])


@pytest.mark.parametrize(
    "transform",
    [
        Resize(ResizeConfig(size=(64, 160))),
        Resize(ResizeConfig(size=(64, 160), keep_aspect=True)),
        ResizeShortest(ResizeShortestConfig(shortest=90, longest=130)),
        RandomScaleCrop(RandomScaleCropConfig(size=(80, 100), scale=(0.6, 1.7))),
        Flip(FlipConfig(p=0.5)),
        Colour(ColourConfig(strength=0.3, hue=0.1)),
        Letterbox(LetterboxConfig(size=(100, 90))),
        Roi(RoiConfig(share=(0.3, 0.25), horizon=0.4)),
        Blur(BlurConfig(p=1, length=(3, 5))),
        Noise(NoiseConfig(p=1)),
        Jpeg(JpegConfig(p=1)),
        Fog(FogConfig(p=1, visibility=(400, 800))),
        Rain(RainConfig(p=1, amount=(0.2, 0.5))),
        Night(NightConfig(p=1, headlights=False)),
        Mosaic(MosaicConfig(size=(110, 150), p=0.8)),
        CopyPaste(CopyPasteConfig(p=0.8)),
    ],
    ids=lambda t: type(t).__name__,
)
def test_conforms(transform):
    check_transform(transform)


def test_what_is_left_in_evaluation():
    assert not any(t.training_only for t in (Resize, ResizeShortest, Letterbox, Roi))
    others = (RandomScaleCrop, Flip, Colour, Blur, Noise, Jpeg, Fog, Rain, Night, Mosaic, CopyPaste)
    assert all(t.training_only for t in others)


def test_declarations_load():
    import importlib

    for declaration in drivetrain_transforms():
        for target in (declaration.config, declaration.factory):
            module, name = target.split(":")
            assert hasattr(importlib.import_module(module), name)


@given(SIZES, SIZES)
def test_fit_inside_touches_a_side_and_keeps_the_aspect(size, target):
    view = Resize(ResizeConfig(size=target, keep_aspect=True)).view(View.identity(*size), Rng(0))
    assert all(0 < n <= wanted for n, wanted in zip(view.size, target))
    assert any(n == wanted for n, wanted in zip(view.size, target))
    exact = np.array(size) * min(np.array(target) / size)
    assert np.abs(view.size - exact).max() <= 1


@pytest.mark.parametrize("size", [(480, 640), (640, 480), (427, 640), (300, 900), (1200, 400)])
def test_the_shortest_side_is_what_torchvision_makes_it(size):
    """Its detectors' own resizing, within the pixel that it rounds down."""
    view = ResizeShortest(ResizeShortestConfig(shortest=800, longest=1333)).view(View.identity(*size), Rng(0))
    resized = GeneralizedRCNNTransform(800, 1333, [0.0] * 3, [1.0] * 3).resize(torch.zeros(3, *size))[0]
    assert np.abs(np.array(view.size) - resized.shape[1:]).max() <= 1


@given(SIZES, st.tuples(st.integers(1, 500), st.integers(1, 500)), st.integers())
def test_crop_wastes_no_window(size, window, seed):
    """Either the picture fills the window along an axis, or the window holds the whole picture there."""
    view = RandomScaleCrop(RandomScaleCropConfig(size=window, scale=(0.5, 2))).view(View.identity(*size), Rng(seed))
    assert view.size == window
    for axis, matrix_axis in ((0, 1), (1, 0)):
        start = view.matrix[matrix_axis, 2]
        end = start + view.matrix[matrix_axis, matrix_axis] * size[axis]
        fills, holds = start <= 1e-6 and end >= window[axis] - 1e-6, start >= -1e-6 and end <= window[axis] + 1e-6
        assert fills or holds
        assert 0.5 * size[axis] - 1 <= max(end - start, 1) <= max(2 * size[axis] + 1, 1)


def test_scale_is_spread_over_its_range():
    crop = RandomScaleCrop(RandomScaleCropConfig(size=(10, 10), scale=(0.5, 2.0)))
    scales = [crop.view(View.identity(1000, 1000), Rng(i)).matrix[0, 0] for i in range(400)]
    assert np.histogram(scales, bins=5, range=(0.5, 2.0))[0].min() > 50


@given(SIZES)
def test_two_flips_are_none(size):
    flip, view = Flip(FlipConfig(p=1)), View.identity(*size)
    once = flip.view(view, Rng(0))
    assert once.matrix[0, 0] == -1
    assert np.array_equal(flip.view(once, Rng(1)).matrix, view.matrix)


def test_flip_follows_its_probability():
    flip = Flip(FlipConfig(p=0.25))
    share = np.mean([flip.view(View.identity(4, 4), Rng(i)).matrix[0, 0] < 0 for i in range(2000)])
    assert 0.2 < share < 0.3


IMAGE = np.random.default_rng(0).integers(0, 256, (31, 47, 3), dtype=np.uint8)


def through(matrix: np.ndarray) -> np.ndarray:
    import cv2

    return cv2.transform(IMAGE, matrix).astype(int)


def test_brightness_and_saturation_agree_with_torchvision():
    chw = torch.from_numpy(IMAGE).permute(2, 0, 1)
    bright = referee.adjust_brightness(chw, 1.3).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(through(colour_matrix(1.3, 1, 1, 0)) - bright).max() <= 1
    vivid = referee.adjust_saturation(chw, 0.6).permute(1, 2, 0).numpy().astype(int)
    assert np.abs(through(colour_matrix(1, 1, 0.6, 0)) - vivid).max() <= 1


def test_hue_leaves_greys_and_a_third_of_a_turn_moves_red_to_green():
    matrix = colour_matrix(1, 1, 1, 2 * np.pi / 3)
    assert np.allclose(matrix @ [90, 90, 90, 1], 90)
    assert np.allclose(matrix @ [200, 0, 0, 1], [0, 200, 0])


def test_strength_0_changes_nothing_and_more_changes_in_bounds():
    assert np.array_equal(Colour(ColourConfig(strength=0)).pixels(sample(IMAGE.copy()), Rng(0)).image, IMAGE)
    grey = np.full((4, 4, 3), 100, np.uint8)
    only_brightness = Colour(ColourConfig(strength=0, brightness=0.2))
    levels = {int(only_brightness.pixels(sample(grey), Rng(i)).image[0, 0, 0]) for i in range(200)}
    assert min(levels) >= 80 and max(levels) <= 120 and len(levels) > 30


# ---------------------------------------------------------------- cameras


def camera(pitch: float = 0.0, yaw: float = 0.0) -> Optics:
    """A camera 1.6 m above the road, looking ahead, turned down by ``pitch`` and to the left by ``yaw`` radians."""
    ahead = np.array([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # x right, y down, z forward, in a frame of x forward, y left
    c, s = np.cos(pitch), np.sin(pitch)
    down = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
    left = np.array([[np.cos(yaw), -np.sin(yaw), 0], [np.sin(yaw), np.cos(yaw), 0], [0, 0, 1]])
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = left @ down @ ahead, (1.5, 0, 1.6)
    return Optics(np.array([[900.0, 0, 700], [0, 950, 380], [0, 0, 1]]), pose)


def pixel(intrinsics: np.ndarray, optics: Optics, point: tuple[float, float, float]) -> np.ndarray:
    x, y, z = intrinsics @ (np.linalg.inv(optics.sensor_to_ego) @ (*point, 1))[:3]
    return np.array([x / z, y / z])


@pytest.mark.parametrize("pitch, yaw", [(0, 0), (0.1, 0), (-0.05, 0.0), (0.07, 0.8)])
def test_the_horizon_is_where_far_level_points_are_seen(pitch, yaw):
    optics = camera(pitch, yaw)
    far = (1e7 * np.cos(yaw), 1e7 * np.sin(yaw), 0)
    view = View.identity(720, 1280, optics)
    assert view.horizon == pytest.approx(pixel(optics.intrinsics, optics, far)[1], abs=0.01)
    assert view.scaled(360, 640).shifted(0, -20, (300, 640)).horizon == pytest.approx(view.horizon / 2 - 20)
    assert View.identity(720, 1280).horizon is None


def test_intrinsics_follow_the_view_and_a_mirror_turns_the_world():
    optics, point = camera(0.03), (20, 3, 1)
    view = View.identity(720, 1280, optics).scaled(360, 960).shifted(-30, 15, (300, 900))
    expected = view.matrix @ (*pixel(optics.intrinsics, optics, point), 1)
    assert np.allclose(pixel(view.intrinsics, optics, point), expected[:2])
    mirrored = Flip(FlipConfig(p=1)).view(view, Rng(0))
    assert mirrored.intrinsics[0, 0] > 0 and mirrored.intrinsics[1, 1] > 0
    x, y = pixel(mirrored.intrinsics, optics, (20, -3, 1))  # this camera looks straight ahead: left is right
    assert np.allclose((x, y), (900 - expected[0], expected[1]))


@pytest.mark.parametrize("pitch", [0.0, 0.04, -0.3, 0.3])
def test_a_region_of_interest_has_one_size_and_holds_its_band(pitch):
    view = View.identity(720, 1280, camera(pitch))
    seen = Roi(RoiConfig(degrees=(5, 10))).view(view, Rng(0))
    assert seen.size == (round(950 * (np.tan(np.radians(5)) + np.tan(np.radians(10)))), 1280)
    top = seen.to_original[1, 2]
    assert top >= 0 and top + seen.size[0] <= 720
    if abs(pitch) < 0.1:
        assert top == pytest.approx(view.horizon - 950 * np.tan(np.radians(5)), abs=0.51)


def test_a_region_of_interest_of_an_unknown_camera_is_refused_with_a_remedy():
    unknown = View.identity(720, 1280)
    for config, remedy in ((RoiConfig(degrees=(5, 10)), "share"), (RoiConfig(share=(0.1, 0.2)), "horizon")):
        with pytest.raises(RecipeError, match=f"transforms.roi.{remedy}"):
            Roi(config).view(unknown, Rng(0))
    band = Roi(RoiConfig(share=(0.1, 0.2), horizon=0.5)).view(unknown, Rng(0))
    assert band.size == (216, 1280) and band.to_original[1, 2] == 288


@given(SIZES, SIZES)
def test_letterbox_is_a_centred_fit(size, target):
    view = Letterbox(LetterboxConfig(size=target)).view(View.identity(*size), Rng(0))
    height, width = Resize(ResizeConfig(size=target, keep_aspect=True)).view(View.identity(*size), Rng(0)).size
    x1, y1, x2, y2 = view.boxes(np.array([[0, 0, size[1], size[0]]]))[0]
    assert view.size == target
    assert (y2 - y1, x2 - x1) == pytest.approx((height, width), rel=1e-5)
    assert abs(y1 - (target[0] - y2)) <= 1.01 and abs(x1 - (target[1] - x2)) <= 1.01


# ---------------------------------------------------------------- classes that a mirror changes

CLASSES = {"semantic_segmentation": ("road", "left", "right", "text"), "object_detection": ("car", "text")}


def mirrored(flip: Flip) -> CameraSample:
    flip.prepare(CLASSES)
    view = flip.view(View.identity(2, 4), Rng(0))
    boxes = np.array([[0, 0, 1, 1], [1, 1, 2, 2]], np.float32)
    targets = {
        "semantic_segmentation": {"mask": np.array([[0, 1, 2, 3], [3, 2, 1, IGNORE]], np.uint8)},
        "object_detection": {"boxes": boxes, "classes": np.array([0, 1]), "ignore_boxes": np.zeros((0, 4), np.float32)},
    }
    return flip.pixels(CameraSample(np.zeros((2, 4, 3), np.uint8), view, (2, 4), targets), Rng(1))


def test_a_flip_ignores_what_it_makes_wrong():
    out = mirrored(Flip(FlipConfig(p=1, ignore=["text"]))).targets
    assert out["semantic_segmentation"]["mask"].tolist() == [[0, 1, 2, IGNORE], [IGNORE, 2, 1, IGNORE]]
    detection = out["object_detection"]
    assert detection["classes"].tolist() == [0] and detection["classes"].dtype == np.int64
    assert detection["boxes"].tolist() == [[0, 0, 1, 1]] and detection["ignore_boxes"].tolist() == [[1, 1, 2, 2]]
    unmirrored = mirrored(Flip(FlipConfig(p=0, ignore=["text"]))).targets
    assert unmirrored["semantic_segmentation"]["mask"].tolist() == [[0, 1, 2, 3], [3, 2, 1, IGNORE]]


def test_classes_that_are_not_there_are_refused_with_near_names():
    with pytest.raises(RecipeError, match="did you mean 'text'"):
        Flip(FlipConfig(ignore=["texts"])).prepare(CLASSES)
    with pytest.raises(RecipeError, match="copy_paste: no class 'left'"):
        CopyPaste(CopyPasteConfig(classes=["left"])).prepare(CLASSES)


# ---------------------------------------------------------------- weather and sensors


def test_fog_is_koschmieders_law_of_the_depth():
    depth = np.array([[10.0, 50], [200, 1000]], np.float32)
    image = np.full((2, 2, 3), 60, np.uint8)
    targets = {"depth_estimation": {"depth": depth}}
    out = fogged(CameraSample(image, View.identity(2, 2), (2, 2), targets), 100.0, (200, 200, 200))
    clear = 0.05 ** (depth / 100)  # at the meteorological range a contrast of 5% is left
    assert np.abs(out[..., 0] - (60 * clear + 200 * (1 - clear))).max() <= 1


def test_without_depth_a_flat_road_tells_how_far_a_row_is():
    optics = Optics(camera(0.05).intrinsics, camera(0.05).sensor_to_ego)
    view = View.identity(720, 1280, optics)
    metres = road_distances(view, FAR)
    assert (metres[: int(view.horizon)] == FAR).all() and (np.diff(metres) <= 0).all()
    y = pixel(optics.intrinsics, optics, (31.5, 0, 0.1))[1]  # 30 m ahead of a camera that is 1.5 m above this point
    assert metres[int(y)] == pytest.approx(30, rel=0.05)


@pytest.mark.parametrize("transform", [Fog(FogConfig(p=1)), Rain(RainConfig(p=1)), Night(NightConfig(p=1))])
def test_weather_takes_contrast_and_night_takes_light(transform):
    image = np.random.default_rng(3).integers(0, 256, (90, 160, 3), dtype=np.uint8)
    image = np.repeat(np.repeat(image, 4, 0), 4, 1)
    out = transform.pixels(sample(image.copy()), Rng(5)).image
    assert out.std() < 0.9 * image.std()
    if isinstance(transform, Night):
        assert out.mean() < 0.6 * image.mean() and out[:100].mean() < 0.4 * image[:100].mean()


@pytest.mark.parametrize("length, angle", [(5, 0.0), (9, np.pi / 2), (12.5, 0.7)])
def test_a_motion_is_a_centred_line_of_its_length(length, angle):
    kernel = line_kernel(length, angle)
    rows, columns = np.nonzero(kernel)
    assert kernel.sum() == pytest.approx(1) and kernel.shape[0] % 2 == 1
    assert np.allclose(kernel, kernel[::-1, ::-1], atol=1e-6)
    reach = np.hypot(np.ptp(rows), np.ptp(columns))
    assert length - 1.5 <= reach <= length + 2


def test_noise_has_its_deviation_and_is_the_keys_own():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noise = Noise(NoiseConfig(p=1, sigma=(8, 8)))
    one, two, other = (noise.pixels(sample(grey.copy()), Rng(key)).image for key in (1, 1, 2))
    assert 7.5 < one.astype(float).std() < 8.5 and abs(one.astype(float).mean() - 128) < 0.5
    assert np.array_equal(one, two) and not np.array_equal(one, other)


@pytest.mark.parametrize("kind", [Blur, Noise, Jpeg, Fog, Rain, Night])
def test_a_probability_of_0_changes_nothing(kind):
    import importlib

    config = getattr(importlib.import_module("drivetrain.plugins.transforms.config"), f"{kind.__name__}Config")
    assert np.array_equal(kind(config(p=0)).pixels(sample(IMAGE.copy()), Rng(0)).image, IMAGE)


@pytest.mark.parametrize(
    "config, values",
    [
        (ResizeConfig, {"size": [0, 4]}),
        (ResizeConfig, {"size": [4, 4], "aspect": True}),
        (RandomScaleCropConfig, {"size": [4, 4], "scale": [2, 1]}),
        (FlipConfig, {"p": 1.1}),
        (ColourConfig, {"strength": 1}),
        (RoiConfig, {}),
        (RoiConfig, {"share": [0.1, 0.2], "degrees": [5, 5]}),
        (RoiConfig, {"degrees": [0, 90]}),
        (BlurConfig, {"sigma": [2, 1]}),
        (BlurConfig, {"kinds": []}),
        (FogConfig, {"visibility": [0, 10]}),
    ],
)
def test_configs_refuse(config, values):
    with pytest.raises(ValidationError):
        config(**values)
