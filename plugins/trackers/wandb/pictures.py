"""Panels as W&B images: masks and boxes that the viewer toggles by class, with class names, scores and the void."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from drivetrain import IGNORE, TASKS, Boxes, Encoded, Panel

if TYPE_CHECKING:
    import wandb

_MASKS = {"semantic_segmentation": "", "drivable_area": " drivable"}
"""Task -> what the name of its layer has beside ``truth`` or ``prediction``."""


def as_wandb_image(panel: Panel, classes: Mapping[str, Sequence[str]]) -> wandb.Image:
    """The picture captioned with its frame's key, under ``truth`` and ``prediction`` what each says of it."""
    import wandb
    from PIL import Image

    layers = {"truth": panel.truth, "prediction": panel.prediction}
    masks = {f"{name}{more}": _mask(getattr(labels, TASKS[task].prediction), classes[task])
             for task, more in _MASKS.items() for name, labels in layers.items()
             if labels is not None and getattr(labels, TASKS[task].prediction) is not None}  # fmt: skip
    boxes = {name: _boxes(labels.boxes, classes["object_detection"]) for name, labels in layers.items()
             if labels is not None and labels.boxes is not None}  # fmt: skip
    return wandb.Image(Image.fromarray(panel.image), caption=panel.key, masks=masks or None, boxes=boxes or None,
                       file_type="jpg")  # fmt: skip


def _labels(names: Sequence[str]) -> dict[int, str]:
    return {**dict(enumerate(names)), IGNORE: "ignore"}


def _mask(mask: np.ndarray | Encoded, names: Sequence[str]) -> dict[str, Any]:
    assert isinstance(mask, np.ndarray), "a panel's masks are decoded"
    return {"mask_data": mask, "class_labels": _labels(names)}


def _boxes(boxes: Boxes, names: Sequence[str]) -> dict[str, Any]:
    scores = [None] * len(boxes) if boxes.scores is None else boxes.scores.tolist()
    ignored = np.zeros(len(boxes), bool) if boxes.ignore is None else boxes.ignore
    rows = zip(boxes.xyxy.tolist(), boxes.names, ignored.tolist(), scores)
    return {"box_data": [_box(*row, list(names)) for row in rows], "class_labels": _labels(names)}


def _box(xyxy: list[float], name: str, ignore: bool, score: float | None, names: list[str]) -> dict[str, Any]:
    number = IGNORE if ignore or name not in names else names.index(name)
    box = {
        "position": dict(zip(("minX", "minY", "maxX", "maxY"), xyxy)), "domain": "pixel", "class_id": number,
        "box_caption": f"{name} (ignored)" if ignore else name if score is None else f"{name} {score:.2f}",
    }  # fmt: skip
    return box if score is None else {**box, "scores": {"score": score}}
