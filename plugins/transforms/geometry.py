"""Transforms of the view: pixels are moved once, after all views have been composed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from drivetrain import IGNORE, CameraSample, RecipeError, Rng, Transform, View, near_matches

from .config import FlipConfig, LetterboxConfig, RandomScaleCropConfig, ResizeConfig, ResizeShortestConfig, RoiConfig


class Resize(Transform):
    """A stretch to ``size``; with ``keep_aspect`` the largest size inside it that keeps the picture's proportions."""

    training_only = False

    def __init__(self, config: ResizeConfig):
        self.size, self.keep_aspect = config.size, config.keep_aspect

    def view(self, view: View, rng: Rng) -> View:
        if not self.keep_aspect:
            return view.scaled(*self.size)
        return view.scaled(*fitted(view.size, self.size))


class ResizeShortest(Transform):
    """The shorter side made ``shortest`` pixels long, whichever it is, unless the longer one would pass ``longest``: as
    detectors on COCO are trained (Lin et al., Feature Pyramid Networks, 2017). Batches are padded."""

    training_only = False

    def __init__(self, config: ResizeShortestConfig):
        self.shortest, self.longest = config.shortest, config.longest

    def view(self, view: View, rng: Rng) -> View:
        factor = self.shortest / min(view.size)
        if self.longest is not None:
            factor = min(factor, self.longest / max(view.size))
        height, width = (max(1, round(length * factor)) for length in view.size)
        return view.scaled(height, width)


class Letterbox(Transform):
    """The largest size inside ``size`` that keeps the picture's proportions, padded to all of ``size``."""

    training_only = False

    def __init__(self, config: LetterboxConfig):
        self.size, self.centred = config.size, config.centred

    def view(self, view: View, rng: Rng) -> View:
        height, width = fitted(view.size, self.size)
        y, x = ((self.size[0] - height) // 2, (self.size[1] - width) // 2) if self.centred else (0, 0)
        return view.scaled(height, width).shifted(x, y, self.size)


class Roi(Transform):
    """A band of rows around the horizon, at all of the width: what lies above and below it is not decoded further.

    The horizon follows from the camera's intrinsics and its pose on the vehicle; without a pose it is level with the
    optical axis. A band that reaches over an edge is moved, so that pictures of one size stay of one size."""

    training_only = False

    def __init__(self, config: RoiConfig):
        self.degrees, self.share, self.horizon = config.degrees, config.share, config.horizon

    def view(self, view: View, rng: Rng) -> View:
        above, below = self._rows(view)
        height = min(max(1, round(above + below)), view.size[0])
        top = min(max(0, round(self._horizon(view) - above)), view.size[0] - height)
        return view.shifted(0, -top, (height, view.size[1]))

    def _rows(self, view: View) -> tuple[float, float]:
        """How many rows above and below the horizon, of a camera that looks level."""
        if self.share is not None:
            return self.share[0] * view.size[0], self.share[1] * view.size[0]
        if view.intrinsics is None:
            raise _unknown("degrees need the camera's intrinsics, which are unknown", "say transforms.roi.share instead")
        assert self.degrees is not None
        focal = float(view.intrinsics[1, 1])
        above, below = (focal * math.tan(math.radians(angle)) for angle in self.degrees)
        return above, below

    def _horizon(self, view: View) -> float:
        if view.horizon is not None:
            return view.horizon
        if self.horizon is None:
            raise _unknown("the horizon is unknown: the camera has no intrinsics", "say transforms.roi.horizon")
        return self.horizon * view.size[0]


def _unknown(what: str, remedy: str) -> RecipeError:
    return RecipeError(f"transform roi: {what}", remedy=remedy)


class RandomScaleCrop(Transform):
    """A random scale of the current view, then a window of ``size`` at a random place; where the picture is smaller than
    the window, the picture is at a random place of the window."""

    def __init__(self, config: RandomScaleCropConfig):
        self.size, self.scale = config.size, config.scale

    def view(self, view: View, rng: Rng) -> View:
        factor = rng.uniform(*self.scale)
        height, width = (max(1, round(length * factor)) for length in view.size)
        y = _offset(self.size[0] - height, rng)
        x = _offset(self.size[1] - width, rng)
        return view.scaled(height, width).shifted(x, y, self.size)


class Flip(Transform):
    """Left and right exchanged with probability ``p``. Classes with a side in their name change it with the view; those of
    ``ignore``, which a mirror makes wrong without a name that says so, are ignored in a mirrored picture."""

    def __init__(self, config: FlipConfig):
        self.p, self.ignore = config.p, config.ignore
        self._tables: dict[str, np.ndarray] = {}

    def prepare(self, classes: Mapping[str, tuple[str, ...]]) -> None:
        check_classes("flip", self.ignore, classes)
        for task, names in classes.items():
            ids = [names.index(name) for name in self.ignore if name in names]
            if ids:
                self._tables[task] = np.arange(256, dtype=np.uint8)
                self._tables[task][ids] = IGNORE

    def view(self, view: View, rng: Rng) -> View:
        return view.mirrored() if rng.uniform() < self.p else view

    def pixels(self, sample: CameraSample, rng: Rng) -> CameraSample:
        if not self._tables or not sample.view.mirrors:
            return sample
        targets = {
            task: _without(fields, self._tables[task]) if task in self._tables else fields
            for task, fields in sample.targets.items()
        }
        return sample.replace(targets=targets)


def _without(fields: Mapping[str, np.ndarray], table: np.ndarray) -> dict[str, np.ndarray]:
    """One task's targets, a mask changed in place, without the classes for which ``table`` uint8 [256] has `IGNORE`. Boxes
    become ignored ones; lanes are gone."""
    fields = dict(fields)
    if "mask" in fields:
        cv2.LUT(fields["mask"], table, dst=fields["mask"])
    if "classes" in fields:
        kept = table[fields["classes"]] != IGNORE
        if "ignore_boxes" in fields:
            fields["ignore_boxes"] = np.concatenate([fields["ignore_boxes"], fields["boxes"][~kept]])
        of_each = fields.keys() - {"mask", "ignore_boxes"}
        fields |= {name: fields[name][kept] for name in of_each}
    return fields


def check_classes(transform: str, named: Sequence[str], classes: Mapping[str, tuple[str, ...]]) -> None:
    """Raises RecipeError for a class that no task of the recipe has."""
    known = sorted({name for names in classes.values() for name in names})
    for name in named:
        if name not in known:
            raise RecipeError(f"{transform}: no class {name!r}", near=near_matches(name, known),
                              remedy=f"the recipe's classes: {', '.join(known)}")  # fmt: skip


def fitted(size: tuple[int, int], inside: tuple[int, int]) -> tuple[int, int]:
    """The largest (height, width) ``inside`` that keeps the proportions of ``size``."""
    factor = min(inside[0] / size[0], inside[1] / size[1])
    return max(1, round(size[0] * factor)), max(1, round(size[1] * factor))


def _offset(room: int, rng: Rng) -> int:
    """A whole number of pixels between 0 and ``room``, which is negative where there is something to cut off."""
    shift = rng.integer(0, abs(room) + 1)
    return shift if room >= 0 else -shift
