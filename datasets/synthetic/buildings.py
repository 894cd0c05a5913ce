"""House fronts as textures, houses as boxes of panels with roofs."""

from functools import cache

import numpy as np

from . import noise
from .model import MeshBuilder, Model, Panel, panel
from .rng import stream

PX_PER_M = 14
TOWN_HOUSES, FAMILY_HOUSES = 72, 56  # how many different ones there are
_PLASTER = (
    (206, 196, 176),
    (188, 172, 148),
    (214, 210, 202),
    (176, 160, 142),
    (198, 178, 140),
    (168, 174, 178),
    (190, 150, 128),
    (150, 146, 140),
)
_BRICK = ((146, 88, 70), (128, 78, 64), (162, 108, 84), (118, 84, 74))
_ROOF = ((0.48, 0.26, 0.20), (0.34, 0.24, 0.21), (0.27, 0.28, 0.30), (0.42, 0.32, 0.26))
_LIT = np.array(((255, 206, 128), (255, 224, 168), (236, 232, 214), (255, 186, 104)), np.float32)


class Facade:
    """One front being drawn: texture uint8 [rows, cols, 3] and, for the night, the light of its windows."""

    def __init__(self, width: float, height: float, base, rng: np.random.Generator):
        self.rng = rng
        shape = (max(int(height * PX_PER_M), 8), max(int(width * PX_PER_M), 8))
        self.pixels = np.empty((*shape, 3), np.uint8)
        self.pixels[:] = base
        self.glow: np.ndarray | None = np.zeros((*shape, 3), np.uint8)

    def fill(self, x: float, y: float, w: float, h: float, colour, glow=None) -> None:
        """Paints a rectangle given in metres from the top left corner."""
        a, b = (round(v * PX_PER_M) for v in (x, y))
        c, d = (max(round(v * PX_PER_M), u + 1) for v, u in ((x + w, a), (y + h, b)))
        where = (slice(max(b, 0), d), slice(max(a, 0), c))
        self.pixels[where] = colour
        if glow is not None:
            assert self.glow is not None
            self.glow[where] = glow

    def weather(self) -> None:
        """Stains and unevenness over everything painted so far; darker towards the ground."""
        rows, cols = self.pixels.shape[:2]
        stain = noise.patch("broad", rows, cols, self.rng, (3.0, 2.0))
        fade = 1 - 0.10 * np.linspace(0, 1, rows, dtype=np.float32)[:, None] ** 4
        factor = ((1 + 0.035 * stain) * fade)[..., None]
        self.pixels = np.clip(self.pixels * factor, 0, 255).astype(np.uint8)

    def window(self, x: float, y: float, w: float, h: float, frame, sill: bool) -> None:
        """A window with frame, cross bars, curtains or reflection, and perhaps a lamp behind it."""
        rng = self.rng
        lit = rng.random() < 0.34
        glow = _LIT[rng.integers(len(_LIT))] * rng.uniform(0.45, 0.85) if lit else None
        self.fill(x - 0.09, y - 0.09, w + 0.18, h + 0.18, frame)
        pane = np.array((52, 62, 74)) * rng.uniform(0.7, 1.35)
        self.fill(x, y, w, h, pane, glow)
        self.fill(x, y, w, h * 0.38, np.minimum(pane * 1.55 + 18, 255), None if glow is None else glow * 0.9)
        if rng.random() < 0.35:
            self.fill(x, y, w, h * rng.uniform(0.2, 0.7), (196, 190, 178), None if glow is None else glow * 0.7)
        if w > 0.8:
            self.fill(x + w / 2 - 0.035, y, 0.07, h, frame, 0)
        if sill:
            self.fill(x - 0.16, y + h + 0.06, w + 0.32, 0.12, np.array(self.pixels[0, 0]) * 0.8)


