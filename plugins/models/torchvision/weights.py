"""Torchvision's builders, with pretrained weights by name, and what to say when those are not here."""

from __future__ import annotations

import contextlib
import pickle
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model, get_model_weights, get_weight

from drivetrain import UserError, near_matches

from .config import WeightsConfig


def build_net(
    name: str, backbone: str, heads: Sequence[str], config: WeightsConfig, num_classes: int, **options: Any
) -> nn.Module:
    """Torchvision's model ``name`` on ``backbone``, as `_assemble` makes it, with the momentum that the config asks for.

    In a short run from scratch, statistics at a momentum of 0.01 lag behind weights that still move: evaluation is then of
    a network that never was.
    """
    net = _assemble(name, backbone, heads, config, num_classes, **options)
    for module in net.modules() if config.norm_momentum is not None else ():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.momentum = config.norm_momentum
    return net


def _assemble(
    name: str, backbone: str, heads: Sequence[str], config: WeightsConfig, num_classes: int, **options: Any
) -> nn.Module:
    """Torchvision's model ``name`` on ``backbone`` for ``num_classes`` (torchvision's count).

    With weights of the whole model, the modules named ``heads`` are made for our classes and take over what fits.
    ``options`` go to torchvision's builder. Raises UserError for weights that torchvision does not know or that can be
    neither found nor fetched.
    """
    weights = _find(name, config.weights, "model.weights")
    weights_backbone = _find(backbone, config.weights_backbone, "model.weights_backbone")
    for needed in (weights, weights_backbone):
        if needed is not None:
            _fetch(needed)
    if weights is None:
        return get_model(name, weights=None, weights_backbone=weights_backbone, num_classes=num_classes, **options)
    net = get_model(name, weights=weights, **{k: v for k, v in options.items() if k != "aux_loss"})
    options.pop("trainable_backbone_layers", None)
    fresh = get_model(name, weights=None, weights_backbone=None, num_classes=num_classes, **options)
    for head in heads:
        _replace_head(net, fresh, head)
    return net


def published(name: str) -> Mapping[str, Tensor] | None:
    """Torchvision's weights by their full name, such as ``ResNet50_Weights.IMAGENET1K_V2``; None for a name of another form.

    Raises UserError for weights that torchvision does not know or that can be neither found nor fetched.
    """
    if not name.partition(".")[0].endswith("_Weights"):
        return None
    try:
        weights = get_weight(name)
    except (ValueError, AttributeError, KeyError) as error:
        raise UserError(f"torchvision has no weights {name!r}", where="model.init_from.path", remedy=str(error)) from error
    return _fetch(weights)


def _find(model: str, name: str | None, where: str) -> WeightsEnum | None:
    if name is None:
        return None
    known = get_model_weights(model)
    names = list(known.__members__)
    if name not in names:
        raise UserError(f"torchvision has no weights {name!r} of {model}", where=where,
                        near=near_matches(name, names), remedy=f"there are: {', '.join(names)}")  # fmt: skip
    return known[name]


def _fetch(weights: WeightsEnum) -> Mapping[str, Tensor]:
    """The state dict, and its file in torch's cache, whole."""
    file = Path(torch.hub.get_dir(), "checkpoints", Path(weights.url).name)
    was_here = file.exists()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return weights.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError) as error:
        what = f"{file} does not load" if was_here else f"{file.name} is not in {file.parent} and cannot be fetched"
        raise UserError(
            f"weights {weights}: {what}: {error}",
            remedy=f"get {weights.url} where there is a network, then put it into {file.parent}\n"
            f"or run: drivetrain weights import {file.name}",
        ) from error


def _replace_head(net: nn.Module, fresh: nn.Module, head: str) -> None:
    new, old = getattr(fresh, head), getattr(net, head)
    if new is not None and old is not None:
        shapes = {key: value.shape for key, value in new.state_dict().items()}
        fitting = {key: value for key, value in old.state_dict().items() if shapes.get(key) == value.shape}
        new.load_state_dict(fitting, strict=False)
    setattr(net, head, new)
