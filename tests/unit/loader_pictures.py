"""Pictures for the tests of the loader, drawn as it draws them, and how alike two of them are."""

from __future__ import annotations

import cv2
import numpy as np

from drivetrain import Encoded, View
from drivetrain.plugins.loaders.webdataset.decode import draw_image, grids
from drivetrain.plugins.loaders.webdataset.placement import place


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Noise whose power falls with frequency, as in photographs, with hard edges on top."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 110.0)
    for cell, amplitude in ((4, 4), (8, 8), (32, 20), (128, 30)):
        noise = rng.normal(0, amplitude, (height // cell + 2, width // cell + 2, 3))
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    for _ in range(25):
        (x, y), (w, h) = rng.integers(0, (width, height)), rng.integers(10, 120, 2)
        image[y : y + h, x : x + w] += rng.normal(0, 40, 3)
    return image.clip(0, 255).astype(np.uint8)


def drawn(encoded: Encoded, size: tuple[int, int], view: View) -> tuple[np.ndarray, View]:
    at = place(view, *size, *grids(encoded))
    out = np.full((*view.size, 3), 77, np.uint8)
    draw_image(encoded, size, at, out)
    return out, at.view


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return float(10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9)))


def crop_of(view: View) -> tuple[slice, slice]:
    """The original pixels that a view without padding shows."""
    (x0, y0, _), (x1, y1, _) = (view.to_original @ (x, y, 1) for x, y in ((0, 0), view.size[::-1]))
    (left, right), (top, bottom) = sorted((round(x0), round(x1))), sorted((round(y0), round(y1)))
    return slice(top, bottom), slice(left, right)
