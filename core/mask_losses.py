"""Losses of masks of class ids, for classes that are rare and pixels that are hard."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .config import MaskLossConfig
from .tasks import IGNORE

_REGION_LOSSES = ("lovasz", "dice")


class MaskLoss(nn.Module):
    """What ``config`` asks for, of one task's masks: ``cross_entropy``, and ``lovasz`` and ``dice`` where they have a weight.

    Each is a pair (sum, weight) for `Model.losses`. The weight is the sum of the class weights of the pixels that are learnt,
    so that pictures count by their labels, and a batch without any gives a connected 0. Nothing asks the device for a value.
    """

    weight_of_id: Tensor

    def __init__(self, config: MaskLossConfig, classes: Sequence[str], where: str = "model.class_weights"):
        super().__init__()
        self.config = config
        weight_of_id = torch.zeros(IGNORE + 1)  # so that the weight of a mask is a lookup, IGNORE included
        weight_of_id[: len(classes)] = torch.tensor(config.weights_of(classes, where))
        self.register_buffer("weight_of_id", weight_of_id, persistent=False)

    def forward(self, logits: Tensor, mask: Tensor, cell: int = 1) -> dict[str, tuple[Tensor, Tensor]]:
        """``logits`` float32 [B, C, h, w], which lie over the whole ``mask`` [B, H, W] of class ids and `IGNORE`.

        They are compared at the mask's size, or at a ``cell``-th of it, which must divide it: there each logit meets the
        labels of all pixels of its cell, in place of logits that were interpolated between them.
        """
        log_p, labels = _at_cells(logits, mask, cell)
        terms = {"cross_entropy": self._of_pixels(log_p, labels)}
        if any(getattr(self.config, name) for name in _REGION_LOSSES):
            p, thinned = thin(log_p.exp(), mask, cell, self.config.region_step)
            weight = self.weight_of_id[labels].sum()
            for name, loss in zip(_REGION_LOSSES, (lovasz_softmax, dice)):
                if factor := getattr(self.config, name):
                    terms[name] = (factor * weight * loss(p, thinned), weight)
        return terms

    def cross_entropy(self, logits: Tensor, mask: Tensor, cell: int = 1) -> tuple[Tensor, Tensor]:
        """That term alone."""
        return self._of_pixels(*_at_cells(logits, mask, cell))

    def _of_pixels(self, log_p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        losses, weights = -log_p.gather(1, labels.clamp(max=log_p.shape[1] - 1)), self.weight_of_id[labels]
        if self.config.focal:
            losses = losses * (1 - (-losses).exp()) ** self.config.focal
        if self.config.hardest < 1:
            weights = weights * hardest(losses.detach() * (weights > 0), self.config.hardest)
        return (losses * weights).sum(), weights.sum()


def _at_cells(logits: Tensor, mask: Tensor, cell: int) -> tuple[Tensor, Tensor]:
    """Logarithms of probabilities float32 [B, C, H / cell, W / cell], and the labels int64 [B, cell * cell, ...] there."""
    labels = cells(mask.long(), cell)
    logits = F.interpolate(logits, size=labels.shape[-2:], mode="bilinear", align_corners=False)
    return logits.log_softmax(1), labels


def cells(mask: Tensor, cell: int) -> Tensor:
    """``mask`` [B, H, W] as [B, cell * cell, H / cell, W / cell]: all pixels of each cell."""
    batch, height, width = mask.shape
    blocks = mask.view(batch, height // cell, cell, width // cell, cell)
    return blocks.permute(0, 2, 4, 1, 3).reshape(batch, cell * cell, height // cell, width // cell)


def thin(maps: Tensor, mask: Tensor, cell: int, step: int) -> tuple[Tensor, Tensor]:
    """Every ``step``-th pixel of every ``step``-th row of ``mask`` [B, H, W], and ``maps`` [B, C, H / cell, W / cell] there."""
    rows, columns = (torch.arange(step // 2, length, step, device=mask.device) for length in mask.shape[1:])
    there = maps.index_select(2, rows // cell).index_select(3, columns // cell)
    return there, mask.index_select(1, rows).index_select(2, columns)


def hardest(losses: Tensor, share: float) -> Tensor:
    """bool, like ``losses`` [B, ...]: the ``share`` of each picture's pixels whose loss is the highest, and their equals.

    Online hard example mining (Shrivastava et al. 2016), of pixels (Wu et al., Bridging Category-level and Instance-level
    Semantic Image Segmentation, 2016).
    """
    flat = losses.flatten(1)
    least = flat.kthvalue(flat.shape[1] - max(1, round(share * flat.shape[1])) + 1, 1).values
    return losses >= least.view(-1, *[1] * (losses.dim() - 1))


def lovasz_softmax(p: Tensor, labels: Tensor) -> Tensor:
    """Berman et al., The Lovasz-Softmax loss (2018), of all pictures together, the mean over the classes that are there.

    ``p`` float32 [B, C, h, w] adds up to 1 over classes; ``labels`` [B, h, w], `IGNORE` where nothing counts. For hard
    predictions it is the Jaccard loss: 1 less the mean IoU.
    """
    truth, p = _by_class(p, labels)
    counts = (labels != IGNORE).flatten()
    errors, order = ((truth - p).abs() * counts).sort(1, descending=True)  # what does not count comes last, as zeros
    return _mean_of_present((errors * _jaccard_steps(truth.gather(1, order))).sum(1), truth)


@torch.no_grad()
def _jaccard_steps(truth: Tensor) -> Tensor:
    """[C, P]: by how much the Jaccard loss grows when one more pixel, in this order, is wrong."""
    size = truth.sum(1, keepdim=True)
    loss = 1 - (size - truth.cumsum(1)) / (size + (1 - truth).cumsum(1))
    return torch.diff(loss, dim=1, prepend=torch.zeros_like(size))


def dice(p: Tensor, labels: Tensor) -> Tensor:
    """Milletari et al., V-Net (2016), without their squares: 1 less the overlap 2 |A B| / (|A| + |B|) of soft predictions
    and truth, of all pictures together, the mean over the classes that are there. Arguments as of `lovasz_softmax`."""
    truth, p = _by_class(p, labels)
    p = p * (labels != IGNORE).flatten()
    return _mean_of_present(1 - 2 * (p * truth).sum(1) / (p.sum(1) + truth.sum(1)).clamp(min=1e-6), truth)


def _by_class(p: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Truth as 0 and 1, and ``p``, float32 [C, P]."""
    ids = torch.arange(p.shape[1], device=p.device, dtype=labels.dtype)
    truth = (labels.flatten() == ids[:, None]).float()
    return truth, p.transpose(0, 1).flatten(1)


def _mean_of_present(values: Tensor, truth: Tensor) -> Tensor:
    present = truth.amax(1)
    return (values * present).sum() / present.sum().clamp(min=1)
