"""Looks the ground up pixel by pixel: camera ray to ground point to road coordinates to the painted maps."""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from . import noise
from .classes import LANE_MARKING
from .geometry import View
from .ground_map import GroundMap, paint_ground
from .lighting import BEAM_RGB, LAMP_RGB
from .road import AHEAD_M, BEHIND_M
from .weather import headlight

FAR_M = 900.0


@dataclass(frozen=True)
class GroundMaps:
    """near: fine, around the road. wide: coarse, out to the fields."""

    near: GroundMap
    wide: GroundMap


def paint_maps(scene) -> GroundMaps:
    """Paints both maps of a scene."""
    travel = float(scene.ego.along(scene.times[-1]))
    half = max(abs(scene.profile.front_left), abs(scene.profile.front_right)) + 2.5
    near = paint_ground(scene, scene.look, (-30.0, travel + 170.0), half, (7.0, 14.0))
    wide = paint_ground(scene, scene.look, (-BEHIND_M + 8, travel + AHEAD_M - 20), 105.0, (2.0, 2.0))
    return GroundMaps(near, wide)


@dataclass(frozen=True)
class GroundPositions:
    """Where rays [h, W] meet the ground, all float32 [h, W]. depth: along the rays. ahead, left: metres in the road's own
    frame at the ego, which lies at frame (x, y, heading) in the world. along, across: road coordinates s and d."""

    depth: np.ndarray
    ahead: np.ndarray
    left: np.ndarray
    along: np.ndarray
    across: np.ndarray
    frame: tuple[float, float, float]


def ground_positions(scene, view: View, moment, directions: np.ndarray) -> GroundPositions:
    """Of world rays float32 [h, W, 3] with z = 1 in the camera's frame; beyond FAR_M, and above the horizon, meaningless."""
    table, (x0, y0, heading) = scene.road.seen_from(moment.ego_s)
    c, s = np.float32(np.cos(heading)), np.float32(np.sin(heading))
    height = np.float32(view.position[2])
    depth = height / np.maximum(-directions[..., 2], np.float32(1e-5))
    rel = view.position[:2] - (x0, y0)
    eye_x, eye_y = c * rel[0] + s * rel[1], -s * rel[0] + c * rel[1]
    ahead = np.float32(eye_x) + depth * (c * directions[..., 0] + s * directions[..., 1])
    left = np.float32(eye_y) + depth * (c * directions[..., 1] - s * directions[..., 0])
    along, across = _road_coordinates(table, ahead, left, moment.ego_s)
    return GroundPositions(depth, ahead, left, along, across, (x0, y0, heading))


def draw_ground(
    scene, maps: GroundMaps, view: View, moment, image: np.ndarray, labels: np.ndarray, directions: np.ndarray
) -> None:
    """Fills rows of image [h, W, 3] and labels [h, W] below the horizon; directions: world rays float32 [h, W, 3]."""
    at = ground_positions(scene, view, moment, directions)
    depth, ahead, left, along, across = at.depth, at.ahead, at.left, at.along, at.across
    x0, y0, heading = at.frame
    c, s = np.float32(np.cos(heading)), np.float32(np.sin(heading))
    below = depth < FAR_M
    colour, kinds, cover = _look_up(maps, view, along, across, depth)
    _roughen(colour, ahead + np.float32(x0 * c + y0 * s), left + np.float32(y0 * c - x0 * s), depth)
    if scene.look.night:
        colour = _by_night(scene.look, maps.wide, colour, along, across, ahead, left - np.float32(scene.ego.d))
    if scene.look.wetness > 0.5:
        colour = _wet_sheen(scene.look, colour, depth, kinds)
    clear = scene.look.clarity(depth).astype(np.float32)
    haze = np.empty_like(colour)
    haze[:] = np.clip(scene.look.haze * 255, 0, 255)
    colour = cv2.blendLinear(colour, haze, clear, 1 - clear)
    kinds[cover > 80] = LANE_MARKING
    mask = below.astype(np.uint8)
    cv2.copyTo(colour, mask, image)
    cv2.copyTo(kinds, mask, labels)


