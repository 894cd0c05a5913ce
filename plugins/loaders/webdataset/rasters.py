"""The targets that are pictures themselves: they are drawn beside the image, into the batch's own buffers."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from drivetrain import IGNORE, PIXEL_LABELS, TASKS


@dataclass(frozen=True)
class Raster:
    """Of ``task``, from the field ``label`` of a camera to the field ``target`` of the targets, ``dtype`` [H, W], which is
    ``outside`` where there is no picture."""

    task: str
    label: str
    target: str
    dtype: np.dtype[Any]
    outside: int

    @property
    def is_mask(self) -> bool:
        return TASKS[self.task].is_mask


def _raster(name: str) -> Raster:
    task = TASKS[name]
    (target,) = task.targets
    kind, outside = (np.uint8, IGNORE) if task.is_mask else (np.float32, 0)
    return Raster(name, task.prediction, target, np.dtype(kind), outside)


RASTERS = {task.name: _raster(task.name) for task in TASKS.values() if task.prediction in PIXEL_LABELS}


def rasters_of(tasks: Iterable[str]) -> tuple[Raster, ...]:
    """Those that ``tasks`` need, in their order: the order of the arrays that a picture is drawn into, after its image."""
    return tuple(RASTERS[task] for task in tasks if task in RASTERS)
