"""Unlabelled frames that are worth labelling: the model is uncertain of them, and they are unlike each other.

Uncertainty of a frame: the mean over its predicted boxes of 1 - |2 score - 1|, which is 1 at a score of one half, times the
share n / (n + 1), so that one doubtful box counts less than many; frames whose predictions have no scores (masks) have none,
and are chosen by diversity alone. Diversity: the distance of an 8 x 8 grey thumbnail to the nearest that is chosen already
(farthest-first traversal, as k-center; Sener, Savarese: ICLR 2018). Both are weighed after scaling to [0, 1]. This is a
ranking by a simple rule, no promise of what a model will learn. 72 bytes and a place an unlabelled frame.
"""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np

from drivetrain import CurationFinding, Place, Sight

from .config import InformativeConfig


class Informative:
    def __init__(self, config: InformativeConfig):
        self._config = config
        self._places: list[Place] = []
        self._uncertainty: list[float] = []
        self._looks: list[bytes] = []

    def measure(self, sight: Sight) -> tuple[float, bytes] | None:
        labels, said = sight.labels, sight.prediction
        if said is None or labels.boxes is not None or labels.semantic is not None:
            return None
        look = cv2.resize(sight.gray, (8, 8), interpolation=cv2.INTER_AREA).tobytes()
        scores = said.boxes.scores if said.boxes is not None else None
        if scores is None or not len(scores):
            return 0.0, look
        return float((1 - np.abs(2 * scores - 1)).mean() * len(scores) / (len(scores) + 1)), look

    def add(self, place: Place, measured: tuple[float, bytes]) -> None:
        self._places.append(place)
        self._uncertainty.append(measured[0])
        self._looks.append(measured[1])

    def findings(self) -> Iterator[CurationFinding]:
        if not self._places:
            return
        looks = np.frombuffer(b"".join(self._looks), np.uint8).reshape(len(self._places), -1).astype(np.float32)
        doubt = np.array(self._uncertainty)
        doubt_share, farthest = doubt / max(doubt.max(), 1e-9), np.full(len(looks), np.inf)
        left = np.ones(len(looks), bool)
        for rank in range(min(self._config.count, len(looks))):
            spread = np.ones(len(looks)) if rank == 0 else farthest / max(farthest[left].max(), 1e-9)
            worth = self._config.diversity * spread + (1 - self._config.diversity) * doubt_share
            chosen = int(np.where(left, worth, -1).argmax())
            left[chosen] = False
            farthest = np.minimum(farthest, np.linalg.norm(looks - looks[chosen], axis=1))
            what = f"worth labelling: place {rank + 1}, uncertainty {doubt[chosen]:.2f}"
            yield CurationFinding(
                self._places[chosen], "note", what, {"rank": rank + 1, "uncertainty": round(doubt[chosen], 4)}
            )

    def bars(self) -> list:
        return []
