"""A Prediction: a Frame's label types plus scores, in original pixels."""

from __future__ import annotations

from dataclasses import dataclass, field

from .frame import CameraLabels


@dataclass
class Prediction:
    """What a model says of one frame: per camera, ``boxes`` and ``lanes`` with float32 scores in the picture's original
    pixels; at the picture's original size ``semantic`` and ``drivable`` uint8 [H, W], ids of the recipe's classes of the
    task, and ``depth`` float32 [H, W] in metres, above 0."""

    key: str
    cameras: dict[str, CameraLabels] = field(default_factory=dict)
