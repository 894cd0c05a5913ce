"""The metric ``tusimple_accuracy``: TuSimple's accuracy, FP and FN of Frames, by the matching of ``drivetrain score tusimple``.

Lanes are compared in rows of the picture, TuSimple's own unless others are set; between a lane's points it runs straight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain import Camera, CameraLabels, MetricContext, PictureMetric

from .matching import padded, score

if TYPE_CHECKING:
    from .config import TusimpleConfig

_NONE = -2.0


def build(config: TusimpleConfig, context: MetricContext) -> TusimpleAccuracy:
    return TusimpleAccuracy(context, np.array(config.rows(), np.float64))


class TusimpleAccuracy(PictureMetric):
    """Lanes of all classes at ``rows`` float64 [H]. Of a picture its accuracy, FP, FN and number of labels are kept."""

    def __init__(self, context: MetricContext, rows: np.ndarray):
        super().__init__(context)
        self.rows = rows

    def match(self, predicted: CameraLabels, camera: Camera, what: str) -> np.ndarray | None:
        """float64 [4]. Raises ValueError for a prediction without lanes; one that found none has an empty list."""
        if camera.lanes is None:
            return None
        if predicted.lanes is None:
            raise ValueError(f"{what}: the prediction has no lanes")
        sides = [[at_rows(lane, self.rows).tolist() for lane in lanes.points] for lanes in (camera.lanes, predicted.lanes)]
        truth, found = (padded([lanes], len(self.rows)) for lanes in sides)
        return np.append(score(truth, found, self.rows, np.zeros(1, bool))[0], len(sides[0]))

    def counted(self, kept: Sequence[np.ndarray]) -> Any:
        """``tusimple_accuracy``, ``fp`` and ``fn``, means over pictures."""
        rows = np.array(kept).reshape(-1, 4)

        def of(times: np.ndarray) -> dict[str, Any]:
            total, sums = int(times.sum()), times @ rows
            means = (sums[:3] / total).tolist() if total else [None] * 3
            return {**dict(zip(("tusimple_accuracy", "fp", "fn"), means)), "objects": {"lane": int(sums[3])}}

        return of


def at_rows(lane: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float64 [H]: the lane's x in each of ``rows``, -2 beyond its ends. ``lane`` [K, 2] of x and y in pixels."""
    order = np.argsort(lane[:, 1], kind="stable")
    x, y = np.asarray(lane, np.float64)[order].T
    return np.interp(rows, y, x, left=_NONE, right=_NONE) if len(lane) else np.full(len(rows), _NONE)
