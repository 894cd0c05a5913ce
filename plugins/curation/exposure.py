"""Black and white pictures, by the grey levels of the small picture."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from drivetrain import CurationFinding, Place, Sight

from .config import ExposureConfig

_WHITE = 250


class Exposure:
    def __init__(self, config: ExposureConfig):
        self._config = config
        self._found: list[CurationFinding] = []

    def measure(self, sight: Sight) -> tuple[float, float] | None:
        """The grey level that 99 % lie below, the share of white pixels; None for a picture that is well exposed."""
        high, white = float(np.percentile(sight.gray, 99)), float((sight.gray >= _WHITE).mean())
        return (high, white) if high < self._config.dark or white > self._config.bright else None

    def add(self, place: Place, measured: tuple[float, float]) -> None:
        high, white = measured
        what = (
            f"black: 99 % of it below grey level {high:.0f}" if high < self._config.dark else f"over-exposed: {white:.0%} white"
        )
        self._found.append(CurationFinding(place, "warning", what, {"p99": high, "white": round(white, 4)}))

    def findings(self) -> Iterator[CurationFinding]:
        yield from self._found

    def bars(self) -> list:
        return []
