"""Which query learns which object: one object a query, of the least cost together (Carion et al., DETR, 2020)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from drivetrain import CameraBatch, box_overlap

TASK = "object_detection"


class Truth(NamedTuple):
    """The objects of B pictures, those of a picture first and padding after them, N of the fullest, at least 1.

    ``boxes`` float32 [B, N, 4], centre and size as shares of the (padded) picture; ``classes`` int64 [B, N]; how many there
    are as numbers, ``counts``, and as ``objects`` int64 [B]; ``regions`` float32 [B, M, 4], corners as shares, of which
    ``ignored`` [B, M] are there; ``labelled`` [B]; ``known`` [B, C], the classes that were looked for.
    """

    boxes: Tensor
    classes: Tensor
    counts: list[int]
    objects: Tensor
    regions: Tensor
    ignored: Tensor
    labelled: Tensor
    known: Tensor


class Matches(NamedTuple):
    """``query`` int64 [B, S, K]: the query of each of K boxes, in each of S sets of predictions; ``kept`` bool [B, S, K],
    False for padding and for objects that found none; ``boxes`` [B, K, 4] and ``classes`` [B, K] of the objects."""

    query: Tensor
    kept: Tensor
    boxes: Tensor
    classes: Tensor


def truth_of(camera: CameraBatch, size: tuple[int, int]) -> Truth:
    """Of pictures that are padded to ``size`` (height, width). Waits for the device: the numbers of objects are asked for."""
    fields, labelled = camera.targets[TASK], camera.labelled[TASK]
    valid = F.pad(fields["valid"] & labelled[:, None], (0, 1))
    counts = valid.sum(1).tolist()
    order = (~valid).to(torch.uint8).argsort(dim=1, stable=True)[:, : max(1, *counts)]
    boxes, classes = F.pad(fields["boxes"], (0, 0, 0, 1)), F.pad(fields["classes"], (0, 1))
    scale = boxes.new_tensor([size[1], size[0], size[1], size[0]])
    boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4)) / scale
    return Truth(centred(boxes), classes.gather(1, order), counts, valid.sum(1), fields["ignore_boxes"] / scale,
                 fields["ignore_valid"], labelled, camera.labelled_classes[TASK])  # fmt: skip


def centred(boxes: Tensor) -> Tensor:
    """Corners [..., 4] to centre and size."""
    return torch.cat([(boxes[..., :2] + boxes[..., 2:]) / 2, boxes[..., 2:] - boxes[..., :2]], -1)


def corners(boxes: Tensor) -> Tensor:
    """Centre and size [..., 4] to corners."""
    return torch.cat([boxes[..., :2] - boxes[..., 2:] / 2, boxes[..., :2] + boxes[..., 2:] / 2], -1)


@torch.no_grad()
def match(logits: Tensor, boxes: Tensor, truth: Truth, costs: Any) -> Matches:
    """Of S sets of Q queries: ``logits`` [B, S, Q, C], ``boxes`` [B, S, Q, 4]. ``costs`` has the fields matcher_* of
    transformers' configuration. Hungarian assignment (Kuhn 1955) on the host, of all sets after one transfer."""
    cost = torch.nan_to_num(_cost(logits, boxes, truth, costs), nan=1e9, posinf=1e9, neginf=-1e9).cpu().numpy()
    query = torch.zeros(cost.shape[0], cost.shape[1], cost.shape[3], dtype=torch.int64)
    kept = torch.zeros_like(query, dtype=torch.bool)
    for i, count in enumerate(truth.counts):
        for s in range(cost.shape[1] if count else 0):
            rows, columns = linear_sum_assignment(cost[i, s, :, :count])
            query[i, s, columns], kept[i, s, columns] = torch.from_numpy(rows), True
    return Matches(query.to(logits.device), kept.to(logits.device), truth.boxes, truth.classes)


def _cost(logits: Tensor, boxes: Tensor, truth: Truth, costs: Any) -> Tensor:
    """[B, S, Q, N]: of the class as in the focal loss (Lin et al. 2017), of the coordinates, of generalised IoU."""
    index = truth.classes[:, None, None].expand(*logits.shape[:3], -1)
    chosen = logits.gather(3, index)
    p = chosen.sigmoid()
    found = costs.matcher_alpha * (1 - p) ** costs.matcher_gamma * -F.logsigmoid(chosen)
    missed = (1 - costs.matcher_alpha) * p**costs.matcher_gamma * -F.logsigmoid(-chosen)
    wanted = truth.boxes[:, None, None]
    apart = (boxes[:, :, :, None] - wanted).abs().sum(-1)
    _, giou = box_overlap(corners(boxes)[:, :, :, None], corners(wanted))
    return costs.matcher_class_cost * (found - missed) + costs.matcher_bbox_cost * apart - costs.matcher_giou_cost * giou


def denoised(queries: list[Tensor], groups: int, sets: int, truth: Truth) -> Matches:
    """Of denoising queries, which need no search: ``queries``, per picture, are those that were made of its objects, group by
    group, and there are ``groups`` of them (Zhang et al., DINO, 2023)."""
    most = truth.boxes.shape[1]
    query = truth.classes.new_zeros(len(queries), groups, most)
    kept = torch.zeros_like(query, dtype=torch.bool)
    for i, count in enumerate(truth.counts):
        if count:
            query[i, :, :count], kept[i, :, :count] = queries[i].view(groups, count), True
    query, kept = (t.flatten(1)[:, None].expand(-1, sets, -1) for t in (query, kept))
    return Matches(query, kept, truth.boxes.repeat(1, groups, 1), truth.classes.repeat(1, groups))
