"""Four pictures in one: a mosaic (Bochkovskiy, Wang, Liao 2020, YOLOv4), each decoded at the size in which it is shown."""

from __future__ import annotations

from collections.abc import Sequence

from drivetrain import CameraSample, Rng, Transform, View

from .config import MosaicConfig
from .geometry import fitted
from .layers import lay_window


class Mosaic(Transform):
    """Four pictures around a point of a canvas of ``size``, each in a quarter of its own: scaled at random, it touches the
    point with its own corner where it is large enough, and is cut at its quarter's edges. Without partners the picture is
    fitted into the canvas."""

    partners = 3

    def __init__(self, config: MosaicConfig):
        self.size, self.p, self.scale, self.centre = config.size, config.p, config.scale, config.centre

    def takes(self, rng: Rng) -> int:
        return self.partners if rng.uniform() < self.p else 0

    def views(self, views: Sequence[View], rng: Rng) -> list[View]:
        if len(views) == 1:
            height, width = fitted(views[0].size, self.size)
            y, x = (self.size[0] - height) // 2, (self.size[1] - width) // 2
            return [views[0].scaled(height, width).shifted(x, y, self.size)]
        y, x = (round(rng.uniform(*self.centre) * length) for length in self.size)
        first = rng.integer(0, 4)  # the picture itself is in any of the quarters
        return [self._quarter(view, (first + n) % 4, x, y, rng.uniform(*self.scale)) for n, view in enumerate(views)]

    def _quarter(self, view: View, quarter: int, x: int, y: int, scale: float) -> View:
        """The view in a quarter (left above, right above, left below, right below) of the canvas cut at ``x``, ``y``."""
        right, below = quarter % 2, quarter // 2
        height, width = (max(1, round(length * scale)) for length in fitted(view.size, self.size))
        seen = view.scaled(height, width).shifted(x if right else x - width, y if below else y - height, self.size)
        window = (x if right else 0, y if below else 0, self.size[1] if right else x, self.size[0] if below else y)
        return seen.within(window)

    def mix(self, sample: CameraSample, partners: Sequence[CameraSample], rng: Rng) -> CameraSample:
        for partner in partners:
            sample = lay_window(sample, partner)
        size = sample.view.size  # a picture of its own, which no camera has taken
        view = View.identity(*size)
        return sample.replace(view=view.mirrored() if sample.view.mirrors else view, original_size=size)
