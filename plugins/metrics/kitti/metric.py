"""The metric ``kitti_ap``: KITTI's 2D AP and AOS of Frames, by the matching of ``drivetrain score kitti``.

How a Frame's labels are read: truncation and occlusion are the label's (``attributes["occluded"]`` where given, else the steps
of ``occlusion``; unknown is visible); Van and Person_sitting are neighbours, whether the recipe ignores them or not; an ignored
box of a class neither counts nor makes a detection wrong; other ignored boxes and ignore regions are DontCare. Coordinates
count to two decimals, as in KITTI's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from drivetrain import Boxes, Camera, CameraLabels, MetricContext, PictureMetric, RecipeError

from .counting import Counted, figures
from .matching import CLASSES, DIFFICULTIES, NOTHING, Found, Objects, match_frame

_OTHERS = ("van", "person_sitting", "truck", "tram", "misc")
_HIDDEN = 9
_NO_ANGLE = -10.0
Cells = dict[tuple[str, str], Found]


_Picture = tuple[Cells, bool]
"""What was found, and whether every predicted box has an angle."""


def build(config: None, context: MetricContext) -> KittiAP:
    return KittiAP(context)


class KittiAP(PictureMetric):
    """Classes of any case; those that KITTI does not score stay aside. Raises RecipeError where it scores none."""

    def __init__(self, context: MetricContext):
        super().__init__(context)
        self.scored_classes = [name for name in CLASSES if name.lower() in {one.lower() for one in self.classes}]
        if not self.scored_classes:
            raise RecipeError(f"kitti_ap scores {', '.join(CLASSES)}, none of the classes {', '.join(self.classes)}")

    def match(self, predicted: CameraLabels, camera: Camera, what: str) -> _Picture | None:
        """Raises ValueError for predictions without scores."""
        if camera.boxes is None:
            return None
        if predicted.boxes is None or predicted.boxes.scores is None:
            raise ValueError(f"{what}: the prediction has no boxes with scores")
        found = _objects(predicted.boxes)
        cells = match_frame(_labels(camera, {one.lower() for one in self.scored_classes}), found)
        looked = {one.lower() for one in camera.labelled_classes.get(self.task, self.classes)}
        kept = {cell: one if cell[0].lower() in looked else NOTHING for cell, one in cells.items()}
        return kept, not (found.alpha == _NO_ANGLE).any()

    def counted(self, kept: Sequence[_Picture]) -> Any:
        """``kitti_ap``, the mean over classes of the moderate 2D AP_R40 in percent; ``ap`` as ``drivetrain score kitti`` has
        it, with ``aos`` where every predicted box has an ``alpha``; ``objects``, the labels to be found at moderate."""
        cells = {(name, level): Counted([cells[name, level] for cells, _ in kept])
                 for name in CLASSES for level in DIFFICULTIES}  # fmt: skip
        kinds = ("bbox", "aos") if all(oriented for _, oriented in kept) else ("bbox",)

        def of(times: np.ndarray) -> dict[str, Any]:
            ap = figures(cells, times)
            shown = {name: {kind: ap[name][kind] for kind in kinds} for name in self.scored_classes}
            known = [v for name in shown if (v := ap[name]["bbox"]["moderate"]["AP_R40"]) is not None]
            objects = {name: int(cells[name, "moderate"].labels @ times) for name in shown}
            return {"kitti_ap": sum(known) / len(known) if known else None, "ap": shown, "objects": objects}

        return of


def _labels(camera: Camera, scored: set[str]) -> Objects:
    """A picture's labels in KITTI's terms, its ignore regions last."""
    assert camera.boxes is not None and camera.boxes.ignore is not None
    labels = _objects(camera.boxes)
    own = np.array([name in scored for name in labels.names], bool)
    labels.occlusion[camera.boxes.ignore & own] = _HIDDEN
    stray = camera.boxes.ignore & ~own & ~np.isin(labels.names.astype(str), _OTHERS)
    labels.names[stray] = "dontcare"
    regions = np.zeros((0, 4)) if camera.ignore_regions is None else np.asarray(camera.ignore_regions).reshape(-1, 4)
    more = _objects(Boxes(regions, ["dontcare"] * len(regions)))
    return Objects(*(np.concatenate([getattr(side, name) for side in (labels, more)]) for name in Objects.__annotations__))


def _objects(boxes: Boxes) -> Objects:
    said = boxes.attributes or [{}] * len(boxes)
    unknown = np.full(len(boxes), np.nan)
    steps = np.round(2 * np.nan_to_num(unknown if boxes.occlusion is None else boxes.occlusion))
    occluded = [one.get("occluded", step) for one, step in zip(said, steps)]
    return Objects(
        np.array([name.lower() for name in boxes.names], object), np.round(boxes.xyxy.astype(np.float64), 2),
        np.array([one.get("alpha", _NO_ANGLE) for one in said], np.float64),
        np.nan_to_num(unknown if boxes.truncation is None else boxes.truncation.astype(np.float64).round(2)),
        np.array(occluded, np.float64), np.zeros(len(boxes)) if boxes.scores is None else boxes.scores.astype(np.float64),
    )  # fmt: skip
