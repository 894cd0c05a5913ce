"""Classes and scenarios counted. Nothing is kept a frame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np

from drivetrain import Bars, CurationFinding, Place, Sight

from .config import BalanceConfig


class Balance:
    def __init__(self, config: BalanceConfig):
        self._config = config
        self._frames: dict[str, Counter[str]] = {}
        self._amounts: dict[str, Counter[str]] = {}
        self._tags: dict[str, Counter[str]] = {}
        self._labelled: Counter[str] = Counter()

    def measure(self, sight: Sight) -> dict[str, Any]:
        """task -> class -> boxes or pixels; all declared classes are named."""
        amounts: dict[str, dict[str, int]] = {}
        infos = {task: [info for info in classes if not info.ignore] for task, classes in sight.classes.items()}
        if sight.labels.boxes is not None:
            names = Counter(sight.labels.boxes.names)
            amounts["object_detection"] = {info.name: names[info.name] for info in infos.get("object_detection", ())}
        if sight.mask is not None:
            pixels = np.bincount(sight.mask.ravel(), minlength=256)
            amounts["semantic_segmentation"] = {i.name: int(pixels[i.id]) for i in infos.get("semantic_segmentation", ())}
        return {"amounts": amounts, "tags": dict(sight.tags)}

    def add(self, place: Place, measured: dict[str, Any]) -> None:
        for tag, value in measured["tags"].items():
            self._tags.setdefault(tag, Counter())[value] += 1
        for task, amounts in measured["amounts"].items():
            self._labelled[task] += 1
            self._frames.setdefault(task, Counter()).update({name: int(n > 0) for name, n in amounts.items()})
            self._amounts.setdefault(task, Counter()).update(amounts)

    def findings(self) -> Iterator[CurationFinding]:
        for task, frames in self._frames.items():
            labelled = self._labelled[task]
            for name, count in frames.items():
                if count < self._config.rare * labelled:
                    evidence = {"task": task, "class": name, "frames": count, "labelled": labelled}
                    yield CurationFinding(
                        None, "note", f"{task}: {name} is in {count} of {labelled} labelled pictures", evidence
                    )

    def bars(self) -> list[Bars]:
        unit = {"object_detection": "boxes", "semantic_segmentation": "pixels"}
        charts = []
        for task in self._frames:
            charts.append(Bars(f"{task}: labelled pictures that have the class", dict(self._frames[task].most_common())))
            charts.append(Bars(f"{task}: {unit.get(task, 'labels')} of the class", dict(self._amounts[task].most_common())))
        return charts + [Bars(f"tag {tag}: pictures", dict(counts.most_common())) for tag, counts in self._tags.items()]
