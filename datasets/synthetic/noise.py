"""Smooth random fields that tile."""

from functools import lru_cache

import cv2
import numpy as np

from .rng import stream


def _tiled_upsample(grid: np.ndarray, size: int) -> np.ndarray:
    """A small square grid enlarged to [size, size], matching across its edges."""
    cells = len(grid)
    padded = np.pad(grid, 2, mode="wrap")
    step = size // cells
    large = cv2.resize(padded, None, fx=step, fy=step, interpolation=cv2.INTER_CUBIC)
    return large[2 * step : 2 * step + size, 2 * step : 2 * step + size]


@lru_cache(maxsize=16)
def fractal(name: str, size: int = 512, coarsest: int = 4, octaves: int = 6, roughness: float = 0.55) -> np.ndarray:
    """A fixed fractal field per name: float32 [size, size], mean 0, deviation 1, tiling; coarsest cells per side."""
    rng = stream("noise", name)
    field, amplitude = np.zeros((size, size), np.float32), 1.0
    for octave in range(octaves):
        cells = min(coarsest << octave, size)
        field += amplitude * _tiled_upsample(rng.standard_normal((cells, cells)).astype(np.float32), size)
        amplitude *= roughness
        if cells == size:
            break
    field = (field - field.mean()) / field.std()
    field.setflags(write=False)
    return field


def patch(
    name: str, rows: int, cols: int, rng: np.random.Generator, zoom: tuple[float, float] = (1.0, 1.0), **options
) -> np.ndarray:
    """float32 [rows, cols] cut at a random place out of `fractal(name)`, repeated as needed, enlarged by zoom."""
    field = fractal(name, **options)
    size = len(field)
    need_rows, need_cols = int(np.ceil(rows / zoom[0])) + 1, int(np.ceil(cols / zoom[1])) + 1
    top, left = rng.integers(0, size, 2)
    cut = field[np.ix_((top + np.arange(need_rows)) % size, (left + np.arange(need_cols)) % size)]
    if zoom == (1.0, 1.0):
        return cut[:rows, :cols]
    full = (round(need_cols * zoom[1]), round(need_rows * zoom[0]))
    return cv2.resize(cut, full, interpolation=cv2.INTER_LINEAR)[:rows, :cols]


@lru_cache(maxsize=4)
def grain_tile(size: int = 1024) -> np.ndarray:
    """int8 [size, size, 3] of sensor noise with deviation 20, mostly shared by the three channels."""
    rng = stream("grain")
    mono = rng.standard_normal((size, size, 1))
    noise = 20 * (0.8 * mono + 0.6 * rng.standard_normal((size, size, 3)))
    return np.clip(noise, -127, 127).astype(np.int8)
