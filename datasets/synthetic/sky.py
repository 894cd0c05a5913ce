"""The sky as a panorama around the world, and the hazy skyline beneath it."""

from dataclasses import dataclass

import cv2
import numpy as np

from . import noise
from .classes import BUILDING, SKY, TERRAIN, VEGETATION
from .model import Colour
from .rng import stream
from .weather import Look

# Rows are even in the tangent of the elevation, which needs no arctangent per pixel to look up.
_SKY_SHAPE, _TOP = (224, 1536), np.tan(np.radians(62.0))
_LINE_SHAPE, _LINE_LOW, _LINE_HIGH = (96, 4096), np.radians(-1.6), np.radians(7.0)


@dataclass(frozen=True)
class Panorama:
    """sky: uint8 [rows, cols, 3], azimuth -pi to pi across, elevation _TOP to 0 down. line and line_labels: the strip
    at the horizon, uint8, where line_labels holds semantic classes."""

    sky: np.ndarray
    line: np.ndarray
    line_labels: np.ndarray


def paint_panorama(key: int, look: Look, place: str) -> Panorama:
    """The surroundings of a scene, infinitely far away."""
    rng = stream(key, "sky")
    sky = _sky(look, rng)
    line, labels = _skyline(look, place, rng)
    return Panorama(sky, line, labels)


def _sky(look: Look, rng: np.random.Generator) -> np.ndarray:
    rows, cols = _SKY_SHAPE
    elevation = np.arctan(np.linspace(_TOP, 0, rows, dtype=np.float32))[:, None]
    azimuth = np.linspace(-np.pi, np.pi, cols, dtype=np.float32)[None, :]
    rise = (np.sin(elevation) ** 0.55)[..., None]
    colour = look.horizon * (1 - rise) + look.zenith * rise
    colour = np.repeat(colour.astype(np.float32), cols, axis=1)
    glow = _towards_sun(look, elevation, azimuth)
    if look.sunlight[0] > 0:
        warm = look.sunlight / look.sunlight.max()
        colour += glow[..., None] * (warm * 0.5).astype(np.float32)
    colour = _clouds(look, rng, colour, elevation, glow)
    if look.night and look.weather == "clear":
        stars = rng.random((rows, cols)) > 0.9988
        colour[stars] += rng.uniform(0.1, 0.5, (int(stars.sum()), 1))
    return np.clip(colour * 255, 0, 255).astype(np.uint8)


def _towards_sun(look: Look, elevation, azimuth) -> np.ndarray:
    """float32 [rows, cols]: 1 at the sun's disc, falling off around it."""
    dot = (
        np.cos(elevation) * np.cos(azimuth) * look.sun[0]
        + np.cos(elevation) * np.sin(azimuth) * look.sun[1]
        + np.sin(elevation) * look.sun[2]
    )
    away = np.arccos(np.clip(dot, -1, 1)).astype(np.float32)
    return (np.exp(-away / 0.25) * 0.75 + 2.0 * np.exp(-((away / 0.035) ** 2))).astype(np.float32)


def _clouds(look: Look, rng: np.random.Generator, colour, elevation, glow) -> np.ndarray:
    """Clouds seen in perspective: their layer is flat, so they crowd towards the horizon."""
    cols = colour.shape[1]
    field = noise.fractal("clouds", size=1024, coarsest=4, octaves=8, roughness=0.58)
    # Sample a layer at constant height along each direction.
    reach = 70.0 / np.tan(np.maximum(elevation, 0.045))
    azimuth = np.linspace(-np.pi, np.pi, cols, dtype=np.float32)[None, :]
    left, top = rng.uniform(0, 1024, 2)
    at_x = np.mod(left + reach * np.cos(azimuth), 1023).astype(np.float32)
    at_y = np.mod(top + reach * np.sin(azimuth), 1023).astype(np.float32)
    density = cv2.remap(field, at_x, at_y, cv2.INTER_LINEAR)
    if look.weather != "clear":
        shade = 1 + (0.055 if look.weather != "fog" else 0.012) * density[..., None]
        return colour * shade
    cover = np.clip((density - (1.1 - 2.0 * look.clouds)) * 0.9, 0, 1)
    cover *= np.clip(elevation / 0.10, 0.0, 1.0) ** 0.5
    bright = np.minimum(look.horizon * 0.55 + np.array([0.46, 0.46, 0.46]) * (look.horizon.mean() + 0.08), 1.0)
    under = np.clip(1.04 - 0.13 * np.maximum(density, 0), 0.7, 1.05)[..., None]
    cloud = bright * under + glow[..., None] * look.sunlight * 0.35
    return colour * (1 - cover[..., None] * 0.94) + cloud * cover[..., None] * 0.94


def _ridge(rng: np.random.Generator, name: str, cols: int, detail: int) -> np.ndarray:
    """float64 [cols]: a height profile around the horizon, mean 0, deviation 1, closed at its ends."""
    rows = noise.fractal(name, size=1024, coarsest=detail, octaves=8)
    line = rows[rng.integers(1024)]
    return np.interp(np.arange(cols) * 1024 / cols, np.arange(1025), np.append(line, line[0]))


