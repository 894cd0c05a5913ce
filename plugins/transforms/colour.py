"""Random changes of colour: all are linear in RGB, so that one product and one rounding do them together."""

from __future__ import annotations

import math

import cv2
import numpy as np

from drivetrain import CameraSample, Rng, Transform

from .config import ColourConfig

_LUMA = np.array([0.299, 0.587, 0.114])
"""Rec. 601 weights of R, G, B."""
_MID = 127.5


class Colour(Transform):
    """Hue, saturation, contrast and brightness, in this order, each by a random amount."""

    def __init__(self, config: ColourConfig):
        gains = (config.brightness, config.contrast, config.saturation)
        self.brightness, self.contrast, self.saturation = (config.strength if g is None else g for g in gains)
        self.hue = config.hue

    def pixels(self, sample: CameraSample, rng: Rng) -> CameraSample:
        brightness, contrast, saturation = (
            rng.uniform(1 - x, 1 + x) for x in (self.brightness, self.contrast, self.saturation)
        )
        turn = 2 * math.pi * rng.uniform(-self.hue, self.hue)
        matrix = colour_matrix(brightness, contrast, saturation, turn)
        return sample.replace(image=cv2.transform(sample.image, matrix))


def colour_matrix(brightness: float, contrast: float, saturation: float, turn: float) -> np.ndarray:
    """float64 [3, 4], from R, G, B, 1 in 0..255 to R, G, B. ``turn``: radians around the grey axis.

    The turn is a rotation around (1, 1, 1) (Rodrigues' formula), which leaves greys as they are.
    """
    axis = np.full((3, 3), 1 / 3)
    cross = np.array([[0, -1, 1], [1, 0, -1], [-1, 1, 0]]) / math.sqrt(3)
    linear = axis + math.cos(turn) * (np.eye(3) - axis) + math.sin(turn) * cross
    grey = np.tile(_LUMA, (3, 1))
    linear = (grey + saturation * (np.eye(3) - grey)) @ linear
    shift = np.full((3, 1), _MID * (1 - contrast))
    return brightness * np.hstack([contrast * linear, shift])
