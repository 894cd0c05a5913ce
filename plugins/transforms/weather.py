"""Fog, rain and night, as far as a picture and the geometry of its camera tell them. Labels stay as they are.

How far a pixel sees follows from the depth, where most of the picture has one, else from a flat road: the row's distance
under the horizon. What is above it may be a roof nearby or the sky, and counts as something in between.
"""

from __future__ import annotations

import math

import cv2
import numpy as np

from drivetrain import CameraSample, Rng, View, hash_array

from .config import FogConfig, NightConfig, RainConfig
from .degrade import Sometimes, with_noise

FAR, MIDDLE = 1000.0, 60.0
"""Metres that the sky counts as where other pixels have a depth, and that what is above the horizon does where none has."""
_HEIGHT = 1.5  # metres of a camera above the road
_HORIZON, _FOCAL = 0.45, 1.0  # shares of height and width, where the camera is unknown
_DARKEST = 14.0  # mean of a picture of the night
_DENSE = 0.5  # share of pixels with a depth above which it is believed; a lidar's points alone would make speckles


def distances(sample: CameraSample) -> np.ndarray:
    """float32 [H, W], metres that each pixel sees."""
    depth = sample.targets.get("depth_estimation", {}).get("depth")
    if depth is None or np.count_nonzero(depth) < _DENSE * depth.size:
        return np.repeat(road_distances(sample.view, MIDDLE)[:, None], sample.view.size[1], 1)
    return np.where(depth > 0, depth, road_distances(sample.view, FAR)[:, None])


def road_distances(view: View, most: float) -> np.ndarray:
    """float32 [H]: metres to a flat road, row by row; ``most`` at the horizon and above it."""
    height, width = view.size
    horizon = _HORIZON * height if view.horizon is None else view.horizon
    focal = _FOCAL * width if view.intrinsics is None else float(view.intrinsics[1, 1])
    below = np.arange(height) + 0.5 - horizon
    return (_HEIGHT * focal / np.maximum(below, _HEIGHT * focal / most)).astype(np.float32)


class Fog(Sometimes):
    """Koschmieder's law: what is seen fades into the light of the air by exp(-beta d), beta = 2.996 / meteorological range,
    at which a contrast of 5% is left (Sakaridis, Dai, Van Gool 2018, Foggy Cityscapes)."""

    def __init__(self, config: FogConfig):
        self.p, self.visibility = config.p, config.visibility

    def changed(self, sample: CameraSample, rng: Rng) -> np.ndarray:
        low, high = map(math.log, self.visibility)
        return fogged(sample, math.exp(rng.uniform(low, high)), _air(sample.image, rng))


def fogged(sample: CameraSample, visibility: float, air: tuple[float, ...]) -> np.ndarray:
    """uint8 [H, W, 3] with a range of ``visibility`` metres in air of the colour ``air``."""
    clear = np.exp(-2.996 / visibility * distances(sample))
    veil = np.empty_like(sample.image)
    veil[:] = np.round(air)
    return cv2.blendLinear(np.ascontiguousarray(sample.image), veil, clear, 1 - clear)


def _air(image: np.ndarray, rng: Rng) -> tuple[float, ...]:
    """The light of the air, R G B: greyish, and as bright as the brighter half of the picture."""
    level = min(235.0, max(40.0, 1.5 * brightness(image))) * rng.uniform(0.9, 1.1)
    return tuple(min(255.0, level * tint) for tint in (0.98, 1.0, 1.02))


