"""Poles, signs, lamps and traffic lights."""

from functools import lru_cache

import cv2
import numpy as np

from .model import Glow, MeshBuilder, Model, panel, tubes

_STEEL, _DARK = (0.50, 0.52, 0.53), (0.16, 0.17, 0.17)
SIGN_KINDS = ("limit", "limit", "warning", "parking", "crossing", "ahead")


def pole(height: float, radius: float = 0.045, colour=_STEEL) -> Model:
    """A plain post."""
    return Model((tubes([((0, 0, 0), (0, 0, height), radius, radius * 0.9, colour)]),))


def street_lamp(height: float, reach: float, modern: bool) -> Model:
    """A lamp whose arm reaches over +x by `reach`, with its light at the end."""
    colour = _STEEL if modern else _DARK
    rows = [
        ((0, 0, 0), (0, 0, 1.0), 0.11, 0.10, colour),
        ((0, 0, 0.9), (0, 0, height - 0.6), 0.085, 0.06, colour),
        ((0, 0, height - 0.6), (0.35 * reach, 0, height - 0.05), 0.055, 0.045, colour),
        ((0.35 * reach, 0, height - 0.05), (reach, 0, height), 0.045, 0.04, colour),
        ((reach - 0.1, 0, height), (reach + 0.55, 0, height - 0.01), 0.085, 0.07, (0.62, 0.63, 0.63)),
    ]
    lamp = Glow(np.array([reach + 0.3, 0, height - 0.12]), (1.0, 0.86, 0.60), 1.3)
    return Model((tubes(rows),), (lamp,))


def traffic_light(height: float, state: str) -> Model:
    """A signal facing -x (towards the traffic that drives along +x): red, amber or green."""
    mesh = MeshBuilder((0, 0, height - 0.5))
    mesh.box((-0.12, -0.16, height - 1.0), (0.12, 0.16, height), (0.06, 0.07, 0.07))
    lamps = (("red", 0.83, (0.95, 0.10, 0.08)), ("amber", 0.5, (0.98, 0.68, 0.10)), ("green", 0.17, (0.12, 0.90, 0.50)))
    glows = []
    for name, at, colour in lamps:
        z = height - 1.0 + at
        lit = name == state
        angle = np.arange(10) * 2 * np.pi / 10
        disc = np.stack([np.full(10, -0.125), 0.11 * np.cos(angle), z + 0.11 * np.sin(angle)], axis=1)
        dim = (0.18 * colour[0], 0.18 * colour[1], 0.18 * colour[2])
        mesh.poly(disc, colour if lit else dim, True, glow=1.3 if lit else 0)
        if lit:
            glows.append(Glow(np.array([-0.14, 0, z]), colour, 0.5, np.array([-1.0, 0, 0])))
    stem = tubes([((0.13, 0, 0), (0.13, 0, height - 0.1), 0.06, 0.05, _DARK)])
    return Model((stem, mesh.build()), tuple(glows))


def _outline(kind: str, size: float) -> np.ndarray:
    if kind in ("limit", "no_entry"):
        count, turn = 20, 0.0
    elif kind == "stop":
        count, turn = 8, np.pi / 8
    elif kind in ("warning", "give_way"):
        count, turn = 3, -np.pi / 2 if kind == "warning" else np.pi / 2
    else:
        return np.array([(0, 0), (size, 0), (size, size), (0, size)])
    angle = np.arange(count) * 2 * np.pi / count + turn
    points = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    points -= points.min(axis=0)
    return points / points.max(axis=0) * size