def street_front(width: float, floors: int, rng: np.random.Generator, style: str) -> Facade:
    """A front of a town house: shop or door at street level, rows of windows, cornice."""
    brick = style == "brick"
    base = np.array((_BRICK if brick else _PLASTER)[rng.integers(len(_BRICK if brick else _PLASTER))])
    height = floors * 3.1 + 1.2
    front = Facade(width, height, np.clip(base * rng.uniform(0.85, 1.1), 0, 255), rng)
    if brick:
        front.pixels[::3] = (front.pixels[::3] * 0.88).astype(np.uint8)
    frame = (226, 224, 218) if rng.random() < 0.7 else (84, 66, 52)
    bay = rng.uniform(2.1, 3.0)
    count = max(int(width / bay), 1)
    bay, w, h = width / count, rng.uniform(0.95, 1.4), rng.uniform(1.35, 1.8)
    for floor in range(1, floors):
        top = 0.9 + (floors - 1 - floor) * 3.1 + 0.7
        balconies = rng.random() < 0.25
        for i in range(count):
            front.window((i + 0.5) * bay - w / 2, top, w, h, frame, sill=not balconies)
            if balconies and i % 2:
                front.fill((i + 0.5) * bay - 1.0, top + h * 0.72, 2.0, 0.9, base * 0.72)
    front.fill(0, 0, width, 0.28, base * 0.74)
    front.fill(0, 0.28, width, 0.18, np.minimum(base * 1.12, 255))
    front.weather()
    _street_level(front, width, height, count, bay, base, rng)
    return front


def _street_level(front: Facade, width, height, count, bay, base, rng) -> None:
    """Shops with signs and large panes, or a plinth with a door and windows."""
    shop = rng.random() < 0.55
    y0 = height - 3.3
    if not shop:
        front.fill(0, height - 0.7, width, 0.7, base * 0.62)
        door = int(rng.integers(count))
        for i in range(count):
            if i == door:
                front.fill((i + 0.5) * bay - 0.7, height - 2.5, 1.4, 2.5, (206, 200, 190))
                front.fill((i + 0.5) * bay - 0.55, height - 2.35, 1.1, 2.35, rng.integers(30, 110, 3))
            else:
                front.window((i + 0.5) * bay - 0.6, height - 2.55, 1.2, 1.5, (216, 214, 208), True)
        return
    front.fill(0, y0, width, 3.3, base * 0.78)
    front.fill(0.15, y0 + 0.1, width - 0.3, 0.75, rng.integers(30, 190, 3), rng.integers(40, 170, 3))
    text = np.array((235, 232, 225))
    at = width * rng.uniform(0.15, 0.4)
    for _ in range(int(rng.integers(4, 9))):
        step = rng.uniform(0.22, 0.4)
        front.fill(at, y0 + 0.28, step * 0.7, 0.38, text, text * 0.8)
        at += step
    for i in range(count):
        x, glow = i * bay + 0.2, np.array((255, 236, 200)) * rng.uniform(0.35, 0.8)
        front.fill(x, y0 + 1.05, bay - 0.4, 2.1, np.array((70, 78, 86)) * rng.uniform(0.7, 1.3), glow)
        for _ in range(4):
            w, h = rng.uniform(0.2, 0.6), rng.uniform(0.3, 0.9)
            u = x + rng.uniform(0, max(bay - 0.6 - w, 0.05))
            front.fill(u, y0 + 3.0 - h, w, h, rng.integers(50, 150) + rng.integers(-25, 25, 3), rng.integers(50, 130, 3))


def office_front(width: float, floors: int, rng: np.random.Generator) -> Facade:
    """A front of glass bands or a grid of panes."""
    base = np.array(((150, 154, 158), (120, 124, 130), (196, 196, 192), (96, 104, 112))[rng.integers(4)])
    height = floors * 3.4 + 0.8
    front = Facade(width, height, base, rng)
    glass = np.array(((70, 92, 110), (62, 80, 88), (84, 98, 118))[rng.integers(3)])
    columns = max(int(width / rng.uniform(1.3, 2.6)), 1)
    for floor in range(floors):
        y = 0.8 + floor * 3.4
        for i in range(columns):
            tone = rng.uniform(0.75, 1.3)
            lit = rng.random() < 0.4
            glow = np.array((232, 236, 226)) * rng.uniform(0.3, 0.75) if lit else None
            front.fill(i * width / columns + 0.08, y + 0.55, width / columns - 0.16, 2.5, glass * tone, glow)
    front.weather()
    return front


