"""What metrics share: something small is kept of each picture, so that shares of ranks merge and slices are sums."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .contracts import MetricContext
from .errors import DataError
from .frame import Camera, CameraLabels, Frame
from .prediction import Prediction

State = dict[tuple[str, str], tuple[str, Any]]
Figures = Callable[[np.ndarray], dict[str, Any]]


class PictureMetric(ABC):
    """A `drivetrain.Metric` that holds a picture's predictions against its labels on their own.

    A subclass says what is kept of a picture (`match`) and what the kept ones make together (`counted`). The state is what was
    kept, by frame and camera, with the scene; its order is that of keys, so that figures do not depend on ranks.
    """

    def __init__(self, context: MetricContext):
        self.task, self.classes = context.task, context.classes
        self._kept: State = {}
        self._scored: PictureScores | None = None

    @abstractmethod
    def match(self, predicted: CameraLabels, camera: Camera, what: str) -> Any:
        """What is kept of a picture, small and picklable; None where ``camera`` has no labels of the task. ``what`` names the
        picture. Raises ValueError, beginning with it, for a prediction that cannot be held against its labels."""

    @abstractmethod
    def counted(self, kept: Sequence[Any]) -> Figures:
        """The figures of N pictures, as a function of how often each counts, int64 [N]: called thousands of times. N may be
        0; a figure of which nothing is known is None."""

    def update(self, prediction: Prediction, truth: Frame) -> None:
        """Match every predicted camera that has labels. Raises DataError for a picture that came before."""
        for name, camera in truth.cameras.items():
            predicted = prediction.cameras.get(name)
            kept = None if predicted is None else self.match(predicted, camera, f"frame {truth.key!r}, {name}")
            if kept is not None:
                self.merge({(truth.key, name): (truth.scene or truth.key, kept)})

    def state(self) -> State:
        return dict(self._kept)

    def merge(self, state: State) -> None:
        """Raises DataError where a picture is counted already."""
        twice = sorted(self._kept.keys() & state.keys())
        if twice:
            raise DataError(f"frame {twice[0][0]!r} is evaluated twice (camera {twice[0][1]})",
                            remedy="keys are unique over all the sources of one evaluation")  # fmt: skip
        self._kept.update(state)
        self._scored = None

    def scored(self) -> PictureScores:
        """What was matched so far; made once."""
        if self._scored is None:
            pictures = sorted(self._kept)
            scenes, kept = [self._kept[one][0] for one in pictures], [self._kept[one][1] for one in pictures]
            self._scored = PictureScores([key for key, _ in pictures], scenes, self.counted(kept))
        return self._scored

    def compute(self) -> dict[str, Any]:
        """The figures of all pictures, and ``frames``, how many frames these are of."""
        scored = self.scored()
        return scored.figures(np.ones(len(scored.keys), np.int64))


class PictureScores:
    """`drivetrain.Scored`, a picture an entry: frames of several cameras are named several times."""

    nothing = None

    def __init__(self, keys: list[str], scenes: list[str], counted: Figures):
        self.keys, self.scenes, self._counted = keys, scenes, counted
        self._first = np.array([k == 0 or key != keys[k - 1] for k, key in enumerate(keys)], np.int64)

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        return {**self._counted(times), "frames": int(times @ self._first)}
