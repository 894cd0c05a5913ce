"""Transforms of the view: pixels are moved once, after all views have been composed."""

from __future__ import annotations

import numpy as np

from drivetrain import Rng, Transform, View

from .config import FlipConfig, RandomScaleCropConfig, ResizeConfig


class Resize(Transform):
    """A stretch to ``size``; with ``keep_aspect`` the largest size inside it that keeps the picture's proportions."""

    training_only = False

    def __init__(self, config: ResizeConfig):
        self.size, self.keep_aspect = config.size, config.keep_aspect

    def view(self, view: View, rng: Rng) -> View:
        if not self.keep_aspect:
            return view.scaled(*self.size)
        factor = min(self.size[0] / view.size[0], self.size[1] / view.size[1])
        height, width = (max(1, round(length * factor)) for length in view.size)
        return view.scaled(height, width)


class RandomScaleCrop(Transform):
    """A random scale of the current view, then a window of ``size`` at a random place; where the picture is smaller than
    the window, the picture is at a random place of the window."""

    def __init__(self, config: RandomScaleCropConfig):
        self.size, self.scale = config.size, config.scale

    def view(self, view: View, rng: Rng) -> View:
        factor = rng.uniform(*self.scale)
        height, width = (max(1, round(length * factor)) for length in view.size)
        shift = np.eye(3)
        shift[1, 2] = _offset(self.size[0] - height, rng)
        shift[0, 2] = _offset(self.size[1] - width, rng)
        return view.scaled(height, width).then(shift, self.size)


class Flip(Transform):
    """Left and right exchanged with probability ``p``."""

    def __init__(self, config: FlipConfig):
        self.p = config.p

    def view(self, view: View, rng: Rng) -> View:
        if rng.uniform() >= self.p:
            return view
        return view.then(np.array([[-1.0, 0, view.size[1]], [0, 1, 0], [0, 0, 1]]), view.size)


def _offset(room: int, rng: Rng) -> int:
    """A whole number of pixels between 0 and ``room``, which is negative where there is something to cut off."""
    shift = rng.integer(0, abs(room) + 1)
    return shift if room >= 0 else -shift