def house_front(width: float, floors: int, rng: np.random.Generator, base) -> Facade:
    """A front of a family house: few windows with shutters, a door, perhaps a garage."""
    height = floors * 2.8 + 0.4
    front = Facade(width, height, base, rng)
    if rng.random() < 0.3:
        front.pixels[::3] = (front.pixels[::3] * 0.9).astype(np.uint8)
    front.weather()
    count = max(int(width / 3.0), 2)
    shutters = rng.integers(40, 120, 3) if rng.random() < 0.4 else None
    special = rng.permutation(count)[:2]
    for floor in range(floors):
        y = 0.75 + floor * 2.8
        ground = floor == floors - 1
        for i in range(count):
            x = (i + 0.5) * width / count
            if ground and i == special[0]:
                front.fill(x - 0.55, height - 2.15, 1.1, 2.15, rng.integers(50, 130, 3))
            elif ground and i == special[1] and width > 8:
                front.fill(x - 1.2, height - 2.2, 2.4, 2.2, (212, 210, 204))
                for k in range(4):
                    front.fill(x - 1.15, height - 2.1 + 0.52 * k, 2.3, 0.44, (192, 190, 186))
            else:
                if shutters is not None:
                    front.fill(x - 1.05, y, 2.1, 1.35, shutters)
                front.window(x - 0.6, y, 1.2, 1.3, (232, 230, 226), True)
    return front


def _walls(length: float, width: float, height: float, fronts) -> list[Panel]:
    """Four panels around a footprint; fronts cycle over the street, the sides and the back."""
    corners = np.array([(1, -1), (1, 1), (-1, 1), (-1, -1)]) * (length / 2, width / 2)
    panels = []
    for i in range(4):
        # Seen from outside the texture runs to the right, which is the way around the house.
        a, b = corners[i], corners[(i + 1) % 4]
        run = np.linalg.norm(b - a)
        right = np.append((b - a) / run, 0.0)
        front = fronts[0] if abs(run - length) < abs(run - width) or length == width else fronts[1]
        panels.append(
            panel(
                [*a, height],
                right,
                (0, 0, -1.0),
                np.array([(0, 0), (run, 0), (run, height), (0, height)]),
                front.pixels,
                front.glow,
            )
        )
    return panels


@cache
def town_house(variant: int) -> tuple[tuple[float, float, float], Model]:
    """Town house number `variant`: its (length along the street, depth, height) and model. Kept for all scenes."""
    rng = stream("town house", variant)
    length, width = float(rng.uniform(9, 21)), float(rng.uniform(10, 13))
    office = rng.random() < 0.22
    floors = int(rng.integers(4, 9)) if office else int(rng.integers(2, 6))
    if office:
        fronts = [office_front(length, floors, rng), office_front(width, floors, rng)]
    else:
        style = "brick" if rng.random() < 0.4 else "plaster"
        key = int(rng.integers(1 << 40))
        fronts = [street_front(run, floors, np.random.Generator(np.random.Philox(key=key)), style) for run in (length, width)]
    height = fronts[0].pixels.shape[0] / PX_PER_M
    parts = [*_walls(length, width, height, fronts)]
    if not office and rng.random() < 0.6:
        parts.append(_roof(length, width, height, rng.uniform(1.8, 3.2), _ROOF[rng.integers(4)], hip=True))
    return (length, width, height), Model(tuple(parts))


