"""Labels that cannot be. Nothing is kept but what is found; masks are decoded where there are boxes beside them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from drivetrain import IGNORE, CurationFinding, Place, Sight

from .config import LabelSanityConfig

Wrong = tuple[str, str, dict[str, Any]]
"""Severity, what, evidence."""


class LabelSanity:
    def __init__(self, config: LabelSanityConfig):
        self._config = config
        self._found: list[CurationFinding] = []

    def measure(self, sight: Sight) -> list[Wrong] | None:
        return [*self._boxes(sight), *self._mask(sight), *self._boxes_against_mask(sight)] or None

    def add(self, place: Place, measured: list[Wrong]) -> None:
        self._found += [CurationFinding(place, *wrong) for wrong in measured]

    def findings(self) -> Iterator[CurationFinding]:
        yield from self._found

    def bars(self) -> list:
        return []

    def _boxes(self, sight: Sight) -> Iterator[Wrong]:
        boxes, config = sight.labels.boxes, self._config
        if boxes is None:
            return
        known = {info.name for info in sight.classes.get("object_detection", ())}
        edges = np.array([sight.labels.width, sight.labels.height])
        for box, name in zip(boxes.xyxy.astype(float), boxes.names):
            low, high, evidence = box[:2], box[2:], {"boxes": [box.tolist()], "class": name}
            short, long = sorted((high - low).tolist())
            if name not in known:
                yield "error", f"the class {name!r} is not declared", evidence
            if (low < -config.outside).any() or (high > edges + config.outside).any():
                yield "error", f"the {name} box reaches out of the picture", evidence
            if not short >= config.smallest:
                yield "error", f"the {name} box is {short:.2g} px across", evidence
            elif long / short > config.aspect:
                yield "warning", f"the {name} box is {long / short:.0f} times as long as it is wide", evidence
        for a, b in _same(boxes.xyxy, boxes.names):
            yield "warning", f"the {boxes.names[a]} box is there twice", {"boxes": boxes.xyxy[[a, b]].tolist()}

    def _mask(self, sight: Sight) -> Iterator[Wrong]:
        infos = sight.classes.get("semantic_segmentation", ())
        if sight.mask is None:
            return
        if sight.mask.shape != (sight.labels.height, sight.labels.width):
            yield "error", f"the mask is {sight.mask.shape[1]} x {sight.mask.shape[0]}", {}
        strange = np.setdiff1d(np.unique(sight.mask), [*(info.id for info in infos), IGNORE]).tolist()
        if strange:
            yield "error", f"the mask holds ids {strange} of no declared class", {"ids": strange}

    def _boxes_against_mask(self, sight: Sight) -> Iterator[Wrong]:
        """A box of a class that the mask knows too, and that the mask has (nearly) nothing of inside it."""
        boxes, ids = sight.labels.boxes, {info.name: info.id for info in sight.classes.get("semantic_segmentation", ())}
        if boxes is None or sight.mask is None:
            return
        assert boxes.ignore is not None
        for box, name, ignored in zip(boxes.xyxy.tolist(), boxes.names, boxes.ignore):
            x1, y1, x2, y2 = (max(0, round(edge)) for edge in box)
            inside = sight.mask[y1:y2, x1:x2]
            if name in ids and not ignored and inside.size:
                share = float((inside == ids[name]).mean())
                if share < self._config.mask_share:
                    what = f"the {name} box and the mask disagree: {share:.0%} of it is {name} there"
                    yield "warning", what, {"boxes": [box], "class": name, "share": round(share, 4)}


def _same(xyxy: np.ndarray, names: list[str]) -> Iterator[tuple[int, int]]:
    first: dict[tuple, int] = {}
    for number, (box, name) in enumerate(zip(np.round(xyxy).tolist(), names)):
        before = first.setdefault((name, *box), number)
        if before != number:
            yield before, number
