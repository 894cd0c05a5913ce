"""What two sets share: a drive, or pictures that look alike. 280 bytes a picture, and one place a drive and set."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivetrain import CurationFinding, Place, Sight

from .config import LeakageConfig
from .similarity import Similar, fingerprint


class Leakage:
    """Told of the later set's picture, since sets are named train first."""

    def __init__(self, config: LeakageConfig):
        self._similar = Similar(config)
        self._scenes: dict[str, dict[int, Place]] = {}

    def measure(self, sight: Sight) -> Any:
        return fingerprint(sight)

    def add(self, place: Place, measured: Any) -> None:
        self._similar.add(place, measured)
        if place.scene:
            self._scenes.setdefault(place.scene, {}).setdefault(place.set, place)

    def findings(self) -> Iterator[CurationFinding]:
        for scene, firsts in self._scenes.items():
            first, *others = firsts.values()
            for other in others:
                yield CurationFinding(other, "error", f"the drive {scene!r} is in two sets", {"scene": scene}, first)
        told: dict[int, tuple[int, float]] = {}
        places = self._similar.places
        for a, b, difference in self._similar.pairs():
            if places[a].set != places[b].set and (b not in told or difference < told[b][1]):
                told[b] = a, difference
        for b, (a, difference) in sorted(told.items()):
            what = f"looks like a picture of another set: {difference:.1f} grey levels apart"
            yield CurationFinding(places[b], "error", what, {"difference": round(difference, 2)}, places[a])

    def bars(self) -> list:
        return []
