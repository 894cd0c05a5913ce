"""What lies on the picture after the things are drawn: shadows, glare, rain, snow, the sensor."""

from functools import lru_cache

import cv2
import numpy as np

from . import noise
from .geometry import NEAR_M, View, clip_near, fixed_point, rotation_z
from .rng import stream
from .weather import Look


def draw_shadows(image: np.ndarray, view: View, look: Look, states) -> None:
    """Darkens the ground under and beside vehicles and people; parked cars' sun shadows are in the ground map."""
    dark = np.zeros(image.shape[:2], np.uint8)
    drawn = False
    for state in states:
        if state.class_name not in ("car", "truck", "pedestrian", "cyclist"):
            continue
        base = state.corners[:4].copy()
        base[:, 2] = 0.0
        middle = base.mean(axis=0)
        if np.hypot(*(middle - view.position)[:2]) > 90:
            continue
        if look.shadows and (state.thing.moving or state.class_name in ("pedestrian", "cyclist")):
            slim = middle + (base - middle) * (0.96 if state.class_name in ("car", "truck") else 0.62)
            away = -look.sun[:2] / max(look.sun[2], 0.12) * state.size[2] * 0.92
            cast = np.concatenate([slim, slim + (*away, 0.0)])
            hull = cv2.convexHull(cast[:, :2].astype(np.float32))[:, 0]
            drawn |= _ground_polygon(dark, view, hull, int(255 * look.shadows * 0.9))
        strength = 150 if state.class_name in ("car", "truck") else 90
        drawn |= _ground_polygon(dark, view, (middle + (base - middle) * 1.04)[:, :2], strength)
    if drawn:
        rows = np.nonzero(dark.any(axis=1))[0]
        part = slice(max(rows[0] - 3, 0), rows[-1] + 4)
        size = max(image.shape[1] // 213, 1) | 1
        left = cv2.bitwise_not(cv2.blur(dark[part], (size + 2, size)))
        image[part] = cv2.multiply(image[part], cv2.merge([left] * 3), scale=1 / 255)


def _ground_polygon(mask: np.ndarray, view: View, corners: np.ndarray, strength: int) -> bool:
    points = clip_near(view.to_camera(np.column_stack([corners, np.zeros(len(corners))])))
    if len(points) < 3:
        return False
    layer = fixed_point(view.to_pixels(points))
    x, y = layer[:, 0] >> 4, layer[:, 1] >> 4
    if x.max() < 0 or y.max() < 0 or x.min() >= mask.shape[1] or y.min() >= mask.shape[0]:
        return False
    cv2.fillConvexPoly(mask, layer, max(strength, 1), cv2.LINE_AA, 4)
    return True


def draw_reflection(image: np.ndarray, ids: np.ndarray, box: np.ndarray, look: Look) -> None:
    """A vehicle, box x1 y1 x2 y2, mirrored in the wet ground beneath it, where nothing else stands."""
    rows, cols = ids.shape
    x0, x1, bottom = max(int(box[0]), 0), min(int(box[2]) + 1, cols), int(box[3])
    reach = min(int(0.55 * (box[3] - box[1])), rows - bottom, bottom)
    if reach < 3 or x1 - x0 < 3:
        return
    mirrored = cv2.blur(image[bottom - reach : bottom, x0:x1][::-1], (3, max(reach // 5, 1)))
    share = np.linspace(0.42 * look.wetness, 0.0, reach, dtype=np.float32)[:, None]
    share = share * (ids[bottom : bottom + reach, x0:x1] == 0)
    window = image[bottom : bottom + reach, x0:x1]
    window[:] = cv2.blendLinear(mirrored, window, share, 1 - share)


@lru_cache(maxsize=1)
def _halo() -> np.ndarray:
    """float32 [65, 65]: a bright core in a wide faint halo."""
    v, u = np.mgrid[-32:33, -32:33] / 32
    r = np.hypot(u, v)
    return (np.clip(1 - r, 0, 1) ** 2 * (0.35 + 0.9 * np.exp(-((r / 0.16) ** 2)))).astype(np.float32)


def draw_glows(image: np.ndarray, view: View, look: Look, state, model) -> None:
    """Lamps of a thing: halos that add light, longer ones on a wet road beneath."""
    if not model.glows or not state.thing.lit or not (look.lights_on or state.class_name == "pole"):
        return
    turn = rotation_z(state.yaw)
    lamp_post = state.class_name == "pole"
    for glow in model.glows:
        if lamp_post and glow.direction is None and not look.night:
            continue
        at = turn @ glow.at + (state.x, state.y, state.z)
        sight = view.position - at
        distance = float(np.linalg.norm(sight))
        facing = 1.0 if glow.direction is None else float((turn @ glow.direction) @ sight) / distance
        point = view.to_camera(at[None])
        if facing < 0.1 or point[0, 2] < NEAR_M + 0.6:
            continue
        strength = facing**0.6 * float(look.clarity(distance * 0.6)) * (1.0 if look.night else 0.55)
        size = np.clip(view.focal * glow.radius / distance, 1.5, 0.16 * image.shape[1])
        spot = view.to_pixels(point)[0]
        if look.weather in ("rain", "fog", "snow"):
            size *= 1.5
        _add_halo(image, spot, (size, size), glow.colour, strength)
        if look.wetness > 0.5 and look.time_of_day != "day":
            foot = view.to_pixels(view.to_camera(np.array([[at[0], at[1], 0.0]])))[0]
            drop = foot[1] - spot[1]
            _add_halo(image, (foot[0], foot[1] + 0.9 * drop), (size * 0.6, drop * 1.3 + size), glow.colour, strength * 0.30)


def _add_halo(image: np.ndarray, spot, size, colour, strength: float) -> None:
    """Adds the halo at a pixel with these half sizes."""
    x0, y0 = int(np.floor(spot[0] - size[0])), int(np.floor(spot[1] - size[1]))
    x1, y1 = int(np.ceil(spot[0] + size[0])) + 1, int(np.ceil(spot[1] + size[1])) + 1
    cx0, cy0, cx1, cy1 = max(x0, 0), max(y0, 0), min(x1, image.shape[1]), min(y1, image.shape[0])
    if cx1 <= cx0 or cy1 <= cy0:
        return
    halo = cv2.resize(_halo(), (x1 - x0, y1 - y0))[cy0 - y0 : cy1 - y0, cx0 - x0 : cx1 - x0]
    light = cv2.merge([halo * np.float32(255 * strength * c) for c in colour])
    window = image[cy0:cy1, cx0:cx1]
    window[:] = cv2.add(window, light, dtype=cv2.CV_8U)


def draw_precipitation(image: np.ndarray, look: Look, key: int, frame: int) -> None:
    """Rain streaks or snow flakes between the camera and the scene."""
    if look.weather not in ("rain", "snow"):
        return
    rng = stream(key, "precipitation", frame)
    layer = _streaks(look.weather, image.shape[0], image.shape[1])
    dy, dx = rng.integers(0, layer.shape[0] - image.shape[0]), rng.integers(0, layer.shape[1] - image.shape[1])
    cut = layer[dy : dy + image.shape[0], dx : dx + image.shape[1]]
    bright = {"day": 1.0, "dusk": 0.7, "night": 0.4}[look.time_of_day]
    cv2.scaleAdd(cut, bright, image, image)


@lru_cache(maxsize=8)
def _streaks(weather: str, rows: int, cols: int) -> np.ndarray:
    """uint8 [2 rows, 2 cols, 3]: light that rain or snow adds, more than a picture's size to cut from."""
    rng = stream("streaks", weather)
    scale = rows / 360
    layer = np.zeros((rows * 2, cols * 2), np.uint8)
    for _ in range(2600 if weather == "rain" else 2200):
        x, y, near = rng.uniform(0, cols * 2), rng.uniform(0, rows * 2), rng.random() ** 3
        if weather == "rain":
            length, slant = (6 + 26 * near) * scale, rng.normal(1.2, 0.8) * scale
            start, end = (int(x * 16), int(y * 16)), (int((x + slant) * 16), int((y + length) * 16))
            cv2.line(layer, start, end, int(18 + 22 * near), 1, cv2.LINE_AA, 4)
        else:
            radius = (0.45 + 1.5 * near) * scale
            cv2.circle(layer, (int(x * 16), int(y * 16)), int(radius * 16), int(130 - 60 * near), -1, cv2.LINE_AA, 4)
    return cv2.merge([cv2.GaussianBlur(layer, (3, 3), 0.7)] * 3)


def expose(image: np.ndarray, look: Look, key: int, frame: int) -> np.ndarray:
    """The camera: a soft lens, darker corners, noise. uint8 [H, W, 3]."""
    rng = stream(key, "sensor", frame)
    rows, cols = image.shape[:2]
    image = cv2.GaussianBlur(image, (3, 3), 0.45 * cols / 640)
    image = cv2.multiply(image, _vignette(rows, cols), dtype=cv2.CV_8U)
    tile = noise.grain_tile()
    dy, dx = rng.integers(0, len(tile) - min(rows, 1023)), rng.integers(0, len(tile) - min(cols, 1023))
    grain = tile[dy : dy + rows, dx : dx + cols]
    if grain.shape[:2] != (rows, cols):
        grain = np.pad(grain, ((0, rows - grain.shape[0]), (0, cols - grain.shape[1]), (0, 0)), mode="wrap")
    return cv2.addWeighted(image, 1.0, grain, look.grain / 20, 0, dtype=cv2.CV_8U)


@lru_cache(maxsize=8)
def _vignette(rows: int, cols: int) -> np.ndarray:
    v, u = np.meshgrid(np.linspace(-1, 1, rows), np.linspace(-1, 1, cols), indexing="ij")
    factor = (1 - 0.075 * (u * u + v * v)).astype(np.float32)
    return cv2.merge([factor] * 3)
