"""The model contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from .batch import Batch
    from .prediction import Prediction


Losses = Mapping[str, tuple[Tensor, Tensor]]
"""name -> (sum, weight), float32 scalars."""


@dataclass(frozen=True)
class ModelContext:
    """What a model is built for: its ``tasks`` and, per task, the recipe's ``classes``."""

    tasks: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]


class Model(nn.Module):
    """Base of models.

    `losses` returns name -> (sum, weight), both float32 scalars: the loss is sum / weight. Where nothing is labelled the
    weight is 0 and the sum a 0 that is connected to every parameter of the head, so that every rank's graph is the same.
    `predict` returns float32 results in original pixels, one Prediction a frame.
    """

    def losses(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        raise NotImplementedError

    def predict(self, batch: Batch) -> list[Prediction]:
        raise NotImplementedError

    def published_weights(self, name: str) -> Mapping[str, Tensor] | None:
        """The weights that this model's library publishes under a name, for ``model.init_from``; None if it knows none."""
        return None

    def export_module(self) -> nn.Module:
        """A module from float32 [B, 3, H, W] normalised pictures to tensors."""
        raise NotImplementedError(f"{type(self).__name__} has no export")

    def forward(self, batch: Batch):
        """Losses in training mode, predictions otherwise: the one door through which an engine calls a model."""
        return self.losses(batch) if self.training else self.predict(batch)


def loss_terms(losses: Losses) -> dict[str, Tensor]:
    """Each loss as sum / weight; a weight of 0 gives a connected 0."""
    return {
        name: torch.where(weight > 0, value.float() / weight.float().clamp(min=1e-12), value.float() * 0)
        for name, (value, weight) in losses.items()
    }


def total_loss(losses: Losses) -> Tensor:
    """The sum of `loss_terms`."""
    return torch.stack(list(loss_terms(losses).values())).sum()
