"""``drivetrain score culane``: folders of NAME.lines.txt, a lane a line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain import official_pairs, wrong_line

from .matching import matched, measure

if TYPE_CHECKING:
    from .config import CulaneConfig

_SUFFIX = ".lines.txt"


def build(config: CulaneConfig) -> Callable[..., Any]:
    return partial(CulaneScored, config=config)


class CulaneScored:
    """Lanes of CULane's files, read and matched a frame at a time. ``ids`` as in CULane's lists: ``/drive/clip/frame.jpg``;
    the folder of a frame is its scene."""

    nothing = None

    def __init__(self, truth: Path, predictions: Path, ids: Sequence[str] | None, config: CulaneConfig):
        names = None if ids is None else [name.rpartition(".")[0] if name.endswith((".jpg", ".png")) else name for name in ids]
        pairs = official_pairs(truth, predictions, _SUFFIX, names)
        self.keys = [f"/{key}.jpg" for key, _, _ in pairs] if ids is None else list(ids)
        self.scenes = [key.rpartition("/")[0] or key for key in self.keys]
        self.thresholds = np.array(config.iou)
        self.counts = np.zeros((len(pairs), 2), np.int64)  # labels and predictions
        self.hits = np.zeros((len(pairs), len(config.iou)), np.int64)
        for counts, hits, (_, label, found) in zip(self.counts, self.hits, pairs):
            lanes = read_lanes(label), read_lanes(found)
            counts[:] = [len(side) for side in lanes]
            hits[:] = matched(*lanes, (config.height, config.width), config.lane_width, self.thresholds)

    def figures(self, times: np.ndarray) -> dict[str, Any]:
        """``iou[threshold]``: ``tp``, ``fp``, ``fn``, ``precision``, ``recall`` and ``Fmeasure``."""
        labels, found = (times @ self.counts).tolist()
        hits = (times @ self.hits).tolist()
        return {"iou": {f"{threshold:g}": measure(tp, found, labels) for threshold, tp in zip(self.thresholds, hits)}}


def read_lanes(path: Path) -> list[np.ndarray]:
    """Lanes, each float64 [P, 2]. Raises DataError with the line that is wrong."""
    lanes = []
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), start=1):
        words = line.split()
        try:
            values = np.array(words, np.float64)
        except ValueError:
            values = np.array([np.nan])
        if len(values) % 2 or not np.isfinite(values).all():
            what = f"{len(words)} numbers" if np.isfinite(values).all() else "a word that is no number"
            raise wrong_line(path, number, f"holds {what}", 'expected "x y x y ..." in pixels; an empty file has no lanes')
        if len(values):
            lanes.append(values.reshape(-1, 2))
    return lanes
