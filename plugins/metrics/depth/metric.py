"""Errors of depth as published for KITTI's Eigen split (Eigen, Puhrsch, Fergus, Depth Map Prediction from a Single Image using
a Multi-Scale Deep Network, 2014; the range of 1e-3 to 80 m is Godard et al.'s, 2017).

Of a picture's pixels with known depth d (predicted: p): AbsRel mean |p - d| / d, SqRel mean (p - d)^2 / d, RMSE in metres, RMSE
of ln p - ln d, and the shares of pixels whose max(p / d, d / p) is below 1.25, 1.25^2 and 1.25^3. Figures are means over
pictures, as those that are published. No scale is fitted.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain import Camera, CameraLabels, MetricContext, PictureMetric

if TYPE_CHECKING:
    from .config import DepthConfig

FIGURES = ("abs_rel", "sq_rel", "rmse", "rmse_log", "delta1", "delta2", "delta3")


def build(config: DepthConfig, context: MetricContext) -> DepthErrors:
    return DepthErrors(context, config.min_m, config.max_m)


class DepthErrors(PictureMetric):
    """The metric ``abs_rel`` of depths from ``low`` to ``high`` metres. Of a picture its seven figures are kept."""

    def __init__(self, context: MetricContext, low: float, high: float):
        super().__init__(context)
        self.low, self.high = low, high

    def match(self, predicted: CameraLabels, camera: Camera, what: str) -> np.ndarray | None:
        """float64 [7], `FIGURES`; None for a picture without a pixel of known depth. Both depths are float32 [H, W], metres.

        Raises ValueError for a prediction of another size, or one that is not finite."""
        truth, found = camera.depth, predicted.depth
        if truth is None:
            return None
        assert isinstance(truth, np.ndarray), "truth and prediction are decoded"
        shape = found.shape if isinstance(found, np.ndarray) else None
        if not isinstance(found, np.ndarray) or shape != truth.shape:
            raise ValueError(f"{what}: the predicted depth is {shape}, its truth {truth.shape}")
        known = self._known(truth, camera)
        if not known.any():
            return None
        if not np.isfinite(found[known]).all():
            raise ValueError(f"{what}: the predicted depth is not finite")
        return errors(truth[known].astype(np.float64), found[known].astype(np.float64).clip(self.low, self.high))

    def _known(self, truth: np.ndarray, camera: Camera) -> np.ndarray:
        known = (truth > self.low) & (truth < self.high)
        for x1, y1, x2, y2 in np.zeros((0, 4)) if camera.ignore_regions is None else np.asarray(camera.ignore_regions).clip(0):
            known[math.floor(y1) : math.ceil(y2), math.floor(x1) : math.ceil(x2)] = False
        return known

    def counted(self, kept: Sequence[np.ndarray]) -> Any:
        rows = np.array(kept).reshape(-1, len(FIGURES))

        def of(times: np.ndarray) -> dict[str, Any]:
            total = int(times.sum())
            means = (times @ rows / total).tolist() if total else [None] * len(FIGURES)
            return dict(zip(FIGURES, means))

        return of


def errors(truth: np.ndarray, found: np.ndarray) -> np.ndarray:
    """float64 [7], `FIGURES`, of depths float64 [N] in metres, all above 0, N from 1."""
    off, ratio = found - truth, np.maximum(found / truth, truth / found)
    shares = [(ratio < 1.25**k).mean() for k in (1, 2, 3)]
    logs = np.log(found) - np.log(truth)
    means = ((np.abs(off) / truth).mean(), (off**2 / truth).mean(), math.sqrt((off**2).mean()), math.sqrt((logs**2).mean()))
    return np.array([*means, *shares])
