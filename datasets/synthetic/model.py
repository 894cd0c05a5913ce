"""Shapes of which things are made, in the thing's own frame: x ahead, y left, z up from the ground beneath it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import cv2
import numpy as np

Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Mesh:
    """Flat faces, drawn in order; faces turned away are skipped. A convex body needs no depth test.

    vertices float64 [V, 3]; faces: index arrays; normals and colours [F, 3]; glow: light of its own [F]; decal [F]:
    lies on an earlier face, so it does not alter the silhouette; min_px [F]: left out when the thing is smaller;
    anchors [F, 3]: the faces' middles; centre [3].
    """

    vertices: np.ndarray
    faces: tuple[np.ndarray, ...]
    normals: np.ndarray
    anchors: np.ndarray
    colours: np.ndarray
    glow: np.ndarray
    decal: np.ndarray
    min_px: np.ndarray
    centre: np.ndarray


@dataclass(frozen=True)
class Panel:
    """A flat textured face: origin, unit axes to the texture's right and down, normal towards the reader, outline
    [N, 2] along the axes in metres, extent [2]: the rectangle from (0, 0) that the texture spans.

    texture: uint8 [rows, cols, 3]; glow: the like, its own light at night.
    """

    origin: np.ndarray
    right: np.ndarray
    down: np.ndarray
    normal: np.ndarray
    outline: np.ndarray
    extent: np.ndarray
    texture: np.ndarray
    glow: np.ndarray | None = None

    @cached_property
    def levels(self) -> list[np.ndarray]:
        """The texture and its halves."""
        return shrink(self.texture)

    @cached_property
    def tone(self) -> np.ndarray:
        """float64 [3]: the texture's mean colour, 0 to 1."""
        return self.levels[-1].reshape(-1, 3).mean(axis=0) / 255

    @cached_property
    def glow_levels(self) -> list[np.ndarray]:
        """The glow and its halves."""
        assert self.glow is not None
        return shrink(self.glow)


@dataclass(frozen=True)
class Sprite:
    """A cut-out that faces the camera and stands on the ground: foliage. levels: uint8 [h, w, 4], and its halves."""

    levels: list[np.ndarray]
    width: float
    height: float


@dataclass(frozen=True)
class Tubes:
    """Tapered capsules: start, end [N, 3], radii [N, 2], colours [N, 3]; rings: wheels, (centre, radius, colour)."""

    start: np.ndarray
    end: np.ndarray
    radii: np.ndarray
    colours: np.ndarray
    rings: tuple[tuple[np.ndarray, float, Colour], ...] = ()


@dataclass(frozen=True)
class Glow:
    """A lamp: where [3], colour, radius of its halo in metres, direction it shines to (None: all around)."""

    at: np.ndarray
    colour: Colour
    radius: float
    direction: np.ndarray | None = None


@dataclass(frozen=True)
class Model:
    """All shapes of a thing, drawn in this order; a tuple among the parts is drawn from its farthest to its nearest."""

    parts: tuple
    glows: tuple[Glow, ...] = ()


@dataclass
class MeshBuilder:
    """Collects faces; `inside` is a point within the body, from which every face is turned away."""

    inside: Sequence[float] = (0, 0, 0.5)
    vertices: list = field(default_factory=list)
    rows: list = field(default_factory=list)

    def poly(self, points, colour: Colour, decal: bool = False, min_px: float = 0, glow: float = 0) -> None:
        """Adds a flat face with these corners [N, 3], in either turning direction."""
        start = len(self.vertices)
        self.vertices.extend(points)
        self.rows.append((start, len(self.vertices), tuple(self.inside), colour, glow, decal, min_px))

    def box(self, low, high, colour: Colour, top: Colour | None = None, min_px: float = 0) -> None:
        """Adds the six faces of an upright box, turned away from the box's own middle."""
        keep, self.inside = self.inside, (np.asarray(low, float) + np.asarray(high, float)) / 2
        (x0, y0, z0), (x1, y1, z1) = low, high
        for x in (x0, x1):
            self.poly([(x, y0, z0), (x, y1, z0), (x, y1, z1), (x, y0, z1)], colour, min_px=min_px)
        for y in (y0, y1):
            self.poly([(x0, y, z0), (x1, y, z0), (x1, y, z1), (x0, y, z1)], colour, min_px=min_px)
        for z in (z0, z1):
            self.poly([(x0, y0, z), (x1, y0, z), (x1, y1, z), (x0, y1, z)], top or colour, min_px=min_px)
        self.inside = keep

    def disc(
        self,
        centre,
        radius: float,
        colour: Colour,
        corners: int = 12,
        decal: bool = True,
        min_px: float = 0,
        z_from: float = -9.0,
    ) -> None:
        """Adds an upright disc in the x-z plane, such as a wheel seen from the side, cut off below z_from."""
        angle = np.arange(corners) * 2 * np.pi / corners + np.pi / corners
        x, z = centre[0] + radius * np.cos(angle), np.maximum(centre[2] + radius * np.sin(angle), z_from)
        self.poly(np.stack([x, np.full(corners, centre[1]), z], axis=1), colour, decal, min_px)

    def build(self) -> Mesh:
        """The mesh."""
        start, end, inside, colours, glow, decal, min_px = zip(*self.rows, strict=True)
        vertices, first, count = np.array(self.vertices, float), np.array(start), np.array(end) - np.array(start)
        anchors = np.add.reduceat(vertices, first) / count[:, None]
        a, b = vertices[first + 1] - vertices[first], vertices[first + 2] - vertices[first]
        normals = a[:, [1, 2, 0]] * b[:, [2, 0, 1]] - a[:, [2, 0, 1]] * b[:, [1, 2, 0]]
        normals /= np.linalg.norm(normals, axis=1, keepdims=True) + 1e-12
        normals *= np.where(((anchors - np.array(inside)) * normals).sum(axis=1) < 0, -1.0, 1.0)[:, None]
        faces = tuple(np.arange(i, j) for i, j in zip(start, end, strict=True))
        return Mesh(
            vertices,
            faces,
            normals,
            anchors,
            np.array(colours, float),
            np.array(glow, float),
            np.array(decal, bool),
            np.array(min_px, float),
            vertices.mean(axis=0),
        )


def tubes(rows, rings=()) -> Tubes:
    """Tubes from rows of (start, end, radius at start, radius at end, colour)."""
    start, end, r0, r1, colours = zip(*rows, strict=True)
    return Tubes(
        np.array(start, float),
        np.array(end, float),
        np.array([r0, r1], float).T,
        np.array(colours, float),
        tuple(rings),
    )


def panel(origin, right, down, outline: np.ndarray, texture: np.ndarray, glow: np.ndarray | None = None) -> Panel:
    """A panel; its normal and extent follow from the axes and the outline."""
    origin, right, down = (np.array(v, float) for v in (origin, right, down))
    return Panel(origin, right, down, -np.cross(right, down), outline, outline.max(axis=0), texture, glow)


def shrink(texture: np.ndarray) -> list[np.ndarray]:
    """The texture and its halves, for what is far away."""
    levels = [texture]
    while min(levels[-1].shape[:2]) > 12:
        rows, cols = levels[-1].shape[:2]
        levels.append(cv2.resize(levels[-1], (cols // 2, rows // 2), interpolation=cv2.INTER_AREA))
    return levels