@lru_cache(maxsize=64)
def _face(kind: str, number: int) -> np.ndarray:
    """uint8 [96, 96, 3]: the printed face; the outline cuts it to shape."""
    face = np.full((96, 96, 3), 236, np.uint8)
    red, blue, black = (190, 24, 32), (24, 74, 160), (20, 20, 22)
    if kind == "limit":
        face[:] = red
        cv2.circle(face, (48, 48), 36, (238, 238, 236), -1, cv2.LINE_AA)
        text = str(number)
        scale = 1.35 if len(text) < 3 else 0.95
        (w, h), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 5)
        cv2.putText(face, text, (48 - w // 2, 48 + h // 2), cv2.FONT_HERSHEY_SIMPLEX, scale, black, 5, cv2.LINE_AA)
    elif kind == "no_entry":
        face[:] = red
        face[38:58, 16:80] = 240
    elif kind == "stop":
        face[:] = red
        cv2.putText(face, "STOP", (11, 58), cv2.FONT_HERSHEY_SIMPLEX, 0.85, (240, 240, 238), 4, cv2.LINE_AA)
    elif kind in ("warning", "give_way"):
        face[:] = red
        inner = np.array([(48, 26), (76, 84), (20, 84)]) if kind == "warning" else np.array([(48, 70), (76, 12), (20, 12)])
        cv2.fillConvexPoly(face, inner, (242, 242, 238), cv2.LINE_AA)
        if kind == "warning":
            face[46:70, 45:51] = black
            face[74:80, 45:51] = black
    else:
        face[:] = blue
        if kind == "parking":
            cv2.putText(face, "P", (24, 76), cv2.FONT_HERSHEY_SIMPLEX, 2.4, (240, 240, 240), 9, cv2.LINE_AA)
        elif kind == "crossing":
            cv2.fillConvexPoly(face, np.array([(48, 12), (86, 82), (10, 82)]), (240, 240, 240), cv2.LINE_AA)
            cv2.line(face, (48, 36), (48, 58), black, 7, cv2.LINE_AA)
            cv2.line(face, (48, 56), (36, 76), black, 5, cv2.LINE_AA)
            cv2.line(face, (48, 56), (60, 76), black, 5, cv2.LINE_AA)
        else:
            cv2.arrowedLine(face, (48, 84), (48, 16), (240, 240, 240), 9, cv2.LINE_AA, tipLength=0.4)
    return face


def sign(kind: str, size: float, number: int = 50) -> Model:
    """A plate that faces -x, its middle at height 0 of its own frame; the back is bare metal."""
    outline = _outline(kind, size)
    return _plate(outline, _face(kind, number), size, size)


def board(width: float, height: float, rng: np.random.Generator, motorway: bool) -> Model:
    """A direction board with lines of lettering and an arrow."""
    cols, rows = int(width * 48), int(height * 48)
    ground = ((20, 72, 150) if motorway else (236, 206, 60)) if rng.random() < 0.7 else (22, 104, 62)
    ink = (238, 240, 240) if ground[2] > 60 or ground[0] < 100 else (24, 24, 24)
    face = np.full((rows, cols, 3), ink, np.uint8)
    face[3:-3, 3:-3] = ground
    names = ("NORTH", "CENTRE", "HAFEN", "AIRPORT", "MILLBROOK", "ALTSTADT", "RIVER RD", "EAST 12", "LINDEN")
    lines = max(int(height / 0.62), 1)
    for i in range(lines):
        text = names[rng.integers(len(names))]
        scale = rows / lines / 52
        cv2.putText(
            face,
            text,
            (int(0.08 * cols), int((i + 0.68) * rows / lines)),
            cv2.FONT_HERSHEY_SIMPLEX,
            scale,
            ink,
            max(int(scale * 2.6), 2),
            cv2.LINE_AA,
        )
    x = int(cols * 0.88)
    cv2.arrowedLine(face, (x, int(rows * 0.85)), (x, int(rows * 0.2)), ink, max(rows // 22, 3), cv2.LINE_AA, tipLength=0.3)
    outline = np.array([(0, 0), (width, 0), (width, height), (0, height)])
    return _plate(outline, face, width, height)


def _plate(outline: np.ndarray, face: np.ndarray, width: float, height: float) -> Model:
    # Read from behind (x negative) the right hand is -y.
    origin, right, down = np.array([-0.02, width / 2, height / 2]), np.array([0, -1.0, 0]), np.array([0, 0, -1.0])
    front = panel(origin, right, down, outline, face, (face * 0.10).astype(np.uint8))
    back = MeshBuilder((-0.5, 0, 0))
    back.poly(origin + outline[:, :1] * right + outline[:, 1:] * down + (0.02, 0, 0), (0.42, 0.43, 0.44))
    return Model((front, back.build()))
