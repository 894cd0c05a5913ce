"""Blurred pictures: the variance of the Laplacian (Pech-Pacheco et al., ICPR 2000) against the set's and camera's own.

A fixed threshold would call a foggy day blurred, so a picture is held against its fellows: the logarithm of its sharpness
lies several robust standard deviations (1.4826 times the median absolute deviation) below their median. 8 bytes a picture.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from drivetrain import CurationFinding, Place, Sight

from .config import BlurConfig

_DARKEST = 24  # grey level: a black picture is exposure's to tell
_LEAST_SPREAD = 0.15  # of the logarithm: where all are equally sharp, small differences mean nothing


class Blur:
    def __init__(self, config: BlurConfig):
        self._config = config
        self._seen: dict[tuple[int, str], list[tuple[Place, float]]] = {}

    def measure(self, sight: Sight) -> float | None:
        gray = sight.gray
        return float(cv2.Laplacian(gray, cv2.CV_32F).var()) if np.percentile(gray, 99) >= _DARKEST else None

    def add(self, place: Place, measured: float) -> None:
        self._seen.setdefault((place.set, place.camera), []).append((place, measured))

    def findings(self) -> Iterator[CurationFinding]:
        for seen in self._seen.values():
            sharpness = np.log(np.array([value for _, value in seen]) + 1e-3)
            median = np.median(sharpness)
            spread = max(1.4826 * float(np.median(np.abs(sharpness - median))), _LEAST_SPREAD)
            for (place, value), below in zip(seen, (median - sharpness) / spread):
                if below > self._config.deviations:
                    what = f"blurred: sharpness {value:.0f}, half of the set is above {np.exp(median):.0f}"
                    yield CurationFinding(place, "warning", what, {"sharpness": round(value, 2), "deviations": round(below, 2)})

    def bars(self) -> list:
        return []
