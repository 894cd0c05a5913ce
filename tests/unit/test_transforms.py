"""Transforms keep pictures, masks and boxes together; the laws of each one's geometry; colours against torchvision."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torchvision.transforms.v2 import functional as referee

from drivetrain import CameraSample, Rng, View
from drivetrain.plugins.transforms import drivetrain_transforms
from drivetrain.plugins.transforms.colour import Colour, colour_matrix
from drivetrain.plugins.transforms.config import ColourConfig, FlipConfig, RandomScaleCropConfig, ResizeConfig
from drivetrain.plugins.transforms.geometry import Flip, RandomScaleCrop, Resize
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
        RandomScaleCrop(RandomScaleCropConfig(size=(80, 100), scale=(0.6, 1.7))),
        Flip(FlipConfig(p=0.5)),
        Colour(ColourConfig(strength=0.3, hue=0.1)),
    ],
    ids=lambda t: type(t).__name__,
)
def test_conforms(transform):
    check_transform(transform)


def test_only_resize_is_left_in_evaluation():
    assert not Resize.training_only
    assert all(t.training_only for t in (RandomScaleCrop, Flip, Colour))


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


@pytest.mark.parametrize(
    "config, values",
    [
        (ResizeConfig, {"size": [0, 4]}),
        (ResizeConfig, {"size": [4, 4], "aspect": True}),
        (RandomScaleCropConfig, {"size": [4, 4], "scale": [2, 1]}),
        (FlipConfig, {"p": 1.1}),
        (ColourConfig, {"strength": 1}),
    ],
)
def test_configs_refuse(config, values):
    with pytest.raises(ValidationError):
        config(**values)
