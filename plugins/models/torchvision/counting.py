"""Torchvision's detection losses, over what counts.

Torchvision takes every picture as fully labelled and gives means. The classes here differ from their torchvision bases in
two ways. First, what nobody looked at teaches nothing: unlabelled pictures, background inside ignore regions, and classes
that were not looked for. Second, a loss is a tensor [2], its (sum, weight), whose quotient is torchvision's mean where
everything is labelled.

Torchvision's builders choose the classes of a model's parts, so `adopt` gives a part its subclass afterwards.

``targets`` is a list with, per picture, ``boxes`` float32 [N, 4], ``labels`` int64 [N], ``ignore`` float32 [M, 4],
``labelled`` bool [] and ``known`` bool [C], the classes that were looked for.
"""

from __future__ import annotations

from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.fcos import FCOSHead
from torchvision.models.detection.retinanet import RetinaNetHead
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.models.detection.ssd import SSD
from torchvision.ops import box_iou

Targets = list[dict[str, Tensor]]
Part = TypeVar("Part", bound=nn.Module)
_NEVER = -100.0
"""A logit whose probability is 0 in float32, and its loss as a negative too."""


def adopt(part: nn.Module, cls: type[Part]) -> Part:
    """``part`` made an instance of ``cls``, a subclass of its class that has no state of its own."""
    assert type(part) is cls.__bases__[0], f"{type(part)} is not what {cls} extends"
    part.__class__ = cls
    return part  # type: ignore[return-value]


def mostly_inside(boxes: Tensor, regions: Tensor) -> Tensor:
    """bool [A]: more than half of the area of ``boxes`` [A, 4] lies in one of ``regions`` [M, 4]."""
    low = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    shared = (high - low).clamp(min=0).prod(-1)
    area = (boxes[:, 2:] - boxes[:, :2]).prod(-1)
    return (shared > 0.5 * area[:, None]).any(1)


def unknown_as_background(logits: Tensor, known: Tensor) -> Tensor:
    """Softmax logits [..., 1 + C], background first, with the probability of the classes that are not ``known`` [..., C]
    added to the background's: there, background means "none of those looked for" (Cermelli et al., Modeling the
    Background, CVPR 2020). Unchanged where all are known."""
    others = F.pad(~known, (1, 0), value=True)
    background = logits.masked_fill(~others, -torch.inf).logsumexp(-1, keepdim=True)
    return torch.cat([background, logits[..., 1:].masked_fill(~known, _NEVER)], -1)


def _void(targets: Targets, anchors: list[Tensor], matched: list[Tensor]) -> Tensor:
    """bool [B, A]: anchors that teach nothing, not even that there is background (``matched`` < 0: no object)."""
    rows = [~t["labelled"] | ((m < 0) & mostly_inside(a, t["ignore"])) for t, a, m in zip(targets, anchors, matched)]
    return torch.stack(rows)


def _silence_sigmoid(logits: Tensor, targets: Targets, anchors: list[Tensor], matched: list[Tensor]) -> Tensor:
    """Logits [B, A, C] with those that teach nothing at a certain "no", where the focal loss and its gradient are 0."""
    unknown = ~torch.stack([t["known"] for t in targets])
    return logits.masked_fill(_void(targets, anchors, matched)[..., None] | unknown[:, None], _NEVER)


def _positives(matched: list[Tensor]) -> Tensor:
    return torch.stack([(m >= 0).sum() for m in matched]).sum().float()


def _any_labelled(targets: Targets) -> Tensor:
    return torch.stack([t["labelled"] for t in targets]).any().float()


class CountingRetinaNetHead(RetinaNetHead):
    """Weight: the labelled pictures (each picture's sums are divided by its own positive anchors, as in torchvision)."""

    def compute_loss(self, targets, head_outputs, anchors, matched_idxs):
        logits = _silence_sigmoid(head_outputs["cls_logits"], targets, anchors, matched_idxs)
        means = super().compute_loss(targets, {**head_outputs, "cls_logits": logits}, anchors, matched_idxs)
        weight = torch.stack([t["labelled"] for t in targets]).sum().float()
        return {name: torch.stack([mean * len(targets), weight]) for name, mean in means.items()}


class CountingFCOSHead(FCOSHead):
    """Weight: the positive locations of the batch, at least 1 where a picture is labelled."""

    def compute_loss(self, targets, head_outputs, anchors, matched_idxs):
        logits = _silence_sigmoid(head_outputs["cls_logits"], targets, anchors, matched_idxs)
        means = super().compute_loss(targets, {**head_outputs, "cls_logits": logits}, anchors, matched_idxs)
        count = _positives(matched_idxs).clamp(min=1)
        return {name: torch.stack([mean * count, count * _any_labelled(targets)]) for name, mean in means.items()}


