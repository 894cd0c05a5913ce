"""Paints the ground of a scene as a map in road coordinates, once, for the renderer to look up."""

from dataclasses import dataclass

import cv2
import numpy as np

from . import noise
from .classes import LANE_MARKING, PAVEMENT, ROAD, TERRAIN
from .ground_marks import paint_marks
from .rng import stream
from .weather import Look

_COLOURS = {  # albedo under full daylight
    "asphalt": (104, 104, 107),
    "kerb": (158, 155, 150),
    "slabs": (141, 136, 129),
    "grass": (88, 112, 52),
    "field": (118, 122, 66),
    "gravel": (127, 121, 110),
}
_LABELS = {"asphalt": ROAD, "kerb": PAVEMENT, "slabs": PAVEMENT, "grass": TERRAIN, "field": TERRAIN, "gravel": TERRAIN}
_SNOW = np.array([226, 230, 236], np.float32)


@dataclass
class GroundMap:
    """A raster over the road: rows along s, columns from left to right (falling d).

    pixels: uint8 [rows, cols, 4], red, green, blue and the cover of paint. labels: uint8 [rows, cols].
    levels: `pixels` shrunk along s, finest first, as (map, rows' shrink, columns' shrink). lamps: uint8, how much of
    the street lamps' light falls there.
    """

    s0: float
    d_left: float
    per_metre_s: float
    per_metre_d: float
    pixels: np.ndarray
    labels: np.ndarray
    lamps: np.ndarray | None = None
    levels: tuple = ()

    def row(self, s):
        """Row coordinate (pixel corners count) of s."""
        return (s - self.s0) * self.per_metre_s

    def col(self, d):
        """Column coordinate of d."""
        return (self.d_left - d) * self.per_metre_d

    def points(self, s, d) -> np.ndarray:
        """OpenCV fixed-point corners with 4 bits, int32 [N, 2]."""
        xy = np.stack(np.broadcast_arrays(self.col(np.asarray(d, float)), self.row(np.asarray(s, float))), axis=-1)
        return np.rint(np.clip(xy - 0.5, -2000, 30000) * 16).astype(np.int32).reshape(-1, 2)

    def slice(self, s_from: float, s_to: float, d_right: float, d_left: float) -> tuple[slice, slice]:
        """Rows and columns that a rectangle in road coordinates covers, clipped to the map."""
        rows, cols = self.labels.shape
        r = np.clip(np.round((self.row(s_from), self.row(s_to))), 0, rows).astype(int)
        c = np.clip(np.round((self.col(d_left), self.col(d_right))), 0, cols).astype(int)
        return slice(*r), slice(*c)


def paint_ground(scene, look: Look, s_range: tuple[float, float], half_width: float, per_metre: tuple[float, float]):
    """The map of a scene's ground over s_range and |d| <= half_width, per_metre (s, d) pixels to the metre."""
    rows = int((s_range[1] - s_range[0]) * per_metre[0])
    cols = int(2 * half_width * per_metre[1])
    ground = GroundMap(
        s_range[0],
        half_width,
        *per_metre,
        np.zeros((rows, cols, 4), np.uint8),
        np.full((rows, cols), TERRAIN, np.uint8),
    )
    rng = stream(scene.key, "ground", cols)
    for band in scene.profile.bands:
        _lay(ground, band.material, (s_range[0], s_range[1], band.right, band.left))
    for junction in scene.junctions:
        _lay_junction(ground, scene.profile, junction)
    _texture(ground, scene, look, rng)
    paint_marks(ground, scene, look, stream(scene.key, "marks"))
    _shade(ground, scene, look)
    ground.labels[ground.pixels[..., 3] > 110] = LANE_MARKING
    if look.night:
        ground.lamps = _lamp_light(ground, scene)
    ground.levels = _shrunk(ground.pixels)
    return ground


def _lay(ground: GroundMap, material: str, rectangle) -> None:
    where = ground.slice(*rectangle)
    ground.labels[where] = _LABELS[material]
    ground.pixels[where + (slice(0, 3),)] = _COLOURS[material]


