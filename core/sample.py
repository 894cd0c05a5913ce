"""A Sample: one decoded frame on its way into a batch, and the transforms that it passes.

A transform may do two things. `Transform.view` says how a picture is to be seen, before a pixel is decoded: the views of
all transforms are composed into one, so that the decoder picks the smallest scale that still covers it and every picture
is resampled once. `Transform.pixels` then changes pixels and labels at the output size.
"""

from __future__ import annotations

import dataclasses
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
    """Base of transforms. ``training_only`` transforms are left out in evaluation."""

    training_only = True

    def view(self, view: View, rng: Rng) -> View:
        """The view after this transform."""
        return view

    def pixels(self, sample: CameraSample, rng: Rng) -> CameraSample:
        """The sample after this transform; ``sample.image`` may be changed in place."""
        return sample
