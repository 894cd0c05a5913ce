"""A Prediction: a Frame's label types plus scores, in original pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

from .frame import CameraLabels


@dataclass
class Prediction:
    """What a model says of one frame: per camera, ``boxes`` with float32 scores in the picture's original pixels and
    ``semantic`` uint8 [H, W] at the picture's original size, ids of the recipe's classes."""

    key: str
    cameras: dict[str, CameraLabels] = field(default_factory=dict)
