"""A Sample: one decoded frame on its way into a batch, and the transforms that it passes.

A transform may do two things. `Transform.view` says how a picture is to be seen, before a pixel is decoded: the views of
all transforms are composed into one, so that the decoder picks the smallest scale that still covers it and every picture
is resampled once. `Transform.pixels` then changes pixels and labels at the output size.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from .frame import Frame
from .geometry import View
from .seeding import Rng


@dataclass
class CameraSample:
    """One picture at its output size: ``image`` uint8 [H, W, 3] RGB, ``original_size`` (height, width), ``view``, and per
    labelled task its ``targets`` without the batch axis and without padding (`drivetrain.tasks.TASKS`): a mask or depth
    [H, W]; boxes [N, 4] with classes [N], ignore_boxes [M, 4]; points [L, K, 2] of lanes with points_valid [L, K] and classes
    [L]. ``labelled_classes``: task -> bool [C], all False: not labelled."""

    image: np.ndarray
    view: View
    original_size: tuple[int, int]
    targets: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    labelled_classes: dict[str, np.ndarray] = field(default_factory=dict)
    instances: np.ndarray | None = None
    """uint16 [H, W], 0 for none, of a partner whose frame has them and whose transform asks for them (`Transform.reads`)."""

    def replace(self, **changes) -> CameraSample:
        return dataclasses.replace(self, **changes)


@dataclass
class LidarSample:
    """One sweep: ``points`` float32 [N, C] in the sensor's frame; ``sensor_to_ego`` float64 [4, 4], None where unknown."""

    points: np.ndarray
    sensor_to_ego: np.ndarray | None = None


@dataclass
class Sample:
    """One frame of a batch. ``position`` is its place in the order of samples (a whole number, epochs included);
    ``lidars`` by name; ``history``: the cameras of the frames before, oldest first."""

    key: str
    position: int
    cameras: dict[str, CameraSample]
    frame: Frame | None = None
    """In evaluation: the frame with its labels in the recipe's classes, at the original size."""
    lidars: dict[str, LidarSample] = field(default_factory=dict)
    history: tuple[dict[str, CameraSample], ...] = ()

    @property
    def pictures(self) -> dict[str, CameraSample]:
        """All of its pictures: ``NAME``, and ``NAME@K`` for those of the history, K frames back."""
        back = {f"{n}@{k}": camera for k, cameras in enumerate(self.history[::-1], 1) for n, camera in cameras.items()}
        return {**self.cameras, **back}


class Transform:
    """Base of transforms. ``training_only`` transforms are left out in evaluation.

    ``partners``: how many other frames a picture is given, for a mosaic or to paste from. They are drawn from where the
    picture itself was, by its position, and are seen through the transforms before this one with draws of their own, and
    through those after it with the picture's. They hold in training alone.
    """

    training_only = True
    partners = 0
    reads: tuple[str, ...] = ()
    """Labels that it wants of its partners beside those of the recipe's tasks: ``instances``."""

    def prepare(self, classes: Mapping[str, tuple[str, ...]]) -> None:
        """Called once, before the first picture, with the recipe's ``classes`` of each task. Raises RecipeError for a
        setting that does not suit them."""

    def view(self, view: View, rng: Rng) -> View:
        """The view after this transform."""
        return view

    def takes(self, rng: Rng) -> int:
        """How many of its ``partners`` it takes for this picture; the others are not read."""
        return self.partners

    def views(self, views: Sequence[View], rng: Rng) -> list[View]:
        """The views after this transform of a picture and of the partners that it takes, all of one size; each picture is
        decoded at the scale in which its own view shows it. A `View.window` says which part of the output is a picture's.
        The first depends on no other: what is pasted into the picture follows it."""
        return [self.view(view, rng) for view in views]

    def pixels(self, sample: CameraSample, rng: Rng) -> CameraSample:
        """The sample after this transform; ``sample.image`` may be changed in place."""
        return sample

    def mix(self, sample: CameraSample, partners: Sequence[CameraSample], rng: Rng) -> CameraSample:
        """The sample after this transform, with the ``partners`` that it takes, which have its size; called in place of
        `pixels` where it takes any. All may be changed in place."""
        return self.pixels(sample, rng)
