"""Pictures of one set and camera that look alike. 280 bytes a picture; see `similarity` for the search."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from drivetrain import CurationFinding, Place, Sight

from .config import NearDuplicatesConfig
from .similarity import Similar, fingerprint


class NearDuplicates:
    """Each picture is told once, with the earliest that it looks like; the same bytes are `exact_duplicates`' to tell."""

    def __init__(self, config: NearDuplicatesConfig):
        self._similar = Similar(config)

    def measure(self, sight: Sight) -> Any:
        return fingerprint(sight)

    def add(self, place: Place, measured: Any) -> None:
        self._similar.add(place, measured)

    def findings(self) -> Iterator[CurationFinding]:
        first: dict[int, tuple[int, float]] = {}
        places = self._similar.places
        for a, b, difference in self._similar.pairs():
            together = places[a].set == places[b].set and places[a].camera == places[b].camera
            if together and not self._similar.same_bytes(a, b) and (b not in first or a < first[b][0]):
                first[b] = a, difference
        for b, (a, difference) in sorted(first.items()):
            what = f"looks like an earlier picture: {difference:.1f} grey levels apart"
            yield CurationFinding(places[b], "note", what, {"difference": round(difference, 2)}, places[a])

    def bars(self) -> list:
        return []
