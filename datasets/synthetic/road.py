"""The road: its centreline in the world and what lies across it.

Road coordinates: s metres along the centreline, d metres to its left.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .rng import stream

BEHIND_M = 90.0  # how far the road reaches behind the start
AHEAD_M = 340.0  # and beyond where the ego ends up


@dataclass(frozen=True)
class Band:
    """A strip along the road from `right` to `left` (d, metres): asphalt, kerb, slabs, grass, field or gravel."""

    right: float
    left: float
    material: str


@dataclass(frozen=True)
class Line:
    """A painted line at d, `width` wide; dash and gap in metres, gap 0 for a solid line."""

    d: float
    width: float
    dash: float = 3.0
    gap: float = 0.0
    colour: str = "white"


@dataclass(frozen=True)
class Junction:
    """A side street across the road, centred on s."""

    s: float
    half_width: float
    pavement: float
    signals: bool


@dataclass(frozen=True)
class Profile:
    """What lies across the road, from right to left.

    lane_centres: (d, direction) per lane, direction +1 along the ego's way. Edges: where the kerbs are.
    """

    place: str
    bands: tuple[Band, ...]
    lines: tuple[Line, ...]
    lane_centres: tuple[tuple[float, int], ...]
    right_edge: float
    left_edge: float
    front_right: float  # where buildings or open land begin
    front_left: float
    parking_right: float | None = None
    parking_left: float | None = None


class Road:
    """A centreline with gently changing curvature over s in [-BEHIND_M, travel + AHEAD_M]."""

    def __init__(self, key: int, travel: float, sharpness: float):
        """sharpness: about the largest curvature, 1/m."""
        self.s = np.arange(-BEHIND_M, travel + AHEAD_M + 1.0, 1.0)
        rng = stream(key, "road")
        curvature = sum(
            amplitude * np.sin(2 * np.pi * (self.s / period + rng.random()))
            for amplitude, period in ((0.55 * sharpness, 420.0), (0.45 * sharpness, 230.0))
        )
        self.curvature = curvature * rng.uniform(0.15, 1.0)
        start = int(np.searchsorted(self.s, 0.0))
        self.heading = np.cumsum(self.curvature)
        self.heading -= self.heading[start]
        x, y = np.cumsum(np.cos(self.heading)), np.cumsum(np.sin(self.heading))
        self.x, self.y = x - x[start], y - y[start]

    def to_world(self, s, d):
        """Road coordinates (scalars or arrays) to world x, y and the road's heading there."""
        heading = np.interp(s, self.s, self.heading)
        x = np.interp(s, self.s, self.x) - d * np.sin(heading)
        y = np.interp(s, self.s, self.y) + d * np.cos(heading)
        return x, y, heading

    def seen_from(self, s_ref: float) -> tuple[np.ndarray, tuple[float, float, float]]:
        """The centreline as a function of the distance ahead of the road's own frame at s_ref.

        Returns float32 [1, N, 4] with a column per metre of x in [-BEHIND_M, AHEAD_M]: s - s_ref - x, y, sine of the
        heading, curvature; and that frame (x, y, heading) in the world.
        """
        x0, y0, heading0 = (float(v) for v in self.to_world(s_ref, 0.0))
        c, s = np.cos(heading0), np.sin(heading0)
        ahead = c * (self.x - x0) + s * (self.y - y0)
        left = -s * (self.x - x0) + c * (self.y - y0)
        grid = self.table_x
        s_at = np.interp(grid, ahead, self.s)
        columns = (
            s_at - s_ref - grid,
            np.interp(s_at, self.s, left),
            np.sin(np.interp(s_at, self.s, self.heading) - heading0),
            np.interp(s_at, self.s, self.curvature),
        )
        return np.stack(columns, axis=-1).astype(np.float32)[None], (x0, y0, heading0)

    @cached_property
    def table_x(self) -> np.ndarray:
        """float64 [N]: the columns of `seen_from`, metres ahead."""
        return np.arange(-BEHIND_M, AHEAD_M + 1.0, 1.0)


