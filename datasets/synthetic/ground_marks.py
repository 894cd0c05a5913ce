"""Paint and patches on the ground: lane lines, zebra crossings, stop lines, arrows, manholes, repairs."""

import cv2
import numpy as np

from .classes import PAVEMENT, ROAD

_PAINT = {"white": (214, 214, 208), "yellow": (208, 168, 58)}


def paint_marks(ground, scene, look, rng: np.random.Generator) -> None:
    """Draws every mark of the scene into the map's colours, and paint also into its fourth channel."""
    _repairs(ground, scene, rng)
    cover = np.zeros(ground.labels.shape, np.uint8)
    yellow = np.zeros(ground.labels.shape, np.uint8)
    for line in scene.profile.lines:
        _line(ground, yellow if line.colour == "yellow" else cover, line, scene)
    for zebra in scene.zebras:
        _zebra(ground, cover, zebra, scene.profile)
    for junction in scene.junctions:
        _side_street(ground, cover, junction, scene.profile)
    for s, d, direction in scene.arrows:
        _arrow(ground, cover, s, d, direction)
    _apply(ground, cover, _PAINT["white"], look, rng)
    _apply(ground, yellow, _PAINT["yellow"], look, rng)


def _apply(ground, cover: np.ndarray, paint, look, rng: np.random.Generator) -> None:
    """Blends paint over the road by its cover; worn paint lets the asphalt through, slush hides some of it."""
    where = np.nonzero(cover)
    share = cover[where].astype(np.float32) / 255
    worn = 0.90 - 0.22 * rng.random(len(share)).astype(np.float32) - 0.25 * float(look.snowy)
    worn = worn * (1 - 0.12 * look.wetness)
    blend = (share * worn)[:, None]
    colour = ground.pixels[where][:, :3]
    ground.pixels[where[0], where[1], :3] = colour + blend * (np.array(paint, np.float32) - colour)
    ground.pixels[where[0], where[1], 3] = np.maximum(ground.pixels[where][:, 3], cover[where])


def _quad(ground, cover: np.ndarray, s0: float, s1: float, d0: float, d1: float) -> None:
    cv2.fillConvexPoly(cover, ground.points([s0, s0, s1, s1], [d0, d1, d1, d0]), 255, cv2.LINE_AA, 4)


def _line(ground, cover: np.ndarray, line, scene) -> None:
    """One lane line, interrupted at junctions and crossings."""
    start, end = ground.s0, ground.s0 + ground.labels.shape[0] / ground.per_metre_s
    d0, d1 = line.d - line.width / 2, line.d + line.width / 2
    stops = sorted(
        [(j.s - j.half_width - 1, j.s + j.half_width + 1) for j in scene.junctions] + [(z - 2.4, z + 2.4) for z in scene.zebras]
    )
    if line.gap == 0:
        at = start
        for stop_from, stop_to in stops + [(end, end)]:
            if stop_from > at:
                _quad(ground, cover, at, stop_from, d0, d1)
            at = max(at, stop_to)
        return
    period = line.dash + line.gap
    for s in np.arange(np.floor(start / period) * period, end, period):
        if not any(a < s + line.dash and s < b for a, b in stops):
            _quad(ground, cover, s, s + line.dash, d0, d1)


def _zebra(ground, cover: np.ndarray, s: float, profile) -> None:
    for d in np.arange(profile.right_edge + 0.4, profile.left_edge - 0.4, 1.0):
        _quad(ground, cover, s - 1.7, s + 1.7, d, d + 0.5)


def _side_street(ground, cover: np.ndarray, junction, profile) -> None:
    """Stop lines before the junction and the side street's own centre line."""
    ours = [d for d, way in profile.lane_centres if way > 0]
    theirs = [d for d, way in profile.lane_centres if way < 0]
    if junction.signals:
        _quad(
            ground,
            cover,
            junction.s - junction.half_width - 5.6,
            junction.s - junction.half_width - 5.2,
            min(ours) - 1.5,
            max(ours) + 1.4,
        )
        _quad(
            ground,
            cover,
            junction.s + junction.half_width + 5.2,
            junction.s + junction.half_width + 5.6,
            min(theirs) - 1.4,
            max(theirs) + 1.5,
        )
    for edge, sign in ((profile.right_edge, -1), (profile.left_edge, 1)):
        for far in np.arange(5.0, 80.0, 6.0):
            a, b = sorted((edge + sign * far, edge + sign * (far + 3.0)))
            _quad(ground, cover, junction.s - 0.08, junction.s + 0.08, a, b)
        # Traffic keeps to the right, so who comes from the right meets the line on the far half.
        a, b = sorted((edge + sign * 3.2, edge + sign * 3.6))
        s0, s1 = sorted((junction.s, junction.s - sign * 0.95 * junction.half_width))
        _quad(ground, cover, s0, s1, a, b)


def _arrow(ground, cover: np.ndarray, s: float, d: float, direction: int) -> None:
    """A straight-on arrow, 4.5 m long."""
    s0, s1 = sorted((s, s + 3.0 * direction))
    _quad(ground, cover, s0, s1, d - 0.1, d + 0.1)
    tip = s + direction * np.array([3.0, 3.0, 4.5])
    cv2.fillConvexPoly(cover, ground.points(tip, d + np.array([-0.45, 0.45, 0.0])), 255, cv2.LINE_AA, 4)


def _repairs(ground, scene, rng: np.random.Generator) -> None:
    """Patches of newer asphalt, cracks sealed with tar, manhole covers."""
    right, left = scene.profile.right_edge, scene.profile.left_edge
    layer = np.full(ground.labels.shape, 128, np.uint8)
    for _ in range(int(rng.integers(4, 14))):
        s, d = rng.uniform(-30, 200), rng.uniform(right + 0.5, left - 2)
        size_s, size_d = rng.uniform(1, 9), rng.uniform(0.6, 1.8)
        corners = ground.points([s, s, s + size_s, s + size_s], [d, d + size_d, d + size_d, d])
        cv2.fillConvexPoly(layer, corners, int(rng.integers(104, 142)), cv2.LINE_AA, 4)
    for _ in range(int(rng.integers(3, 12))):
        s, d = rng.uniform(-30, 160), rng.uniform(right + 0.5, left - 0.5)
        steps = rng.normal(0, (1.2, 0.35), (8, 2)).cumsum(axis=0)
        path = ground.points(s + steps[:, 0] * rng.choice([1, 2]), d + steps[:, 1])
        cv2.polylines(layer, [path], False, int(rng.integers(84, 104)), 1, cv2.LINE_AA, 4)
    manholes = 0 if scene.profile.place == "highway" else int(rng.integers(3, 9))
    for s, d in rng.uniform((-20, right + 0.8), (160, left - 0.8), (manholes, 2)):
        angle = np.linspace(0, 2 * np.pi, 13)[:-1]
        for radius, tone in ((0.36, 96), (0.30, 78)):
            disc = ground.points(s + radius * np.cos(angle), d + radius * np.sin(angle))
            cv2.fillConvexPoly(layer, disc, tone, cv2.LINE_AA, 4)
    changed = (layer != 128) & ((ground.labels == ROAD) | (ground.labels == PAVEMENT))
    factor = layer[changed].astype(np.float32)[:, None] / 128
    ground.pixels[changed, :3] = np.minimum(ground.pixels[changed][:, :3] * factor, 255)
