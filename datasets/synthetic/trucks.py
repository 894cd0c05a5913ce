"""Box trucks and semi-trailers, of the same stuff as cars."""

from functools import cache

import numpy as np

from .model import Glow, MeshBuilder, Model
from .rng import stream
from .vehicles import ARCH, DARK, GLASS, HEAD, PLATE, RIM, TAIL, TYRE, paint

TRUCKS = 64  # how many different ones there are


@cache
def truck(variant: int, long: bool) -> tuple[tuple[float, float, float], Model]:
    """A box truck, or a tractor with its semi-trailer: (length, width, height) and model. Kept like cars."""
    rng = stream("truck", variant, int(long))
    length = rng.uniform(13.5, 16.0) if long else rng.uniform(6.2, 8.8)
    width, height = rng.uniform(2.35, 2.55), (rng.uniform(3.7, 4.0) if long else rng.uniform(2.9, 3.5))
    cab_l = 2.2 if long else 1.9
    cab_h = height * (0.90 if long else 0.80)
    cab_colour, box_colour = paint(rng), _box_colour(rng)
    front, rear, half = length / 2, -length / 2, width / 2
    cargo = _cargo(rear, front - cab_l - (0.6 if long else 0.15), half, height, box_colour, rng)
    cab = _cab(front, cab_l, half * 0.97, cab_h, cab_colour)
    chassis = MeshBuilder((0, 0, 0.7))
    chassis.box((rear + 0.3, -half + 0.3, 0.45), (front - 0.3, half - 0.3, 1.05), ARCH)
    glows = []
    for side in (-1, 1):
        glows.append(Glow(np.array([front, side * 0.75 * half, 0.75]), (1.0, 0.97, 0.88), 0.55, np.array([1.0, 0, 0])))
        glows.append(Glow(np.array([rear, side * 0.8 * half, 0.95]), (0.9, 0.08, 0.06), 0.28, np.array([-1.0, 0, 0])))
    return (float(length), float(width), float(height)), Model((chassis.build(), (cargo, cab)), tuple(glows))


def _box_colour(rng: np.random.Generator):
    if rng.random() < 0.5:
        return tuple(np.array([0.86, 0.87, 0.88]) * rng.uniform(0.85, 1.0))
    return tuple(np.clip(np.array(paint(rng)) * 1.1 + 0.08, 0, 0.95))


def _cargo(rear, front, half, height, colour, rng):
    """The load box with its doors, stripe, side guards, wheels and rear lamps."""
    mesh = MeshBuilder(((rear + front) / 2, 0, height * 0.6))
    for x in (rear + 1.0, rear + 2.25) + ((rear + 3.5, front - 0.6) if front - rear > 8 else ()):
        _truck_wheel(mesh, x, half)
    mesh.box((rear, -half, 1.02), (front, half, height), colour)
    stripe, accent = rng.uniform(0.35, 0.75) * height, paint(rng)
    frame = tuple(0.72 * c for c in colour)
    for side in (-1, 1):
        y = side * (half + 0.004)
        mesh.poly([(rear, y, 0.98), (front, y, 0.98), (front, y, 1.16), (rear, y, 1.16)], frame, True, 12)
        mesh.poly(
            [
                (rear + 1.2, y, stripe),
                (front - 0.8, y, stripe),
                (front - 0.8, y, stripe + 0.5),
                (rear + 1.2, y, stripe + 0.5),
            ],
            accent,
            True,
            16,
        )
        mesh.poly(
            [(rear + 4.5, y, 0.5), (front - 0.5, y, 0.5), (front - 0.5, y, 0.9), (rear + 4.5, y, 0.9)],
            (0.25, 0.25, 0.27),
            True,
            30,
        )
    x = rear - 0.004
    for y0, y1 in ((-half + 0.07, -0.03), (0.03, half - 0.07)):
        mesh.poly(
            [(x, y0, 1.2), (x, y1, 1.2), (x, y1, height - 0.1), (x, y0, height - 0.1)],
            tuple(0.93 * c for c in colour),
            True,
            14,
        )
    for y in (-0.22, 0.22):
        mesh.poly(
            [(x, y - 0.02, 1.2), (x, y + 0.02, 1.2), (x, y + 0.02, height - 0.1), (x, y - 0.02, height - 0.1)],
            (0.4, 0.4, 0.42),
            True,
            40,
        )
    mesh.poly([(x, -half, 0.55), (x, half, 0.55), (x, half, 1.08), (x, -half, 1.08)], DARK)
    for side in (-1, 1):
        mesh.poly(
            [
                (x - 0.01, side * (half - 0.08), 0.85),
                (x - 0.01, side * (half - 0.55), 0.85),
                (x - 0.01, side * (half - 0.55), 1.02),
                (x - 0.01, side * (half - 0.08), 1.02),
            ],
            TAIL,
            True,
            8,
            0.6,
        )
    mesh.poly(
        [(x - 0.01, -0.26, 0.66), (x - 0.01, 0.26, 0.66), (x - 0.01, 0.26, 0.78), (x - 0.01, -0.26, 0.78)],
        PLATE,
        True,
        30,
    )
    return mesh.build()


