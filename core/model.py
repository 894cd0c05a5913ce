"""The model contract."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from .batch import IMAGENET_MEAN, IMAGENET_STD

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

    def own_names(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """``weights`` that were read for ``model.init_from``, by this model's names where its library has others for them."""
        return weights

    def layer_names(self) -> list[str]:
        """The modules, from the input to the output, whose learning rates ``optimizer.layer_decay`` lets fall towards the
        input. By default the model's blocks (`block_names`)."""
        return block_names(self)

    def export_module(self) -> nn.Module:
        """A module from float32 [B, 3, H, W] pictures, normalised by `normalisation`, to tensors. What they are called is in
        its attribute ``outputs``, if it has one."""
        raise NotImplementedError(f"{type(self).__name__} has no export")

    def predict_from(self, outputs: Mapping[str, Tensor], batch: Batch) -> list[Prediction]:
        """Predictions from what `export_module` gives of the batch's pictures, by the outputs' names: of `predict` what comes
        after the network, so that an exported file can be evaluated."""
        raise NotImplementedError(f"{type(self).__name__} cannot read what its export gives")

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) of R, G, B in 0..1 by which the pictures of `export_module` are normalised: (x / 255 - mean) / std."""
        return IMAGENET_MEAN, IMAGENET_STD

    def forward(self, batch: Batch):
        """Losses in training mode, predictions otherwise: the one door through which an engine calls a model."""
        return self.losses(batch) if self.training else self.predict(batch)


def named_outputs(module: nn.Module, said: Any) -> dict[str, Tensor]:
    """What a module of `Model.export_module` said, by name: as its ``outputs`` tell, else by the keys of a mapping, else by
    number."""
    values = values_of(said)
    keys = said if isinstance(said, Mapping) else [f"output_{n}" for n in range(len(values))]
    names = getattr(module, "outputs", ()) or keys
    return dict(zip(names, values, strict=True))


def values_of(said: Any) -> list[Tensor]:
    """The tensors of a mapping, a sequence or a single one, in order."""
    return list(said.values()) if isinstance(said, Mapping) else [said] if isinstance(said, Tensor) else list(said)


def block_names(module: nn.Module, prefix: str = "") -> list[str]:
    """The names of a module's blocks, in the order in which they were made: its children that have parameters, and in the
    place of a sequence, list or mapping of modules what that holds. A single child is looked into, and so is one that is
    called backbone, body or encoder."""
    children = [(f"{prefix}{name}", child) for name, child in module.named_children() if any(True for _ in child.parameters())]
    out: list[str] = []
    for name, child in children:
        is_leaf = not any(True for grandchild in child.children() for _ in grandchild.parameters())
        is_backbone = name.rpartition(".")[2] in ("backbone", "body", "encoder")
        if not is_leaf and (len(children) == 1 or is_backbone or _is_container(child)):
            out += block_names(child, f"{name}.")
        else:
            out.append(name)
    return out


def _is_container(module: nn.Module) -> bool:
    """Whether it holds blocks, and not the layers of one."""
    if not isinstance(module, (nn.Sequential, nn.ModuleList, nn.ModuleDict)):
        return False
    return any(True for child in module.children() for _ in child.children())


def loss_terms(losses: Losses) -> dict[str, Tensor]:
    """Each loss as sum / weight; a weight of 0 gives a connected 0."""
    return {
        name: torch.where(weight > 0, value.float() / weight.float().clamp(min=1e-12), value.float() * 0)
        for name, (value, weight) in losses.items()
    }


def total_loss(losses: Losses) -> Tensor:
    """The sum of `loss_terms`."""
    return torch.stack(list(loss_terms(losses).values())).sum()
