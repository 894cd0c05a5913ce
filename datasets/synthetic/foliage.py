"""Trees and bushes as cut-outs, grown from clusters of leaves."""

from functools import cache, lru_cache

import cv2
import numpy as np

from . import noise
from .model import shrink
from .rng import stream

_LEAVES = {
    "broad": ((66, 92, 40), (78, 104, 46), (58, 84, 44), (92, 108, 48)),
    "autumn": ((142, 96, 40), (128, 108, 46), (104, 102, 44)),
    "conifer": ((40, 66, 46), (46, 74, 48), (36, 58, 44)),
    "bush": ((62, 90, 42), (74, 98, 46), (54, 78, 40)),
}
_BARK = np.array((84, 70, 58), np.float32)
VARIANTS = 5


@cache
def tree(species: str, variant: int, mirrored: bool, snowy: bool) -> list[np.ndarray]:
    """A picture uint8 [h, w, 4] and its halves: round, tall, conifer, bare, bush or clump, as albedo lit from above."""
    picture = _picture(species, variant)
    if snowy:
        picture = _powdered(picture)
    return shrink(np.ascontiguousarray(picture[:, ::-1]) if mirrored else picture)


@cache
def _picture(species: str, variant: int) -> np.ndarray:
    rng = stream("tree", species, variant)
    return {
        "round": _crowned,
        "tall": _crowned,
        "autumn": _crowned,
        "conifer": _conifer,
        "bare": _bare,
        "bush": _bush,
        "clump": _clump,
    }[species](rng, species)


def _cut(alpha: np.ndarray, colour: np.ndarray) -> np.ndarray:
    out = np.empty((*alpha.shape, 4), np.uint8)
    out[..., :3], out[..., 3] = np.clip(colour, 0, 255), np.clip(alpha, 0, 255)
    return out


