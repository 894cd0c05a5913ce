"""A view, made exact: which whole decoded pixels land on which whole output pixels.

A view's edges rarely fall between two pixels. Rather than resample at fractions, the view is moved by less than half a
pixel of the coarser grid so that they do, and the moved view is what labels and `to_original` follow. Pictures, masks and
boxes thus agree exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from drivetrain import View

_OVER = 1 / 8  # output pixels; 44 dB, 1/4 is 40 dB


class _Axis(NamedTuple):
    """Decoded pixels [a, b) become output pixels [low, high), turned round if ``flip``. ``over``: output pixels by which the
    last decoded pixel reaches over the picture's edge, so that all of it is squeezed a little."""

    a: int
    b: int
    low: int
    high: int
    flip: bool
    over: float = 0.0

    def suits(self, straight: bool) -> bool:
        """Whether a decode this coarse is as good as a full one: it already has the output's size, if ``straight`` allows
        that, or still twice that.

        Between the two the picture would be resampled twice at nearly the same scale, which costs up to 10 dB."""
        out, decoded = self.high - self.low, self.b - self.a
        return self.over <= _OVER and ((straight and out == decoded) or 2 * out <= decoded)

    def scale_and_shift(self, grid: int) -> tuple[float, float]:
        scale = (self.high - self.low) / ((self.b - self.a) * grid)
        return (-scale, self.high + scale * self.a * grid) if self.flip else (scale, self.low - scale * self.a * grid)


@dataclass(frozen=True)
class Placement:
    """``view``, moved; ``x`` and ``y``; a decoded pixel covers ``grid`` x ``grid`` original ones."""

    view: View
    x: _Axis
    y: _Axis
    grid: int


def place(view: View, height: int, width: int, grids: tuple[int, ...], straight: bool = True) -> Placement:
    """The placement of a picture of ``height`` x ``width`` on the coarsest of ``grids`` (descending) that is good enough.

    ``grids`` are the reductions that the decoder offers, beyond 1; ``straight``: whether one is good at the output's size.
    """
    (sx, xy, tx), (yx, sy, ty) = view.matrix[:2].tolist()
    assert xy == 0 and yx == 0 and sx and sy, f"a view is scale, flip and shift along the axes, not {view.matrix.tolist()}"
    for grid in (*grids, 1):
        if grid > 1 and grid * max(abs(sx), abs(sy)) > 1 + 1e-9:
            continue
        x, y = _axis(sx, tx, width, view.size[1], grid), _axis(sy, ty, height, view.size[0], grid)
        if x is None or y is None:
            break
        if grid == 1 or (x.suits(straight) and y.suits(straight)):
            (sx, tx), (sy, ty) = x.scale_and_shift(grid), y.scale_and_shift(grid)
            moved = replace(view, matrix=np.array([[sx, 0, tx], [0, sy, ty], [0, 0, 1.0]]))
            return Placement(moved, x, y, grid)
    nothing = _Axis(0, 0, 0, 0, False)
    return Placement(view, nothing, nothing, 1)


def _axis(scale: float, shift: float, length: int, out: int, grid: int) -> _Axis | None:
    """None where the output shows nothing of the picture."""
    start, end = sorted((shift, shift + scale * length))
    low, high = max(0, round(start)), min(out, round(end))
    if low >= high:
        return None
    first, last = sorted(((low - shift) / scale, (high - shift) / scale))
    decoded = -(-length // grid)
    a = min(max(round(first / grid), 0), decoded - 1)
    b = decoded if last > length - 0.5 else min(max(round(last / grid), a + 1), decoded)
    over = max(0, b * grid - length) * (high - low) / ((b - a) * grid)
    return _Axis(a, b, low, high, scale < 0, over)
