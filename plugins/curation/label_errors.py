"""Likely label errors, from a prediction set.

Boxes, after confident learning (Northcutt, Jiang, Chuang: Confident Learning, JAIR 2021): a prediction of a class counts as
confident where its score is at least the mean score of predictions of that class on objects that are labelled with it, so
that no fixed score has to suit all classes. Confident predictions that meet no label are likely missing labels, those that
meet a label of another class likely wrong classes; a label that no prediction at all overlaps is likely not there.

Masks: prediction sets hold class ids, not probabilities, so there is nothing to be confident by. Told are labels of a class
most of whose pixels in a frame are predicted as one other class; such disagreement is the model's error as often.

A few numbers are kept a prediction: 40 bytes or so.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import cv2
import numpy as np

from drivetrain import IGNORE, Boxes, ClassInfo, CurationFinding, DataError, Encoded, Place, Sight

from .config import LabelErrorsConfig

_LEAST_PIXELS = 0.005  # of the picture: a class of fewer is no more than an edge


class Said(NamedTuple):
    """A prediction: its class and score, and the class of the label that it meets (None: it meets none)."""

    name: str
    score: float
    box: list[float]
    label: str | None


class Measured(NamedTuple):
    said: list[Said]
    alone: list[tuple[str, list[float]]]
    pixels: list[tuple[str, str, float]]


class LabelErrors:
    def __init__(self, config: LabelErrorsConfig):
        self._config = config
        self._seen: list[tuple[Place, Measured]] = []

    def measure(self, sight: Sight) -> Measured | None:
        if sight.prediction is None:
            return None
        said, alone = self._boxes(sight.labels.boxes, sight.prediction.boxes, sight.predicted_classes)
        measured = Measured(said, alone, list(self._pixels(sight)))
        return measured if any(measured) else None

    def add(self, place: Place, measured: Measured) -> None:
        self._seen.append((place, measured))

    def findings(self) -> Iterator[CurationFinding]:
        sure = self._thresholds()
        found = [finding for place, measured in self._seen for finding in _told(place, measured, sure)]
        yield from sorted(found, key=lambda finding: -finding.evidence["confidence"])

    def bars(self) -> list:
        return []

    def _boxes(self, labels: Boxes | None, said: Boxes | None, predicted: Mapping[str, Sequence[ClassInfo]]
               ) -> tuple[list[Said], list[tuple[str, list[float]]]]:  # fmt: skip
        if labels is None or said is None or said.scores is None:
            return [], []
        assert labels.ignore is not None
        overlap = iou(said.xyxy, labels.xyxy)
        best = overlap.argmax(1) if len(labels) else np.zeros(len(said), int)
        rows = []
        for i, (name, score) in enumerate(zip(said.names, said.scores.tolist())):
            meets = len(labels) > 0 and overlap[i, best[i]] >= self._config.iou
            if not (meets and labels.ignore[best[i]]):
                rows.append(Said(name, score, said.xyxy[i].tolist(), labels.names[best[i]] if meets else None))
        names = {info.name for info in predicted.get("object_detection", ())}
        highest = overlap.max(0) if len(said) else np.zeros(len(labels))
        alone = [(labels.names[j], labels.xyxy[j].tolist()) for j in np.flatnonzero(highest < self._config.loose)
                 if not labels.ignore[j] and labels.names[j] in names]  # fmt: skip
        return rows, alone

    def _pixels(self, sight: Sight) -> Iterator[tuple[str, str, float]]:
        """(labelled class, class that most of it is predicted as, share of its pixels)."""
        said = sight.prediction.semantic if sight.prediction else None
        if sight.mask is None or said is None:
            return
        mask = _decoded(said)
        if mask.shape != sight.mask.shape:
            return
        names = {info.id: info.name for info in sight.predicted_classes["semantic_segmentation"]}
        counts = np.bincount(sight.mask.ravel().astype(np.int64) * 256 + mask.ravel(), minlength=1 << 16).reshape(256, 256)
        for info in sight.classes.get("semantic_segmentation", ()):
            row = counts[info.id]
            most, total = int(row.argmax()), int(row.sum())
            other = names.get(most, info.name)
            if total > _LEAST_PIXELS * mask.size and other != info.name and not info.ignore and info.id != IGNORE \
                    and info.name in names.values() and row[most] > self._config.pixels * total:  # fmt: skip
                yield info.name, other, float(row[most] / total)

    def _thresholds(self) -> dict[str, float]:
        """Class -> the mean score of its predictions on labels of it: Northcutt's t_j."""
        agreed: dict[str, list[float]] = {}
        for _, measured in self._seen:
            for said in measured.said:
                if said.label == said.name:
                    agreed.setdefault(said.name, []).append(said.score)
        return {name: float(np.mean(scores)) for name, scores in agreed.items()}


def _told(place: Place, measured: Measured, sure: dict[str, float]) -> Iterator[CurationFinding]:
    for said in measured.said:
        if said.label != said.name and said.score >= sure.get(said.name, 1.0):
            evidence = {"boxes": [said.box], "confidence": round(said.score, 4), "predicted": said.name, "labelled": said.label}
            what = f"a {said.name} without a label" if said.label is None else f"labelled {said.label}, predicted {said.name}"
            yield CurationFinding(place, "warning", f"{what} (score {said.score:.2f})", evidence)
    for name, box in measured.alone:
        yield CurationFinding(place, "note", f"a {name} that no prediction overlaps", {"boxes": [box], "confidence": 0.0})
    for name, other, share in measured.pixels:
        evidence = {"confidence": round(share, 4), "labelled": name, "predicted": other}
        yield CurationFinding(place, "note", f"{share:.0%} of what is labelled {name} is predicted as {other}", evidence)


def iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """float32 [A, B]: intersection over union of boxes x1 y1 x2 y2."""
    low, high = np.maximum(a[:, None, :2], b[None, :, :2]), np.minimum(a[:, None, 2:], b[None, :, 2:])
    shared = (high - low).clip(0).prod(2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clip(0).prod(1) for boxes in (a, b)]
    return shared / np.maximum(areas[0][:, None] + areas[1][None] - shared, 1e-9)


def _decoded(mask: np.ndarray | Encoded) -> np.ndarray:
    if isinstance(mask, np.ndarray):
        return mask
    ids = cv2.imdecode(np.frombuffer(mask.data, np.uint8), cv2.IMREAD_UNCHANGED)
    if ids is None:
        raise DataError("a predicted mask cannot be decoded")
    return ids