def _skyline(look: Look, place: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    rows, cols = _LINE_SHAPE
    elevation = np.linspace(_LINE_HIGH, _LINE_LOW, rows, dtype=np.float32)[:, None]
    clear = float(look.clarity(350.0))
    rough = _ridge(rng, "leaves", cols, 64)
    trees = np.maximum(np.radians(1.5 + 0.4 * _ridge(rng, "ridge", cols, 8) + 0.22 * rough), np.radians(0.5))
    hills = np.radians(rng.uniform(0.2, 2.6) + 0.9 * _ridge(rng, "hills", cols, 4))
    layers: list[tuple[np.ndarray, Colour | None, int, float]] = []
    layers.append((hills, (0.32, 0.40, 0.30), VEGETATION, 1 - 0.40 * clear))
    if place != "highway" or rng.random() < 0.3:
        layers.append((_towers(rng, cols, place), (0.44, 0.43, 0.43), BUILDING, 1 - 0.60 * clear))
    layers.append((trees, (0.25, 0.32, 0.18), VEGETATION, 1 - 0.75 * clear))
    ambient = look.ambient + 0.4 * look.sunlight
    field = (0.25 * np.array([0.36, 0.40, 0.28]) * ambient + look.haze * 0.75) * np.ones((cols, 1))
    layers.append((np.full(cols, np.radians(-0.02)), None, TERRAIN, 0.0))
    labels = np.full((rows, cols), SKY, np.uint8)
    colour = np.empty((rows, cols, 3), np.uint8)
    colour[:] = np.clip((look.haze + look.horizon) * 127.5, 0, 255)  # edges blend into this
    for top, albedo, label, hazy in layers:
        tone = field
        if albedo is not None:
            tone = np.array(albedo) * ambient * (1 - hazy) + look.haze * hazy
            tone = tone * (1 + 0.10 * (1 - hazy) * rough)[:, None]
        inside = (elevation < top[None, :].astype(np.float32)).view(np.uint8)
        row = np.clip(tone * 255, 0, 255).astype(np.uint8)
        cv2.copyTo(np.ascontiguousarray(np.broadcast_to(row, colour.shape)), inside, colour)
        # What the fog has swallowed is sky to whoever looks.
        labels[inside > 0] = SKY if clear < 0.02 and albedo is not None else label
    if look.night:
        _far_lights(rng, colour, labels)
    return colour, labels


def _towers(rng: np.random.Generator, cols: int, place: str) -> np.ndarray:
    """float64 [cols]: elevation of the roofs of distant houses."""
    top = np.full(cols, -1.0)
    count, tallest = (150, 4.6) if place == "urban" else (70, 2.0)
    for start, width, height in zip(
        rng.integers(0, cols, count),
        rng.integers(10, 60, count),
        np.radians(rng.uniform(0.8, tallest, count)),
        strict=True,
    ):
        top[start : start + width] = np.maximum(top[start : start + width], height)
    return top


def _far_lights(rng: np.random.Generator, colour: np.ndarray, labels: np.ndarray) -> None:
    """Lit windows and lamps far away."""
    rows, cols = np.nonzero((labels == BUILDING) | (labels == VEGETATION))
    chosen = rng.random(len(rows)) < 0.004
    light = np.array([125, 100, 55]) * rng.uniform(0.2, 1.0, (int(chosen.sum()), 1))
    colour[rows[chosen], cols[chosen]] = np.minimum(colour[rows[chosen], cols[chosen]] + light, 255)


def draw_sky(panorama: Panorama, directions: np.ndarray, image: np.ndarray, labels: np.ndarray) -> None:
    """Fills image [h, W, 3] and labels [h, W] along world directions float32 [h, W, 3]."""
    flat = cv2.magnitude(directions[..., 0], directions[..., 1])
    azimuth = cv2.phase(directions[..., 0], directions[..., 1])  # 0 to 2 pi
    elevation = directions[..., 2] / np.maximum(flat, np.float32(1e-6))  # its tangent
    rows, cols = panorama.sky.shape[:2]
    turn = np.float32(2 * np.pi)
    across = azimuth + np.float32(np.pi)
    across -= turn * (across >= turn)
    across *= np.float32((cols - 1) / (2 * np.pi))
    down = (np.float32(_TOP) - elevation) * np.float32((rows - 1) / _TOP)
    image[:] = cv2.remap(panorama.sky, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    labels[:] = SKY
    near_line = np.nonzero((elevation.min(axis=1) < _LINE_HIGH) & (elevation.max(axis=1) > _LINE_LOW - 0.02))[0]
    if len(near_line):
        _draw_line(
            panorama,
            across * np.float32(panorama.line.shape[1] / cols),
            elevation,
            image,
            labels,
            slice(near_line[0], near_line[-1] + 1),
        )


def _draw_line(panorama: Panorama, across, elevation, image, labels, band: slice) -> None:
    rows = panorama.line.shape[0]
    down = (np.float32(_LINE_HIGH) - elevation[band]) * np.float32((rows - 1) / (_LINE_HIGH - _LINE_LOW))
    colour = cv2.remap(panorama.line, across[band], down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    kinds = cv2.remap(
        panorama.line_labels, across[band], down, cv2.INTER_NEAREST, borderMode=cv2.BORDER_CONSTANT, borderValue=SKY
    )
    solid = (kinds != SKY).astype(np.uint8)
    cv2.copyTo(colour, solid, image[band])
    cv2.copyTo(kinds, solid, labels[band])
