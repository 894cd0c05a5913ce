"""COCO's average precision on boxes: the twelve figures of pycocotools' ``COCOeval`` with its default parameters.

How a Frame's labels are read (Lin et al., Microsoft COCO, 2014, and the evaluator's own handling of crowds):

- A box with ``ignore`` is a crowd of its class: detections that lie in it for the most part are neither right nor wrong.
- An ignored box of no class of the recipe, and every ignore region, is a crowd of all classes.
- In a picture that was not searched for a class, the class's labels and detections do not count.
- A box's area is ``attributes["area"]`` where given (COCO's own is the mask's), else its width times its height.
- A box's distance is ``attributes["distance"]`` in metres where given, else that of KITTI's ``location`` from the camera or of
  nuScenes' ``translation`` from the car, along the ground.
- Equal scores are ranked by the pictures' keys, then by their order in the prediction, so figures do not depend on ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from drivetrain import Boxes, Camera, CameraLabels, MetricContext, PictureMetric

from . import kinds
from .counting import Matched
from .outcomes import Outcomes, Sides

_FIGURES = ("coco_map", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class _Truth(NamedTuple):
    xyxy: np.ndarray  # float32 [N, 4]
    classes: np.ndarray  # int16 [N]
    crowd: np.ndarray  # bool [N]
    area: np.ndarray  # float64 [N]
    distance: np.ndarray  # float32 [N], NaN where unknown


class _Detections(NamedTuple):
    xyxy: np.ndarray  # float32 [N, 4]
    classes: np.ndarray  # int16 [N]
    scores: np.ndarray  # float32 [N]
    distance: np.ndarray  # float32 [N]


_Picture = tuple[_Truth, _Detections]


def build(config: None, context: MetricContext) -> CocoMap:
    return CocoMap(context)


class CocoMap(PictureMetric):
    """The metric ``coco_map``. Of a picture its boxes are kept, as a few small arrays."""

    def __init__(self, context: MetricContext):
        super().__init__(context)
        self._id = {name: number for number, name in enumerate(self.classes)}

    def match(self, predicted: CameraLabels, camera: Camera, what: str) -> _Picture | None:
        """Raises ValueError for predicted boxes without scores or of an unknown class."""
        if camera.boxes is None:
            return None
        kept = self._looked_for(camera)
        labels, detections = self._truth(camera.boxes, camera), self._detections(predicted.boxes, camera, what)
        return _Truth(*_of_classes(labels, kept)), _Detections(*_of_classes(detections, kept))

    def _looked_for(self, camera: Camera) -> list[int]:
        names = camera.labelled_classes.get(self.task, self.classes)
        return [self._id[name] for name in names if name in self._id]

    def _truth(self, boxes: Boxes, camera: Camera) -> _Truth:
        """The labels; those of no class of the recipe, and the regions, once for every class."""
        assert boxes.ignore is not None
        stray = sorted({n for n, ignore in zip(boxes.names, boxes.ignore) if not ignore and n not in self._id})
        if stray:
            raise ValueError(f"truth holds boxes of {stray}, outside the classes {list(self.classes)}")
        regions = np.zeros((0, 4)) if camera.ignore_regions is None else camera.ignore_regions
        extra = np.asarray(regions, np.float32).reshape(-1, 4)
        own = [[self._id[name]] if name in self._id else range(len(self.classes)) for name in boxes.names]
        classes = [*own, *[range(len(self.classes))] * len(extra)]
        rows = np.repeat(np.arange(len(classes)), [len(ids) for ids in classes])
        return _Truth(
            np.concatenate([boxes.xyxy, extra])[rows], np.array([i for ids in classes for i in ids], np.int16),
            np.concatenate([boxes.ignore, np.ones(len(extra), bool)])[rows],
            np.concatenate([_areas(boxes.xyxy, boxes.attributes), _areas(extra, None)])[rows],
            np.concatenate([_distances(boxes, camera), np.full(len(extra), np.nan, np.float32)])[rows],
        )  # fmt: skip

    def _detections(self, boxes: Boxes | None, camera: Camera, what: str) -> _Detections:
        if boxes is None or boxes.scores is None:
            raise ValueError(f"{what}: the prediction has no boxes with scores")
        unknown = sorted(set(boxes.names) - set(self._id))
        if unknown:
            raise ValueError(f"{what}: boxes are predicted of {unknown}, outside the classes {list(self.classes)}")
        classes = np.array([self._id[n] for n in boxes.names], np.int16)
        return _Detections(boxes.xyxy, classes, boxes.scores, _distances(boxes, camera))

    def counted(self, kept: Sequence[_Picture]) -> Any:
        """``coco_map`` (AP over IoU .50:.05:.95), its fellows and ``ap`` per class; None where COCO says -1: nothing there to
        be found. Then what became of the boxes (`Outcomes`)."""
        truth, found = [labels for labels, _ in kept], [detections for _, detections in kept]
        matched = Matched(self._dataset(truth), _rows(found), range(len(kept)))
        score = np.concatenate([np.zeros(0, np.float32), *(one.scores for one in found)])
        outcomes = Outcomes(_side(truth), _side(found), score, matched.pairs, self.classes)

        def of(times: np.ndarray) -> dict[str, Any]:
            whole, classes = matched.figures(times)
            ap = {name: figures["AP"] for name, figures in zip(self.classes, classes)}
            return {**dict(zip(_FIGURES, whole.values())), "ap": ap, **outcomes.figures(times)}

        return of

    def _dataset(self, pictures: Sequence[_Truth]) -> dict[str, Any]:
        return {
            "images": [{"id": image} for image in range(len(pictures))],
            "categories": [{"id": number, "name": name} for number, name in enumerate(self.classes)],
            "annotations": _rows(pictures),
        }


def _of_classes(boxes: _Truth | _Detections, classes: list[int]) -> list[np.ndarray]:
    """The columns of ``boxes`` cut to the rows that are of ``classes``."""
    kept = np.isin(boxes.classes, classes)
    return [column[kept] for column in boxes]


def _areas(xyxy: np.ndarray, attributes: list[dict[str, Any]] | None) -> np.ndarray:
    """float64 [N], px^2: the labels' own where they state one."""
    areas = (xyxy[:, 2:].astype(np.float64) - xyxy[:, :2]).prod(1)
    for place, given in enumerate(attributes or ()):
        areas[place] = given.get("area", areas[place])
    return areas


