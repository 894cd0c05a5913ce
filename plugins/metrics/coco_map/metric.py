"""COCO's average precision on boxes: the twelve figures of pycocotools' ``COCOeval`` with its default parameters.

How a Frame's labels are read (Lin et al., Microsoft COCO, 2014, and the evaluator's own handling of crowds):

- A box with ``ignore`` is a crowd of its class: detections that lie in it for the most part are neither right nor wrong.
- An ignored box of no class of the recipe, and every ignore region, is a crowd of all classes.
- In a picture that was not searched for a class, the class's labels and detections do not count.
- A box's area is ``attributes["area"]`` where given (COCO's own is the mask's), else its width times its height.
- Equal scores are ranked by the pictures' keys, then by their order in the prediction, so figures do not depend on ranks.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from drivetrain import Boxes, Camera, DataError, Frame, MetricContext, Prediction

from .counting import Matched

_FIGURES = ("coco_map", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")


class _Truth(NamedTuple):
    xyxy: np.ndarray  # float32 [N, 4]
    classes: np.ndarray  # int16 [N]
    crowd: np.ndarray  # bool [N]
    area: np.ndarray  # float64 [N]


class _Detections(NamedTuple):
    xyxy: np.ndarray  # float32 [N, 4]
    classes: np.ndarray  # int16 [N]
    scores: np.ndarray  # float32 [N]


State = dict[tuple[str, str], tuple[_Truth, _Detections]]


def build(config: None, context: MetricContext) -> CocoMap:
    return CocoMap(context.task, context.classes)


class CocoMap:
    """The metric ``coco_map`` of ``classes``. Its state holds each picture's boxes as a few small arrays."""

    def __init__(self, task: str, classes: tuple[str, ...]):
        self.task, self.classes = task, classes
        self._id = {name: number for number, name in enumerate(classes)}
        self._pictures: State = {}

    def update(self, prediction: Prediction, truth: Frame) -> None:
        """Keep the boxes of every predicted camera that has labels. Raises DataError for a frame that came before, and
        ValueError for predicted boxes without scores or of an unknown class."""
        for name, predicted in prediction.cameras.items():
            camera = truth.cameras[name]
            if camera.boxes is not None:
                labels = self._truth(camera.boxes, camera.ignore_regions)
                detections = self._detections(predicted.boxes, f"frame {truth.key!r}, {name}")
                kept = self._looked_for(camera)
                picture = _Truth(*_of_classes(labels, kept)), _Detections(*_of_classes(detections, kept))
                self.merge({(truth.key, name): picture})

    def _looked_for(self, camera: Camera) -> list[int]:
        names = camera.labelled_classes.get(self.task, self.classes)
        return [self._id[name] for name in names if name in self._id]

    def _truth(self, boxes: Boxes, regions: np.ndarray | None) -> _Truth:
        """The labels; those of no class of the recipe, and the regions, once for every class."""
        assert boxes.ignore is not None
        stray = sorted({n for n, ignore in zip(boxes.names, boxes.ignore) if not ignore and n not in self._id})
        if stray:
            raise ValueError(f"truth holds boxes of {stray}, outside the classes {list(self.classes)}")
        extra = np.zeros((0, 4), np.float32) if regions is None else np.asarray(regions, np.float32).reshape(-1, 4)
        own = [[self._id[name]] if name in self._id else range(len(self.classes)) for name in boxes.names]
        classes = [*own, *[range(len(self.classes))] * len(extra)]
        rows = np.repeat(np.arange(len(classes)), [len(ids) for ids in classes])
        return _Truth(
            np.concatenate([boxes.xyxy, extra])[rows], np.array([i for ids in classes for i in ids], np.int16),
            np.concatenate([boxes.ignore, np.ones(len(extra), bool)])[rows],
            np.concatenate([_areas(boxes.xyxy, boxes.attributes), _areas(extra, None)])[rows],
        )  # fmt: skip

    def _detections(self, boxes: Boxes | None, what: str) -> _Detections:
        if boxes is None or boxes.scores is None:
            raise ValueError(f"{what}: the prediction has no boxes with scores")
        unknown = sorted(set(boxes.names) - set(self._id))
        if unknown:
            raise ValueError(f"{what}: boxes are predicted of {unknown}, outside the classes {list(self.classes)}")
        return _Detections(boxes.xyxy, np.array([self._id[n] for n in boxes.names], np.int16), boxes.scores)

    def state(self) -> State:
        return dict(self._pictures)

    def merge(self, state: State) -> None:
        """Raises DataError where a picture is counted already."""
        twice = sorted(self._pictures.keys() & state.keys())
        if twice:
            raise DataError(f"frame {twice[0][0]!r} is evaluated twice (camera {twice[0][1]})",
                            remedy="keys are unique over all the sources of one evaluation")  # fmt: skip
        self._pictures.update(state)

    def compute(self) -> dict[str, Any]:
        """``coco_map`` (AP over IoU .50:.05:.95), its fellows, ``ap`` per class and ``frames``; None where COCO says -1:
        nothing there to be found."""
        pictures = [self._pictures[key] for key in sorted(self._pictures)]
        matched = Matched(self._dataset([truth for truth, _ in pictures]), _rows([found for _, found in pictures]),
                          range(len(pictures)))  # fmt: skip
        whole, classes = matched.figures(np.ones(len(pictures), np.int64))
        ap = {name: found["AP"] for name, found in zip(self.classes, classes)}
        return {**dict(zip(_FIGURES, whole.values())), "ap": ap, "frames": len({key for key, _ in self._pictures})}

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
