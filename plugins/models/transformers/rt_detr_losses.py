"""What RT-DETR learns from: Zhao et al., DETRs Beat YOLOs on Real-time Object Detection (2024), over what counts.

Every decoder layer and the encoder's choice of queries are compared with the objects, each after a matching of its own, and
the denoising queries with the objects that they were made of. Losses are sums with their weights: no number of boxes is
asked of other ranks.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from drivetrain import box_overlap

from .matching import Matches, Truth, corners, denoised, match

Terms = dict[str, tuple[Tensor, Tensor]]


def detection_losses(logits: Tensor, boxes: Tensor, truth: Truth, config: Any) -> Terms:
    """``classes``, ``boxes`` and ``giou`` of S sets of Q queries: ``logits`` float32 [B, S, Q, C], ``boxes`` [B, S, Q, 4].

    Weight: the objects; for the classes of a picture at least 1, so that one without objects teaches background.
    """
    sums = _sums(logits, boxes, match(logits, boxes, truth, config), truth, truth.labelled, config)
    objects = truth.objects.sum().float()
    return _terms(sums, ((truth.objects.clamp(min=1) * truth.labelled).sum().float(), objects, objects), config)


def denoising_losses(logits: Tensor, boxes: Tensor, queries: list[Tensor], groups: int, truth: Truth, config: Any) -> Terms:
    """The same of denoising queries, S sets of them, a group's share; ``queries`` and ``groups`` as of `denoised`. A picture
    without objects teaches nothing: what stands in for them is there for the graph alone."""
    matches = denoised(queries, groups, logits.shape[1], truth)
    sums = _sums(logits, boxes, matches, truth, truth.objects > 0, config)
    objects = truth.objects.sum().float()
    terms = _terms([total / groups for total in sums], (objects, objects, objects), config)
    return {f"denoised_{name}": term for name, term in terms.items()}


def _terms(sums: list[Tensor], weights: tuple[Tensor, Tensor, Tensor], config: Any) -> Terms:
    factors = (config.weight_loss_vfl, config.weight_loss_bbox, config.weight_loss_giou)
    names = ("classes", "boxes", "giou")
    return {name: (factor * total, weight) for name, factor, total, weight in zip(names, factors, sums, weights)}


def _sums(logits: Tensor, boxes: Tensor, matches: Matches, truth: Truth, pictures: Tensor, config: Any) -> list[Tensor]:
    """The varifocal loss over the ``pictures`` bool [B], the distances of coordinates, and 1 less generalised IoU."""
    found = boxes.gather(2, matches.query[..., None].expand(-1, -1, -1, 4))
    wanted = matches.boxes[:, None]
    iou, giou = box_overlap(corners(found), corners(wanted))
    target, is_object = _targets(logits, matches, iou.detach())
    void = _in_ignored(corners(boxes.detach()), truth) & ~is_object.any(-1)
    counted = pictures[:, None, None, None] & truth.known[:, None, None] & ~void[..., None]
    return [
        (_varifocal(logits, target, is_object, config) * counted).sum(),
        ((found - wanted).abs().sum(-1) * matches.kept).sum(),
        ((1 - giou) * matches.kept).sum(),
    ]


def _targets(logits: Tensor, matches: Matches, iou: Tensor) -> tuple[Tensor, Tensor]:
    """What each query is to score for each class, its IoU for that of its object, and where that is: both [B, S, Q, C]."""
    slot = (matches.query * logits.shape[3] + matches.classes[:, None]).flatten(2)
    empty = torch.zeros_like(logits).flatten(2)
    score = empty.scatter_add(2, slot, iou * matches.kept).view_as(logits)
    return score, empty.scatter_add(2, slot, matches.kept.float()).view_as(logits) > 0


def _varifocal(logits: Tensor, target: Tensor, is_object: Tensor, config: Any) -> Tensor:
    """Zhang et al., VarifocalNet (2021), equation 2: cross entropy towards the IoU, weighed by it; what is no object weighs
    by how much it is taken for one."""
    weight = config.focal_loss_alpha * logits.detach().sigmoid() ** config.focal_loss_gamma * ~is_object + target
    return F.binary_cross_entropy_with_logits(logits, target, weight, reduction="none")


def _in_ignored(boxes: Tensor, truth: Truth) -> Tensor:
    """bool [B, S, Q]: more than half of the area of ``boxes`` [B, S, Q, 4] lies in a region where nobody looked."""
    one, regions = boxes[:, :, :, None], truth.regions[:, None, None]
    shared = (torch.minimum(one[..., 2:], regions[..., 2:]) - torch.maximum(one[..., :2], regions[..., :2])).clamp(min=0)
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)[..., None]
    return ((shared.prod(-1) > 0.5 * area) & truth.ignored[:, None, None]).any(-1)
