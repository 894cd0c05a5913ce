"""What of a model is trained, and how fast: the core's keys in the section ``optimizer``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn
from torch.optim import Optimizer

from .errors import RecipeError
from .model import Model
from .norms import freeze_norms, is_batch_norm
from .patterns import matching
from .recipe_schema import OptimizerKeys

Names = Mapping[str, nn.Parameter]


def freeze(model: nn.Module, patterns: Iterable[str]) -> None:
    """No gradient for the parameters that one of ``patterns`` is found in; the batch norms among them, which hold nothing
    that is trained any more, stay in evaluation mode. Raises RecipeError for a pattern that is found in no name."""
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        for name in matching(pattern, parameters, "parameter", "optimizer.freeze"):
            parameters[name].requires_grad_(False)
        norms = {name for name, module in model.named_modules() if is_batch_norm(module)}
        freeze_norms(model, {name for name in norms if re.search(pattern, f"{name}.weight")})


def build_optimizer(build: Any, model: nn.Module, keys: OptimizerKeys, lr_factor: float = 1.0) -> Optimizer:
    """``build(groups)`` over the groups that ``keys`` ask for, the first of them the one with the highest rate.

    All rates are multiplied by ``lr_factor``. Raises RecipeError where nothing is trained.
    """
    groups, factors = parameter_groups(model, keys)
    optimizer: Optimizer = build(groups)
    assert len(optimizer.param_groups) == len(groups), "an optimizer keeps the groups that it is given"
    for group, factor in zip(optimizer.param_groups, factors):
        group["lr"] *= factor * lr_factor
    return optimizer


def parameter_groups(model: nn.Module, keys: OptimizerKeys) -> tuple[list[dict[str, Any]], list[float]]:
    """The trained parameters, in the model's order inside each group, and each group's factor of the learning rate.

    A group says no more than it must: ``weight_decay`` 0 where it has none, so that the optimizer's own holds elsewhere.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not trained:
        raise RecipeError("no parameter is left to train", where="optimizer.freeze")
    factors = lr_factors(model, trained, keys)
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in trained.items():
        decays = not (keys.no_decay_norms_and_biases and _is_norm_or_bias(name, parameter))
        groups.setdefault((factors[name], decays), []).append(parameter)
    order = sorted(groups, reverse=True)
    made = [{"params": groups[key]} | ({} if key[1] else {"weight_decay": 0.0}) for key in order]
    return made, [factor for factor, _ in order]


def lr_factors(model: nn.Module, trained: Names, keys: OptimizerKeys) -> dict[str, float]:
    """Each parameter's share of the learning rate: what its layer and the patterns that are found in its name say."""
    factors = dict.fromkeys(trained, 1.0)
    if keys.layer_decay is not None:
        layers = model.layer_names() if isinstance(model, Model) else []
        for depth, prefix in enumerate(reversed(layers)):
            for name in trained:
                if name == prefix or name.startswith(f"{prefix}."):
                    factors[name] = keys.layer_decay**depth
    for pattern, factor in keys.lr_scale.items():
        for name in matching(pattern, trained, "trained parameter", "optimizer.lr_scale"):
            factors[name] *= factor
    return factors


def _is_norm_or_bias(name: str, parameter: nn.Parameter) -> bool:
    return parameter.dim() <= 1 or name.endswith("bias")