def _truck_wheel(mesh: MeshBuilder, x: float, half: float) -> None:
    for side in (-1, 1):
        y = side * (half - 0.03)
        low, high = sorted((y, y - side * 0.5))
        mesh.box((x - 0.38, low, 0.0), (x + 0.38, high, 0.75), TYRE)
        mesh.disc((x, y + side * 0.01, 0.48), 0.48, TYRE, 14, decal=False)
        mesh.disc((x, y + side * 0.02, 0.48), 0.26, RIM, 10, min_px=24)


def _cab(front, cab_l, half, height, colour):
    """The driver's cab: windscreen, side windows, grille, lamps, mirrors."""
    mesh = MeshBuilder((front - cab_l / 2, 0, height / 2))
    _truck_wheel(mesh, front - 1.1, half)
    rear = front - cab_l
    top, lean = front - 0.28, height * 0.52
    for side in (-1, 1):
        y = side * half
        mesh.poly([(rear, y, 0.55), (front, y, 0.55), (front, y, lean), (top, y, height), (rear, y, height)], colour)
        mesh.poly(
            [
                (front - 1.25, y * 1.003, lean),
                (front - 0.15, y * 1.003, lean),
                (top - 0.02, y * 1.003, height * 0.82),
                (front - 1.25, y * 1.003, height * 0.82),
            ],
            GLASS,
            True,
            10,
        )
        mesh.disc((front - 1.1, y * 1.002, 0.5), 0.60, ARCH, 12, z_from=0.5)
        mesh.disc((front - 1.1, y * 1.006, 0.48), 0.48, TYRE, 12, decal=False)
        mesh.disc((front - 1.1, y * 1.008, 0.48), 0.24, RIM, 10, min_px=24)
    mesh.poly([(front, -half, 0.4), (front, half, 0.4), (front, half, lean), (front, -half, lean)], colour)
    screen = np.array([(front, -half, lean), (front, half, lean), (top, half, height), (top, -half, height)])
    mesh.poly(screen, colour)
    pane = screen.copy()
    pane[2:] = screen[:2][::-1] + (screen[2:] - screen[:2][::-1]) * 0.72
    pane[:, 1] *= 0.92
    pane[:, 0] += 0.005
    mesh.poly(pane, GLASS, True, 5)
    mesh.poly([(rear, -half, 0.55), (rear, half, 0.55), (rear, half, height), (rear, -half, height)], colour)
    mesh.poly([(rear, -half, height), (rear, half, height), (top, half, height), (top, -half, height)], colour)
    x = front + 0.005
    for low, high, share, tone in ((0.4, 0.62, 0.98, DARK), (lean * 0.55, lean * 0.9, 0.62, DARK)):
        mesh.poly(
            [(x, -half * share, low), (x, half * share, low), (x, half * share, high), (x, -half * share, high)],
            tone,
            True,
            12,
        )
    for side in (-1, 1):
        mesh.poly(
            [
                (x + 0.003, side * half * 0.62, 0.64),
                (x + 0.003, side * half * 0.95, 0.64),
                (x + 0.003, side * half * 0.95, 0.86),
                (x + 0.003, side * half * 0.62, 0.86),
            ],
            HEAD,
            True,
            8,
            1.0,
        )
        y0, y1 = sorted((side * (half + 0.03), side * (half + 0.25)))
        mesh.box((front - 0.15, y0, lean + 0.1), (front - 0.05, y1, height * 0.8), DARK, min_px=30)
    return mesh.build()