def _lay_junction(ground: GroundMap, profile, junction) -> None:
    """The side street: pavements first, its asphalt over them, then the rounded corners of the kerb."""
    s, half, pave = junction.s, junction.half_width, junction.pavement
    right, left = profile.right_edge, profile.left_edge
    for d_right, d_left in ((-110, right), (left, 110)):
        if pave:
            _lay(ground, "slabs", (s - half - pave, s + half + pave, d_right, d_left))
            _lay(ground, "kerb", (s - half - 0.2, s + half + 0.2, d_right, d_left))
        _lay(ground, "asphalt", (s - half, s + half, d_right, d_left))
    _lay(ground, "asphalt", (s - half, s + half, right, left))
    for edge, outward in ((right, -1), (left, 1)):
        for way in (-1, 1):
            for radius, material in ((3.2, "kerb"), (3.0, "asphalt")):
                _corner(ground, s + way * half, edge, way, outward, radius, material)


def _corner(ground: GroundMap, s: float, d: float, way: int, outward: int, radius: float, material: str) -> None:
    """Fills what lies between a kerb's right angle at (s, d) and the arc that rounds it."""
    angle = np.linspace(0, np.pi / 2, 9)
    arc_s = s + way * radius * (1 - np.sin(angle))
    arc_d = d + outward * radius * (1 - np.cos(angle))
    corner = ground.points(np.append(arc_s, s - way * 0.3), np.append(arc_d, d - outward * 0.3))
    mask = np.zeros(ground.labels.shape, np.uint8)
    top, bottom = max(corner[:, 1].min() // 16 - 1, 0), corner[:, 1].max() // 16 + 2
    cv2.fillPoly(mask[:bottom], [corner], 1, cv2.LINE_8, 4)
    inside = mask[top:bottom] > 0
    ground.labels[top:bottom][inside] = _LABELS[material]
    ground.pixels[top:bottom, :, :3][inside] = _COLOURS[material]


def _texture(ground: GroundMap, scene, look: Look, rng: np.random.Generator) -> None:
    """Wear, stains, slabs' joints, tufts: brightness and hue that vary over each material."""
    rows, cols = ground.labels.shape
    labels, colour = ground.labels, ground.pixels[..., :3]
    stretch = ground.per_metre_s / ground.per_metre_d
    broad = noise.patch("broad", rows, cols, rng, (max(ground.per_metre_s / 2, 1), max(ground.per_metre_d / 2, 1)))
    fine = noise.patch("fine", rows, cols, rng, (1.0, max(1.0, 1 / max(stretch, 0.2) / 2)), coarsest=32)
    wild = labels == TERRAIN
    amount = np.where(wild, 0.13, np.where(labels == ROAD, 0.04, 0.045)).astype(np.float32)
    factor = 1 + amount * (0.8 * broad + 0.35 * fine)
    factor *= _wear(ground, scene, rng)[None, :]
    tone = rng.uniform(0.82, 1.12)
    road = labels == ROAD
    factor[road] *= tone * (1 - 0.34 * look.wetness)
    factor[~road] *= 1 - 0.16 * look.wetness
    warm = np.where(wild, np.clip(0.05 * broad, -0.03, 0.12), 0.0).astype(np.float32)  # drier grass is yellower
    scaled = [colour[..., 0] * (factor + warm), colour[..., 1] * factor, colour[..., 2] * (factor - 0.5 * warm)]
    _joints(ground, scaled)
    if look.snowy:
        _snow(labels, scaled, broad + 0.5 * fine)
    for channel in range(3):
        colour[..., channel] = np.clip(scaled[channel], 0, 255)


def _wear(ground: GroundMap, scene, rng: np.random.Generator) -> np.ndarray:
    """float32 [cols]: tyres polish two tracks in each lane, oil darkens the middle."""
    d = ground.d_left - (np.arange(ground.labels.shape[1]) + 0.5) / ground.per_metre_d
    wear = np.ones_like(d)
    for centre, _ in scene.profile.lane_centres:
        for offset, strength in ((-0.8, 0.06), (0.8, 0.06), (0.0, -0.05)):
            wear += strength * rng.uniform(0.3, 1.4) * np.exp(-(((d - centre - offset) / 0.28) ** 2))
    return wear.astype(np.float32)


def _joints(ground: GroundMap, scaled: list[np.ndarray]) -> None:
    """Joints between paving slabs, where the map is fine enough to hold them."""
    if ground.per_metre_d < 6:
        return
    paved = ground.labels == PAVEMENT
    rows, cols = paved.shape
    lines = np.zeros((rows, cols), bool)
    lines[np.arange(0, rows, max(int(ground.per_metre_s * 1.2), 2))] = True
    lines[:, np.arange(0, cols, int(ground.per_metre_d * 0.8))] = True
    for channel in scaled:
        channel[lines & paved] *= 0.86


def _snow(labels: np.ndarray, scaled: list[np.ndarray], unevenness: np.ndarray) -> None:
    """White land, trodden pavements, slush on the road."""
    base = np.zeros(labels.shape, np.float32)
    for label, share in ((TERRAIN, 0.94), (PAVEMENT, 0.62), (ROAD, 0.30)):
        base[labels == label] = share
    cover = np.clip(base + 0.14 * unevenness, 0, 1)
    for channel, white in zip(scaled, _SNOW, strict=True):
        channel += cover * (white - channel)


def _shade(ground: GroundMap, scene, look: Look) -> None:
    """Daylight and cast shadows, worked into the colours. At night only the ambient share; lamps come per frame."""
    sun_on_ground = look.sunlight * look.sun[2] ** 0.6
    lit = np.minimum(look.ambient + sun_on_ground, 1.25)
    colour = ground.pixels[..., :3]
    if look.night:
        return
    if look.shadows == 0:
        for channel in range(3):
            colour[..., channel] = cv2.convertScaleAbs(colour[..., channel], alpha=float(lit[channel]))
        return
    sunny = scene_sunshine(ground, scene, look).astype(np.float32) / 255
    for channel in range(3):
        light = (lit[channel] - sun_on_ground[channel]) + sun_on_ground[channel] * sunny
        colour[..., channel] = np.minimum(colour[..., channel] * light, 255)


def scene_sunshine(ground: GroundMap, scene, look: Look) -> np.ndarray:
    """uint8 [rows, cols]: 255 where the sun reaches the ground past everything that stands still."""
    rows, cols = ground.labels.shape
    mask = np.full((rows, cols), 255, np.uint8)
    for caster in scene.casters:
        _, _, heading = scene.road.to_world(caster.s, 0.0)
        slope = caster.height / max(look.sun[2], 0.12)
        away_s = -slope * (look.sun[0] * np.cos(heading) + look.sun[1] * np.sin(heading))
        away_d = -slope * (-look.sun[0] * np.sin(heading) + look.sun[1] * np.cos(heading))
        for s, d in caster.outlines(float(away_s), float(away_d)):
            hull = cv2.convexHull(ground.points(s, d))
            cv2.fillConvexPoly(mask, hull, 0, cv2.LINE_AA, 4)
    blur = max(int(0.25 * ground.per_metre_d) | 1, 3)
    return cv2.blur(mask, (blur, max(int(0.25 * ground.per_metre_s) | 1, 1)))


def _lamp_light(ground: GroundMap, scene) -> np.ndarray:
    """uint8 [rows / 2, cols / 2]: pools of light under street lamps."""
    rows, cols = ground.labels.shape[0] // 2, ground.labels.shape[1] // 2
    s = ground.s0 + (np.arange(rows) + 0.5) * 2 / ground.per_metre_s
    d = ground.d_left - (np.arange(cols) + 0.5) * 2 / ground.per_metre_d
    light = np.zeros((rows, cols), np.float32)
    for lamp_s, lamp_d in scene.lamps:
        near = slice(*np.searchsorted(s, (lamp_s - 32, lamp_s + 32)))
        square = ((s[near] - lamp_s) / 8.5)[:, None] ** 2 + ((d - lamp_d) / 7.0)[None, :] ** 2
        light[near] += (0.62 / (1 + square) ** 1.5).astype(np.float32)
    return (np.minimum(light, 1.0) * 255).astype(np.uint8)


def _shrunk(pixels: np.ndarray) -> tuple:
    """The map and its copies averaged over 4, 16 and 64 rows, since a far pixel covers metres of road."""
    levels = [(pixels, 1, 1)]
    for along, across in ((4, 1), (16, 1), (64, 2)):
        rows, cols = max(pixels.shape[0] // along, 1), pixels.shape[1] // across
        levels.append((cv2.resize(pixels, (cols, rows), interpolation=cv2.INTER_AREA), along, across))
    return tuple(levels)