def urban_profile(rng: np.random.Generator) -> Profile:
    """A street between house fronts: one or two lanes each way, often with parking, kerbs and wide pavements."""
    lanes = int(rng.choice([1, 1, 2]))
    lane, parking = rng.uniform(3.1, 3.5), 2.2
    right_parking, left_parking = rng.random() < 0.6, rng.random() < 0.5
    right = lanes * lane + (parking if right_parking else 0.3)
    left = lanes * lane + (parking if left_parking else 0.3)
    pave_right, pave_left = rng.uniform(2.8, 4.5), rng.uniform(2.8, 4.5)
    bands = (
        Band(-110, -right - pave_right, "gravel"),
        Band(-right - pave_right, -right - 0.18, "slabs"),
        Band(-right - 0.18, -right, "kerb"),
        Band(-right, left, "asphalt"),
        Band(left, left + 0.18, "kerb"),
        Band(left + 0.18, left + pave_left, "slabs"),
        Band(left + pave_left, 110, "gravel"),
    )
    lines = list(_dividers(lanes, lanes, lane, rng, edges=not (right_parking or left_parking)))
    if right_parking:
        lines.append(Line(-lanes * lane, 0.1, 1.2, 1.2))
    if left_parking:
        lines.append(Line(lanes * lane, 0.1, 1.2, 1.2))
    return Profile(
        "urban",
        bands,
        tuple(lines),
        _lane_centres(lanes, lanes, lane, 0.0),
        -right,
        left,
        -right - pave_right,
        left + pave_left,
        -lanes * lane - 1.1 if right_parking else None,
        lanes * lane + 1.1 if left_parking else None,
    )


def suburban_profile(rng: np.random.Generator) -> Profile:
    """A quiet road: one lane each way, grass between kerb and pavement, houses set back behind gardens."""
    lane, verge, pave = rng.uniform(3.0, 3.5), rng.uniform(0.8, 2.0), rng.uniform(1.6, 2.2)
    parking = rng.random() < 0.5
    right, left = lane + (2.0 if parking else 0.25), lane + 0.25
    bands = [
        Band(-110, -right - verge - pave, "grass"),
        Band(-right, left, "asphalt"),
        Band(left + verge + pave, 110, "grass"),
    ]
    for edge, sign in ((right, -1), (left, 1)):
        for near, far, material in ((0, 0.16, "kerb"), (0.16, verge, "grass"), (verge, verge + pave, "slabs")):
            a, b = sorted((sign * (edge + near), sign * (edge + far)))
            bands.append(Band(a, b, material))
    lines = list(_dividers(1, 1, lane, rng)) if rng.random() < 0.75 else []
    return Profile(
        "suburban",
        tuple(bands),
        tuple(lines),
        _lane_centres(1, 1, lane, 0.0),
        -right,
        left,
        -right - verge - pave,
        left + verge + pave,
        -lane - 1.0 if parking else None,
        None,
    )


def highway_profile(rng: np.random.Generator) -> Profile:
    """Two carriageways with hard shoulders and a planted median."""
    lanes, lane = int(rng.choice([2, 2, 3])), 3.6
    median, hard, inner = rng.uniform(3.0, 5.0) / 2, 2.6, 0.7
    outer = median + inner + lanes * lane + hard
    bands = (
        Band(-110, -outer - 1.0, "field"),
        Band(-outer - 1.0, -outer, "gravel"),
        Band(-outer, -median, "asphalt"),
        Band(-median, median, "grass"),
        Band(median, outer, "asphalt"),
        Band(outer, outer + 1.0, "gravel"),
        Band(outer + 1.0, 110, "field"),
    )
    lines, yellow = [], rng.random() < 0.3
    for sign in (-1, 1):
        first = median + inner
        lines.append(Line(sign * first, 0.2, colour="yellow" if yellow else "white"))
        lines += [Line(sign * (first + lane * i), 0.15, 6.0, 9.0) for i in range(1, lanes)]
        lines.append(Line(sign * (first + lane * lanes), 0.25))
    return Profile(
        "highway",
        bands,
        tuple(lines),
        _lane_centres(lanes, lanes, lane, median + inner),
        -outer,
        outer,
        -outer - 4.0,
        outer + 4.0,
    )


def _lane_centres(right: int, left: int, lane: float, offset: float) -> tuple[tuple[float, int], ...]:
    ours = [(-(offset + lane * (i + 0.5)), 1) for i in range(right)]
    theirs = [(offset + lane * (i + 0.5), -1) for i in range(left)]
    return tuple(ours + theirs)


def _dividers(right: int, left: int, lane: float, rng: np.random.Generator, edges: bool = True):
    """The centre line (dashed, solid or double) and the lines between lanes of the same direction."""
    style, colour = rng.random(), "yellow" if rng.random() < 0.25 else "white"
    if right > 1 or style < 0.2:
        yield Line(0.12, 0.12, colour=colour)
        yield Line(-0.12, 0.12, colour=colour)
    elif style < 0.35:
        yield Line(0.0, 0.14, colour=colour)
    else:
        yield Line(0.0, 0.14, 3.0, 3.0 if style < 0.7 else 6.0, colour)
    for count, sign in ((right, -1), (left, 1)):
        for i in range(1, count):
            yield Line(sign * lane * i, 0.13, 3.0, 4.0)
    for count, sign in ((right, -1), (left, 1)):
        if edges and style > 0.5:
            yield Line(sign * (lane * count - 0.12), 0.12)


PROFILES = {"urban": urban_profile, "suburban": suburban_profile, "highway": highway_profile}
