"""The metric ``culane_f1``: CULane's F1 of Frames, by the matching of ``drivetrain score culane``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain import Camera, CameraLabels, MetricContext, PictureMetric

from .matching import matched, measure

if TYPE_CHECKING:
    from .config import CulaneF1Config


def build(config: CulaneF1Config, context: MetricContext) -> CulaneF1:
    return CulaneF1(context, config.iou, config.lane_width)


class CulaneF1(PictureMetric):
    """Lanes of all classes, drawn ``width`` pixels wide at the source's resolution; a match has an IoU over ``iou``. Of a
    picture the numbers of labels, predictions and matches are kept."""

    def __init__(self, context: MetricContext, iou: float, width: int):
        super().__init__(context)
        self.iou, self.width = np.array([iou]), width

    def match(self, predicted: CameraLabels, camera: Camera, what: str) -> np.ndarray | None:
        """int64 [3]. Raises ValueError for a prediction without lanes; one that found none has an empty list."""
        if camera.lanes is None:
            return None
        if predicted.lanes is None:
            raise ValueError(f"{what}: the prediction has no lanes")
        labels, found = ([np.asarray(lane, np.float64) for lane in lanes.points] for lanes in (camera.lanes, predicted.lanes))
        hits = matched(labels, found, (camera.height, camera.width), self.width, self.iou)
        return np.array([len(labels), len(found), *hits])

    def counted(self, kept: Sequence[np.ndarray]) -> Any:
        """``culane_f1``, ``precision``, ``recall``, ``tp``, ``fp`` and ``fn``."""
        rows = np.array(kept, np.int64).reshape(-1, 3)

        def of(times: np.ndarray) -> dict[str, Any]:
            labels, found, hits = (times @ rows).tolist()
            figures = {**measure(hits, found, labels), "objects": {"lane": labels}}
            del figures["Fmeasure"]  # which is unknown where nothing is predicted
            return {"culane_f1": 2 * hits / (found + labels) if found + labels else None, **figures}

        return of