def _road_coordinates(table: np.ndarray, ahead, left, s_ref: float) -> tuple[np.ndarray, np.ndarray]:
    """s and d of ground points given in the road's frame at s_ref, to second order in curvature."""
    column = np.clip(ahead, -BEHIND_M, AHEAD_M) + np.float32(BEHIND_M)
    found = cv2.remap(table, column, np.zeros_like(column), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    off, centre, sine, curvature = cv2.split(found)
    aside = left - centre
    step = aside * sine
    across = aside * np.sqrt(1 - sine * sine)
    along = np.float32(s_ref) + ahead + off + step * (1 + curvature * across)
    return along, across - 0.5 * curvature * step * step


def _look_up(maps: GroundMaps, view: View, along, across, depth):
    """Colours uint8 [h, W, 3], labels uint8 [h, W] and cover of paint uint8 [h, W]."""
    rows, cols = along.shape
    pixels = np.zeros((rows, cols, 4), np.uint8)
    kinds = np.zeros((rows, cols), np.uint8)
    # How many metres along the view one pixel covers decides how far the map is shrunk.
    footprint = depth[:, cols // 2] ** 2 / (view.focal * max(float(view.position[2]), 0.3))
    for ground, border in ((maps.wide, cv2.BORDER_REPLICATE), (maps.near, cv2.BORDER_TRANSPARENT)):
        x, y = ground.col(across) - np.float32(0.5), ground.row(along) - np.float32(0.5)
        x, y = x.astype(np.float32), y.astype(np.float32)
        shrinks = np.array([level[1] for level in ground.levels])
        wanted = np.searchsorted(shrinks * 1.6, footprint * ground.per_metre_s).clip(0, len(shrinks) - 1)
        for number, (source, by_row, by_col) in enumerate(ground.levels):
            band = np.nonzero(wanted == number)[0]
            if len(band):
                part = slice(band[0], band[-1] + 1)
                _sample(source, x[part], y[part], by_col, by_row, border, pixels[part])
        cv2.remap(ground.labels, x, y, cv2.INTER_NEAREST, kinds, border)
    return cv2.cvtColor(pixels, cv2.COLOR_RGBA2RGB), kinds, cv2.extractChannel(pixels, 3)


def _sample(source, x, y, by_col, by_row, border, out) -> None:
    x = (x + np.float32(0.5)) / np.float32(by_col) - np.float32(0.5)
    y = (y + np.float32(0.5)) / np.float32(by_row) - np.float32(0.5)
    cv2.remap(source, x, y, cv2.INTER_LINEAR, out, border)


def _roughen(colour: np.ndarray, x, y, depth) -> None:
    """Grain of asphalt and grass, finer than the maps hold, for the ground near by."""
    rows = np.nonzero(depth[:, depth.shape[1] // 2] < 19.0)[0]
    if not len(rows):
        return
    part = slice(rows[0], rows[-1] + 1)
    tile = _grain()
    at_x, at_y = _wrap(x[part] * np.float32(56)), _wrap(y[part] * np.float32(56))
    grain = cv2.remap(tile, at_x, at_y, cv2.INTER_LINEAR)
    fade = np.clip(1.25 - depth[part] / 15.0, 0, 1).astype(np.float32)
    factor = 1 + grain * fade
    colour[part] = cv2.multiply(colour[part], cv2.merge([factor] * 3), dtype=cv2.CV_8U)


def _wrap(at: np.ndarray) -> np.ndarray:
    """Coordinates taken into a tile of 512, leaving its last pixel as the partner for interpolation."""
    return at - np.floor(at * np.float32(1 / 511)) * np.float32(511)


@lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    return noise.fractal("grain", coarsest=128, octaves=3, roughness=0.9) * np.float32(0.055)


def _by_night(look, wide: GroundMap, colour, along, across, ahead, left) -> np.ndarray:
    """Ambient light, pools of lamp light and the ego's own beam."""
    assert wide.lamps is not None
    lamps = cv2.remap(
        wide.lamps,
        (wide.col(across) / 2 - 0.5).astype(np.float32),
        (wide.row(along) / 2 - 0.5).astype(np.float32),
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    lamps = lamps.astype(np.float32) * (1 / 255)
    beam = np.where(ahead > 2.2, headlight(ahead, left), 0).astype(np.float32)
    light = [
        np.float32(look.ambient[k]) + lamps * np.float32(LAMP_RGB[k]) + beam * np.float32(BEAM_RGB[k] * 0.9) for k in range(3)
    ]
    return cv2.multiply(colour, cv2.merge(light), dtype=cv2.CV_8U)


def _wet_sheen(look, colour, depth, kinds) -> np.ndarray:
    """A wet road mirrors the sky, the more the flatter one looks at it."""
    share = np.float32(0.42 * look.wetness) * (1 - np.exp(-depth / np.float32(24.0)))
    share[kinds > 2] *= np.float32(0.25)
    sky = np.empty_like(colour)
    sky[:] = np.clip(look.horizon * 0.92 * 255, 0, 255)
    share = share.astype(np.float32)
    return cv2.blendLinear(colour, sky, 1 - share, share)