class CountingSSD(SSD):
    """Weight: the positive anchors of the batch. Negatives are mined three to a positive, per picture: a picture without
    objects teaches nothing, as in torchvision."""

    def match(self, targets: Targets, anchors: list[Tensor]) -> list[Tensor]:
        """Per picture int64 [A], the object of each anchor or -1."""
        return [
            self.proposal_matcher(box_iou(t["boxes"], a)) if len(t["boxes"]) else a.new_full((len(a),), -1, dtype=torch.int64)
            for t, a in zip(targets, anchors)
        ]

    def compute_loss(self, targets, head_outputs, anchors, matched_idxs):
        known = torch.stack([t["known"] for t in targets])[:, None]
        logits = unknown_as_background(head_outputs["cls_logits"], known)
        certain = logits.new_full(logits.shape[-1:], _NEVER)
        certain[0] = 0.0
        logits = torch.where(_void(targets, anchors, matched_idxs)[..., None], certain, logits)
        means = super().compute_loss(targets, {**head_outputs, "cls_logits": logits}, anchors, matched_idxs)
        count = _positives(matched_idxs)
        return {name: torch.stack([mean * count.clamp(min=1), count]) for name, mean in means.items()}


class CountingRPN(RegionProposalNetwork):
    """Weight: the sampled anchors. Objectness knows no classes: where only some were looked for, the objects of the others
    count as background."""

    def assign_targets_to_anchors(self, anchors, targets):
        labels, boxes = super().assign_targets_to_anchors(anchors, targets)
        for label, anchor, target in zip(labels, anchors, targets):
            label[((label == 0) & mostly_inside(anchor, target["ignore"])) | ~target["labelled"]] = -1.0
        return labels, boxes

    def compute_loss(self, objectness, pred_bbox_deltas, labels, regression_targets):
        positive, negative = (torch.cat(chosen).bool() for chosen in self.fg_bg_sampler(labels))
        sampled, wanted = positive | negative, torch.cat(regression_targets)
        presence = F.binary_cross_entropy_with_logits(
            objectness.flatten()[sampled], torch.cat(labels)[sampled], reduction="sum"
        )
        boxes = F.smooth_l1_loss(pred_bbox_deltas[positive], wanted[positive], beta=1 / 9, reduction="sum")
        weight = sampled.sum().float()
        return torch.stack([presence, weight]), torch.stack([boxes, weight])


class CountingRoIHeads(RoIHeads):
    """Weight: the sampled proposals of labelled pictures. Each picture adds itself as a proposal that never counts: so the
    heads have a graph, and norms have values, where nothing was sampled."""

    def forward(self, features, proposals, image_shapes, targets=None):
        if not self.training:
            return super().forward(features, proposals, image_shapes)
        proposals, labels, wanted = self._sample(proposals, image_shapes, targets)
        known = torch.cat([t["known"].expand(len(p), -1) for t, p in zip(targets, proposals)])
        pooled = self.box_roi_pool(features, proposals, image_shapes)
        logits, deltas = self.box_predictor(self.box_head(pooled))
        positive = torch.where(labels > 0)[0]
        chosen = deltas.reshape(len(labels), -1, 4)[positive, labels[positive]]
        classes = F.cross_entropy(unknown_as_background(logits, known), labels, ignore_index=-1, reduction="sum")
        boxes = F.smooth_l1_loss(chosen, wanted[positive], beta=1 / 9, reduction="sum")
        weight = (labels >= 0).sum().float()
        return [], {"loss_classifier": torch.stack([classes, weight]), "loss_box_reg": torch.stack([boxes, weight])}

    def _sample(
        self, proposals: list[Tensor], image_shapes: list[tuple[int, int]], targets: Targets
    ) -> tuple[list[Tensor], Tensor, Tensor]:
        """Per picture the chosen proposals; of all of them together labels [S] (0 background, -1 not counted) and encoded
        box targets [S, 4]."""
        truth = [t["boxes"] for t in targets]
        proposals = self.add_gt_proposals(proposals, truth)
        matched, labels = self.assign_targets_to_proposals(proposals, truth, [t["labels"] for t in targets])
        for label, proposal, target in zip(labels, proposals, targets):
            label[(label == 0) & mostly_inside(proposal, target["ignore"])] = -1
        wanted = []
        for i, chosen in enumerate(self.subsample(labels)):
            height, width = image_shapes[i]
            whole = proposals[i].new_tensor([[0, 0, width, height]])
            proposals[i] = torch.cat([proposals[i][chosen], whole])
            labels[i] = F.pad(labels[i][chosen].masked_fill(~targets[i]["labelled"], -1), (0, 1), value=-1)
            nearest = truth[i][matched[i][chosen]] if len(truth[i]) else proposals[i][:-1]
            wanted.append(torch.cat([nearest, whole]))
        return proposals, torch.cat(labels), torch.cat(self.box_coder.encode(wanted, proposals))