@cache
def family_house(variant: int) -> tuple[tuple[float, float, float], Model]:
    """House number `variant` with a gabled roof and a chimney: (length, depth, height of the ridge) and model."""
    rng = stream("family house", variant)
    length, width = float(rng.uniform(8.5, 14)), float(rng.uniform(7.5, 9.5))
    floors = int(rng.choice([1, 2, 2]))
    options = _PLASTER if rng.random() < 0.65 else _BRICK
    base = np.clip(np.array(options[rng.integers(len(options))]) * rng.uniform(0.9, 1.15), 0, 255)
    fronts = [house_front(length, floors, rng, base), house_front(width, floors, rng, base)]
    height, rise = floors * 2.8 + 0.4, width * rng.uniform(0.28, 0.42)
    colour = _ROOF[rng.integers(4)]
    roof = _roof(length, width, height, rise, colour, gable=tuple(base / 255))
    chimney = MeshBuilder((length * 0.2, 0, height + rise))
    chimney.box(
        (length * 0.2 - 0.3, -0.6, height + rise * 0.5),
        (length * 0.2 + 0.3, 0.0, height + rise + 0.7),
        (0.45, 0.30, 0.26),
        min_px=30,
    )
    return (length, width, height + rise), Model((*_walls(length, width, height, fronts), chimney.build(), roof))


def _roof(length, width, height, rise, colour, hip: bool = False, gable=None):
    """Two slopes along the length; the ends are hipped or gabled. Rows of tiles are laid on as decals."""
    x, y, z, over = length / 2, width / 2, height, 0.35
    ridge = x - (y if hip and x > y else 0.3) if hip else x + over
    mesh = MeshBuilder((0, 0, height - 4))
    if gable is not None:
        for side in (-1, 1):
            mesh.poly([(side * x, -y, z), (side * x, y, z), (side * x, 0, z + rise)], gable)
    eave = z - over * rise / y
    for side in (-1, 1):
        low_a, low_b = np.array([x + over, side * (y + over), eave]), np.array([-x - over, side * (y + over), eave])
        high_a, high_b = np.array([ridge, 0, z + rise]), np.array([-ridge, 0, z + rise])
        mesh.poly([low_a, low_b, high_b, high_a], colour)
        for row in np.arange(0.12, 0.95, 0.16):
            a, b = low_a + row * (high_a - low_a), low_b + row * (high_b - low_b)
            c, d = low_b + (row + 0.05) * (high_b - low_b), low_a + (row + 0.05) * (high_a - low_a)
            mesh.poly([a, b, c, d], tuple(0.87 * v for v in colour), True, 90)
        if hip:
            mesh.poly(
                [
                    (side * (x + over), -y - over, eave),
                    (side * (x + over), y + over, eave),
                    (side * ridge, 0, z + rise),
                ],
                tuple(0.94 * v for v in colour),
            )
    return mesh.build()


def noise_barrier(length: float, height: float, rng: np.random.Generator) -> Model:
    """A stretch of concrete and timber wall beside a motorway."""
    front = Facade(length, height, np.array((150, 146, 138)) * rng.uniform(0.85, 1.05), rng)
    for x in np.arange(0, length, 4.0):
        front.fill(x, 0, 0.25, height, (118, 116, 112))
    for y in np.arange(0.4, height, 0.5):
        front.fill(0, y, length, 0.08, front.pixels[0, -1] * 0.85)
    front.weather()
    return Model(tuple(_walls(length, 0.3, height, [front, front])))


def hedge_box(length: float, width: float, height: float, leaves: np.ndarray) -> Model:
    """A trimmed hedge; leaves: uint8 [rows, cols, 3] to cut its faces from."""

    def cut(run: float) -> Facade:
        front = Facade.__new__(Facade)
        cols, rows = max(int(run * 20), 4), max(int(height * 20), 4)
        front.pixels = np.ascontiguousarray(np.tile(leaves, (1, cols // leaves.shape[1] + 1, 1))[:rows, :cols])
        shade = np.linspace(1.1, 0.62, len(front.pixels))[:, None, None]
        front.pixels = np.clip(front.pixels * shade, 0, 255).astype(np.uint8)
        front.glow = None
        return front

    mesh = MeshBuilder((0, 0, 0))
    x, y = length / 2, width / 2
    tone = tuple(np.clip(leaves.reshape(-1, 3).mean(axis=0) / 255 * 1.12, 0, 1))
    mesh.poly([(-x, -y, height), (x, -y, height), (x, y, height), (-x, y, height)], tone)
    return Model((*_walls(length, width, height, [cut(length), cut(width)]), mesh.build()))