def brightness(image: np.ndarray) -> float:
    """About the mean of all channels."""
    return float(image[:: max(1, image.shape[0] // 32), :: max(1, image.shape[1] // 32)].mean())


class Rain(Sometimes):
    """Streaks of drops near and far, fallen by one wind, in dimmer light and a thin veil (Hu et al. 2019: streaks near,
    fog far). Drops in the distance are short, thin and many."""

    def __init__(self, config: RainConfig):
        self.p, self.amount = config.p, config.amount

    def changed(self, sample: CameraSample, rng: Rng) -> np.ndarray:
        amount, wind = rng.uniform(*self.amount), rng.normal(0, 0.15)
        seed = rng.integer(0, 2**62)
        dim = cv2.convertScaleAbs(sample.image, alpha=1 - 0.3 * amount)
        image = fogged(sample.replace(image=dim), 1500 * (1 - amount) + 350 * amount, _air(dim, rng))
        for number, (share, thickness, bright) in enumerate(((0.02, 1, 0.20), (0.05, 1, 0.28), (0.11, 2, 0.20))):
            count = round(amount * (900, 300, 60)[number])
            layer = streaks(sample.view.size, hash_array(seed + number, np.arange(4 * count)), share, wind, thickness)
            fine = min(1.0, sample.view.size[0] / 400)  # a drop that is thinner than a pixel is fainter
            image = cv2.scaleAdd(layer, fine * bright * (0.6 + 0.4 * amount), image)
        return image


def streaks(size: tuple[int, int], draws: np.ndarray, share: float, wind: float, thickness: int) -> np.ndarray:
    """uint8 [H, W, 3]: lines as long as ``share`` of the height, ``wind`` their slope, placed by ``draws`` uint64 [4 N]."""
    height, width = size
    x, y, length, light = ((draws >> np.uint64(11)).astype(np.float64) * 2.0**-53).reshape(4, -1)
    long = share * height * (0.5 + length)
    starts = np.stack([x * width * 1.2 - 0.1 * width, y * height * 1.2 - 0.2 * height], 1)
    ends = starts + np.stack([wind * long, long], 1)
    layer = np.zeros((height, width), np.uint8)
    lines = np.round(np.stack([starts, ends], 1) * 16).astype(np.int32)
    for level in range(3):  # a call draws lines of one brightness
        chosen = lines[(light * 3).astype(int) == level]
        cv2.polylines(layer, list(chosen), False, (255, 190, 130)[level], thickness, cv2.LINE_AA, 4)
    return cv2.merge([cv2.GaussianBlur(layer, (0, 0), 0.4 + 0.6 * thickness)] * 3)


class Night(Sometimes):
    """Little, bluish light with few colours, and the cone of the headlights on the road ahead. A picture that is dark
    already is not made darker than `_DARKEST`."""

    def __init__(self, config: NightConfig):
        self.p, self.light, self.headlights, self.noise = config.p, config.light, config.headlights, config.noise

    def changed(self, sample: CameraSample, rng: Rng) -> np.ndarray:
        light = min(1.0, max(rng.uniform(*self.light), _DARKEST / max(1.0, brightness(sample.image))))
        dark = cv2.transform(sample.image, _tinted(light, (0.85, 0.95, 1.2), 0.4))
        if self.headlights:
            lit = cv2.transform(sample.image, _tinted(max(light, 0.75), (1.05, 1.0, 0.88), 0.7))
            cone = headlight_cone(sample.view)
            dark = cv2.blendLinear(lit, dark, cone, 1 - cone)
        return with_noise(dark, self.noise, rng) if self.noise else dark


def _tinted(gain: float, tint: tuple[float, float, float], saturation: float) -> np.ndarray:
    """float64 [3, 3] from R, G, B: ``gain`` and ``tint`` of a picture of which ``saturation`` is left."""
    grey = np.tile([0.299, 0.587, 0.114], (3, 1))
    return gain * np.diag(tint) @ (grey + saturation * (np.eye(3) - grey))


def headlight_cone(view: View) -> np.ndarray:
    """float32 [H, W] in [0, 1]: the share of the headlights' light. Low beams reach some 50 m, about a lane to each side,
    and end at the horizon."""
    width = view.size[1]
    focal = _FOCAL * width if view.intrinsics is None else float(view.intrinsics[0, 0])
    middle = width / 2 if view.intrinsics is None else float(view.intrinsics[0, 2])
    metres = road_distances(view, FAR)
    reach = np.exp(-((metres / 40) ** 2))
    columns = np.arange(width, dtype=np.float32) + np.float32(0.5 - middle)
    across = columns[None] * (metres / (4 * focal)).astype(np.float32)[:, None]
    return 0.9 * reach[:, None] * cv2.exp(-across * across)