def _leaves(blobs: np.ndarray, shape, tone, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Leaf clusters [N, 3] of (x, y, radius) in pixels: alpha and colour, each cluster lit from above left."""
    rows, cols = shape
    height = np.zeros(shape, np.float32)
    shade = np.full(shape, 0.5, np.float32)
    for x, y, r in blobs:
        x0, x1 = int(max(x - r, 0)), int(min(x + r + 1, cols))
        y0, y1 = int(max(y - r, 0)), int(min(y + r + 1, rows))
        u = (np.arange(x0, x1) - x)[None, :] / r
        v = (np.arange(y0, y1) - y)[:, None] / r
        bulge = np.sqrt(np.clip(1 - u * u - v * v, 0, 1))
        # Half of the light follows the whole crown, so that clusters do not look like separate balls.
        whole = 0.25 * (x / cols - 0.5) + 0.35 * (y / rows - 0.4)
        light = np.clip(0.66 - whole - 0.13 * u - 0.24 * v, 0.2, 1.2)
        there = bulge > 0.12
        shade[y0:y1, x0:x1][there] = light[there]
        height[y0:y1, x0:x1] = np.maximum(height[y0:y1, x0:x1], bulge)
    leafy = noise.patch("leaves", rows, cols, rng, coarsest=64, octaves=3, size=512)
    coarse = noise.patch("broad", rows, cols, rng, coarsest=4)
    speckle = rng.normal(0, 1, shape).astype(np.float32)
    alpha = np.clip((height - 0.42 + 0.13 * leafy) * 5, 0, 1) * 255
    depth = np.linspace(1.10, 0.72, rows, dtype=np.float32)[:, None]
    light = (0.42 + 0.75 * shade) * depth * (1 + 0.19 * leafy + 0.05 * coarse + 0.10 * speckle)
    return alpha, light[..., None] * np.array(tone, np.float32)


def _tone(kind: str, rng: np.random.Generator) -> np.ndarray:
    options = _LEAVES[kind]
    return np.array(options[rng.integers(len(options))]) * rng.uniform(1.0, 1.3)


def _crowned(rng: np.random.Generator, species: str) -> np.ndarray:
    """A trunk with boughs under a crown of some forty clusters."""
    rows, cols = 256, 192
    tall = species == "tall"
    top, base = 8, (196 if not tall else 214)
    middle, half_h = (top + base) / 2, (base - top) / 2
    half_w = (84 if not tall else 56) * rng.uniform(0.85, 1.05)
    blobs, lobes = [], rng.uniform(0, 2 * np.pi)
    for _ in range(230):
        angle, reach = rng.uniform(0, 2 * np.pi), np.sqrt(rng.random()) * 0.90
        reach *= 1 - 0.14 * np.sin(3 * angle + lobes) - 0.07 * np.sin(7 * angle + 2 * lobes)
        pear = 1 - 0.22 * np.sin(angle)
        blobs.append((96 + half_w * reach * np.cos(angle) * pear, middle + half_h * reach * np.sin(angle), rng.uniform(6, 17)))
    crown = np.array(blobs)
    crown = crown[np.argsort(-crown[:, 1] + rng.normal(0, 24, len(crown)))]
    alpha, colour = _leaves(crown, (rows, cols), _tone("autumn" if species == "autumn" else "broad", rng), rng)
    wood = np.zeros((rows, cols), np.uint8)
    lean = rng.normal(0, 4)
    trunk = np.array([(89, rows), (103, rows), (99 + lean, middle), (93 + lean, middle)])
    cv2.fillConvexPoly(wood, np.rint(trunk * 16).astype(np.int32), 255, cv2.LINE_AA, 4)
    for _ in range(5):
        tip = (int(96 + rng.uniform(-0.7, 0.7) * half_w), int(rng.uniform(top + 40, base - 20)))
        cv2.line(wood, (96, int(base - rng.uniform(-6, 20))), tip, 255, 3, cv2.LINE_AA)
    bark = np.broadcast_to(_BARK, (rows, cols, 3)) * np.linspace(1.25, 0.75, cols)[None, :, None]
    leaf = (alpha / 255)[..., None]
    return _cut(np.maximum(alpha, wood), colour * leaf + bark * (1 - leaf))


def _conifer(rng: np.random.Generator, species: str) -> np.ndarray:
    rows, cols = 256, 192
    blobs = []
    for y in np.arange(12, 236, 7.0):
        half = (y / 236) ** 0.9 * 62 * rng.uniform(0.85, 1.1)
        for x in np.linspace(-half, half, max(int(half / 5), 1)):
            blobs.append((96 + x, y + abs(x) * 0.20 + rng.normal(0, 2), rng.uniform(6, 11)))
    alpha, colour = _leaves(np.array(blobs)[::-1], (rows, cols), _tone("conifer", rng), rng)
    wood = np.zeros((rows, cols), np.uint8)
    wood[225:, 91:101] = 255
    leaf = (alpha / 255)[..., None]
    return _cut(np.maximum(alpha, wood), colour * leaf + _BARK * (1 - leaf))


def _bare(rng: np.random.Generator, species: str) -> np.ndarray:
    """Winter: trunk, boughs and twigs."""
    wood = np.zeros((256, 192), np.uint8)

    def grow(x, y, angle, length, width):
        tip = (x + length * np.cos(angle), y - length * np.sin(angle))
        start, end = ((round(a * 16), round(b * 16)) for a, b in ((x, y), tip))
        cv2.line(wood, start, end, 255 if width > 1 else 170, max(int(width), 1), cv2.LINE_AA, 4)
        if length > 7:
            for turn in rng.normal((-0.5, 0.45), 0.18):
                grow(*tip, angle + turn, length * rng.uniform(0.64, 0.78), width * 0.66)

    grow(96, 255, np.pi / 2 + rng.normal(0, 0.04), 60, 10)
    twigs = cv2.blur(wood, (5, 5)).astype(np.float32) * 0.5
    shade = np.linspace(1.2, 0.8, 192)[None, :, None]
    return _cut(np.maximum(wood, twigs), np.broadcast_to(_BARK * 0.85, (256, 192, 3)) * shade)


def _bush(rng: np.random.Generator, species: str) -> np.ndarray:
    rows, cols = 128, 192
    angle, reach = rng.uniform(0, np.pi, 110), np.sqrt(rng.random(110)) * 0.85
    x, y = 96 + 84 * reach * np.cos(angle), 124 - 108 * reach * np.sin(angle)
    blobs = np.stack([x, y, rng.uniform(6, 14, 110)], axis=1)
    blobs = np.concatenate([blobs, [(40 + 14 * i, 122, 14) for i in range(9)]])
    alpha, colour = _leaves(blobs[np.argsort(-blobs[:, 1])], (rows, cols), _tone("bush", rng), rng)
    return _cut(alpha, colour)


def _clump(rng: np.random.Generator, species: str) -> np.ndarray:
    """The edge of a wood, several trees wide, closed down to the ground."""
    rows, cols = 160, 384
    blobs = []
    for centre in np.linspace(34, cols - 34, 9) + rng.normal(0, 9, 9):
        top = rng.uniform(10, 62)
        for _ in range(60):
            y = rng.uniform(top, 152)
            half = 34 * np.sqrt(np.clip(1 - ((y - 90) / 92) ** 2, 0.1, 1))
            blobs.append((np.clip(centre + rng.uniform(-half, half), 14, cols - 14), y + 8, rng.uniform(6, 13)))
    crown = np.array(blobs)
    crown = crown[np.argsort(-crown[:, 1] + rng.normal(0, 30, len(crown)))]
    alpha, colour = _leaves(crown, (rows, cols), _tone("broad", rng), rng)
    return _cut(alpha, colour)


@lru_cache(maxsize=8)
def leaf_texture(variant: int) -> np.ndarray:
    """uint8 [64, 128, 3]: the face of a trimmed hedge."""
    rng = stream("hedge", variant)
    leafy = noise.patch("leaves", 64, 128, rng, coarsest=64, octaves=3, size=512)
    return np.clip(_tone("bush", rng) * (1 + 0.24 * leafy[..., None]), 0, 255).astype(np.uint8)


def _powdered(image: np.ndarray) -> np.ndarray:
    """A tree with snow on the upper sides of its boughs."""
    out = image.copy()
    bright = image[..., :3].mean(axis=2, keepdims=True)
    rise = np.clip(bright / bright[image[..., 3] > 128].mean() - 0.80, 0, 0.8)
    out[..., :3] = image[..., :3] + rise * (np.array((232, 236, 242)) - image[..., :3])
    return out