def _distances(boxes: Boxes, camera: Camera) -> np.ndarray:
    """float32 [N], m; NaN where the labels do not tell."""
    car = None if camera.ego_to_world is None else np.asarray(camera.ego_to_world)[:2, 3]
    return np.array([_distance(said, car) for said in boxes.attributes or [{}] * len(boxes)], np.float32)


def _distance(said: dict[str, Any], car: np.ndarray | None) -> float:
    if "distance" in said:
        return said["distance"]
    if "location" in said:  # x right, y down, z forward
        return float(np.hypot(said["location"][0], said["location"][2]))
    if "translation" in said and car is not None:
        return float(np.hypot(*np.asarray(said["translation"][:2]) - car))
    return np.nan


def _side(pictures: Sequence[Any]) -> Sides:
    """Labels or detections of all pictures, as rows in the order of `_rows`."""
    none = np.zeros((0, 4))
    xyxy = np.concatenate([none, *(boxes.xyxy for boxes in pictures)]).astype(np.float64)
    column = lambda name: np.concatenate([none[:, 0], *(getattr(boxes, name) for boxes in pictures)])
    numbers = np.repeat(np.arange(len(pictures)), np.array([len(boxes.xyxy) for boxes in pictures], np.int64))
    xywh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], 1)
    area = column("area") if pictures and isinstance(pictures[0], _Truth) else xywh[:, 2:].prod(1)
    return Sides(kinds.Boxes(numbers, column("classes").astype(np.int64), xywh), area, column("distance"))


def _rows(pictures: Sequence[Any]) -> list[dict[str, Any]]:
    return [row for image, boxes in enumerate(pictures) for row in _annotations(image, boxes)]


def _annotations(image: int, boxes: _Truth | _Detections) -> Iterator[dict[str, Any]]:
    xyxy = boxes.xyxy.astype(np.float64)
    xywh = np.concatenate([xyxy[:, :2], xyxy[:, 2:] - xyxy[:, :2]], 1)
    crowd = boxes.crowd.tolist() if isinstance(boxes, _Truth) else [False] * len(xywh)
    area = boxes.area if isinstance(boxes, _Truth) else xywh[:, 2:].prod(1)
    scores = [None] * len(xywh) if isinstance(boxes, _Truth) else boxes.scores.tolist()
    for box, number, is_crowd, size, score in zip(xywh.tolist(), boxes.classes.tolist(), crowd, area.tolist(), scores):
        yield {"image_id": image, "category_id": number, "bbox": box, "area": size, "iscrowd": int(is_crowd),
               "score": score}  # fmt: skip
