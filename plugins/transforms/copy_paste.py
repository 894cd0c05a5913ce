"""Objects of one picture pasted into another (Ghiasi et al. 2021, Simple Copy-Paste), each where it stood."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from drivetrain import CameraSample, Rng, Transform

from .config import CopyPasteConfig
from .geometry import check_classes
from .layers import lay_objects, region_of

TASK = "object_detection"
_SMALLEST, _LARGEST = 8, 0.15  # pixels of the shorter side; share of the picture, or it would hide most of the other


class CopyPaste(Transform):
    """Up to ``most`` objects of a partner, none larger than a seventh of the picture, at their own place and size: of one
    camera they stand on the road there too. What is pasted are the object's own pixels where its frame has instance masks,
    else its box."""

    partners = 1
    reads = ("instances",)

    def __init__(self, config: CopyPasteConfig):
        self.p, self.classes, self.most, self.hidden = config.p, config.classes, config.most, config.hidden
        self._ids: frozenset[int] | None = None

    def prepare(self, classes: Mapping[str, tuple[str, ...]]) -> None:
        check_classes("copy_paste", self.classes, {TASK: classes.get(TASK, ())})
        if self.classes:
            self._ids = frozenset(classes[TASK].index(name) for name in self.classes)

    def takes(self, rng: Rng) -> int:
        return 1 if rng.uniform() < self.p else 0

    def mix(self, sample: CameraSample, partners: Sequence[CameraSample], rng: Rng) -> CameraSample:
        for partner in partners:
            taken = self._taken(partner, rng)
            if len(taken) and sample.labelled_classes[TASK].any():
                region = region_of(partner.targets[TASK]["boxes"][taken], partner)
                sample = lay_objects(sample, partner, taken, region, self.hidden)
        return sample

    def _taken(self, partner: CameraSample, rng: Rng) -> np.ndarray:
        """int [N]: boxes of the partner, drawn from those that fit."""
        fields = partner.targets.get(TASK)
        if fields is None:
            return np.zeros(0, int)
        sides = fields["boxes"][:, 2:] - fields["boxes"][:, :2]
        height, width = partner.view.size
        suit = (sides.min(1, initial=1e9) >= _SMALLEST) & (sides.prod(1) <= _LARGEST * height * width)
        fit = [i for i in np.flatnonzero(suit).tolist() if self._is_meant(fields, i)]
        count = min(len(fit), rng.integer(1, self.most + 1))
        return np.array([fit.pop(rng.integer(0, len(fit))) for _ in range(count)], int)

    def _is_meant(self, fields: Mapping[str, np.ndarray], place: int) -> bool:
        return self._ids is None or int(fields["classes"][place]) in self._ids
