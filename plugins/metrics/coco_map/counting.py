"""COCO's twelve figures from matched boxes, with each picture counted any number of times.

pycocotools matches picture by picture; its ``accumulate`` is written anew as cumulative sums over all detections, ranked once
(Lin et al., Microsoft COCO, 2014): a picture that counts k times is weighed k, which gives the figures of k copies of it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

FIGURES = ("AP", "AP50", "AP75", "AP_small", "AP_medium", "AP_large",
           "AR_1", "AR_10", "AR_100", "AR_small", "AR_medium", "AR_large")  # fmt: skip
AREAS = ("all", "small", "medium", "large")
DETECTIONS = (1, 10, 100)
RECALLS = np.linspace(0, 1, 101)


class Cell(NamedTuple):
    """The detections of one class at one size of boxes, ranked by score; equal scores by picture, then as in the file."""

    pictures: np.ndarray  # int64 [N]
    rank: np.ndarray  # int64 [N], within its picture
    hit: np.ndarray  # bool [10, N], right at an IoU of .5, .55 ... .95
    miss: np.ndarray  # bool [10, N], wrong; neither where it lies in a crowd or is of another size
    wanted: np.ndarray  # int64 [pictures], labels to be found


class Pairs(NamedTuple):
    """What was matched at an IoU of .5, in the order of the rows of labels and of detections."""

    of_label: np.ndarray  # int64 [labels], the detection that found it, -1 for none
    wanted: np.ndarray  # bool [labels], to be found
    of_detection: np.ndarray  # int64 [detections], the label that it found, -1 for none
    hit: np.ndarray  # bool [detections]
    miss: np.ndarray  # bool [detections]; neither: in a crowd, or beyond the best 100 of its picture and class


class Matched:
    """Official COCO data, matched. ``dataset`` as in a COCO json with boxes as annotations; ``detections`` with scores.

    ``images``: the ids of the pictures that count, which are ranked by them."""

    def __init__(self, dataset: dict, detections: list[dict], images: Sequence):
        evaluation = _matched(dataset, detections, images)
        self.images = list(evaluation.params.imgIds)
        self.classes: list[int] = list(evaluation.params.catIds)
        grid = iter(evaluation.evalImgs)
        rows = [[[next(grid) for _ in self.images] for _ in AREAS] for _ in self.classes]
        self.cells = [[_cell(row, len(self.images)) for row in areas] for areas in rows]
        seen = [e for areas in rows for e in areas[0] if e is not None]
        self.pairs = _pairs(seen, len(dataset["annotations"]), len(detections))

    def figures(self, times: np.ndarray) -> tuple[dict[str, float | None], list[dict[str, float | None]]]:
        """The twelve figures with picture k (of `images`) counted ``times[k]`` times, and those of every class; None where
        there is nothing to be found."""
        precision = np.full((len(self.classes), len(AREAS), 10), np.nan)
        recall = np.full((len(self.classes), len(AREAS), len(DETECTIONS), 10), np.nan)
        for number, areas in enumerate(self.cells):
            for size, cell in enumerate(areas):
                wanted = int(cell.wanted @ times)
                if wanted:
                    precision[number, size] = average_precision(cell.hit, cell.miss, times[cell.pictures], wanted)
                    recall[number, size] = _recall(cell, times, wanted)
        classes = [_named(precision[k : k + 1], recall[k : k + 1]) for k in range(len(self.classes))]
        return _named(precision, recall), classes


def average_precision(hit: np.ndarray, miss: np.ndarray, weights: np.ndarray, wanted: int) -> np.ndarray:
    """float64 [T]: the mean over 101 recalls of the best precision from there on. ``hit`` and ``miss`` bool [T, N], ranked;
    detection k counts ``weights[k]`` times, of ``wanted`` > 0 labels."""
    hits = np.cumsum(hit * weights, 1, dtype=np.float64)
    misses = np.cumsum(miss * weights, 1, dtype=np.float64)
    best = np.maximum.accumulate((hits / (hits + misses + np.spacing(1)))[:, ::-1], 1)[:, ::-1]
    best = np.concatenate([best, np.zeros((len(best), 1))], 1)  # 0 beyond the last recall
    recall = hits / wanted
    return np.array([line[np.searchsorted(r, RECALLS, side="left")].mean() for line, r in zip(best, recall)])


def _recall(cell: Cell, times: np.ndarray, wanted: int) -> np.ndarray:
    """float64 [3, 10]: of up to 1, 10 and 100 detections a picture."""
    weights = times[cell.pictures]
    return np.stack([(cell.hit @ np.where(cell.rank < most, weights, 0)) / wanted for most in DETECTIONS])


def _named(precision: np.ndarray, recall: np.ndarray) -> dict[str, float | None]:
    p, r = precision, recall
    picked = (p[:, 0], p[:, 0, 0], p[:, 0, 5], p[:, 1], p[:, 2], p[:, 3],
              r[:, 0, 0], r[:, 0, 1], r[:, 0, 2], r[:, 1, 2], r[:, 2, 2], r[:, 3, 2])  # fmt: skip
    return {name: _mean(values) for name, values in zip(FIGURES, picked)}


def _mean(values: np.ndarray) -> float | None:
    known = values[~np.isnan(values)]
    return float(known.mean()) if known.size else None


def _matched(dataset: dict, detections: list[dict], images: Sequence) -> COCOeval:
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation = COCOeval(_indexed(dataset, dataset["annotations"]), _indexed(dataset, detections), "bbox")
        evaluation.params.imgIds = sorted(images)
        evaluation.evaluate()
    return evaluation


def _indexed(dataset: dict, annotations: list[dict]) -> COCO:
    coco = COCO()
    for number, row in enumerate(annotations, start=1):  # to the evaluator an id of 0 means "no match"
        row["id"] = number
    coco.dataset = {"images": dataset["images"], "categories": dataset["categories"], "annotations": annotations}
    coco.createIndex()
    return coco


def _cell(pictures: list[dict | None], count: int) -> Cell:
    """pycocotools' own records of one class and size, [pictures], as arrays."""
    there = [(k, e) for k, e in enumerate(pictures) if e is not None]
    wanted = np.zeros(count, np.int64)
    for k, e in there:
        wanted[k] = np.count_nonzero(np.asarray(e["gtIgnore"]) == 0)
    scores = np.concatenate([np.zeros(0), *(e["dtScores"] for _, e in there)])
    order = np.argsort(-scores, kind="stable")
    matches, ignored = (np.concatenate([np.zeros((10, 0), bool), *(e[name].astype(bool) for _, e in there)], 1)[:, order]
                        for name in ("dtMatches", "dtIgnore"))  # fmt: skip
    numbers = [np.full(len(e["dtScores"]), k) for k, e in there]
    rank = [np.arange(len(e["dtScores"])) for _, e in there]
    one, two = (np.concatenate([np.zeros(0, np.int64), *lists])[order] for lists in (numbers, rank))
    return Cell(one, two, matches & ~ignored, ~matches & ~ignored, wanted)


def _pairs(seen: list[dict], labels: int, detections: int) -> Pairs:
    """From pycocotools' records of boxes of all sizes. Its ids are places from 1 (`_indexed`), 0 is none."""
    pairs = Pairs(np.full(labels, -1), np.zeros(labels, bool), np.full(detections, -1), *np.zeros((2, detections), bool))
    for e in seen:
        own, found = np.asarray(e["gtIds"], np.int64) - 1, np.asarray(e["dtIds"], np.int64) - 1
        taken, ignored = e["dtMatches"][0].astype(np.int64), e["dtIgnore"][0].astype(bool)
        pairs.wanted[own] = np.asarray(e["gtIgnore"]) == 0
        pairs.of_label[own] = e["gtMatches"][0].astype(np.int64) - 1
        pairs.of_detection[found] = taken - 1
        pairs.hit[found], pairs.miss[found] = (taken > 0) & ~ignored, (taken == 0) & ~ignored
    return pairs
