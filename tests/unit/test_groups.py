"""Which parameters are trained, and at what rate."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError
from torch import nn

from drivetrain import Model
from drivetrain.errors import RecipeError
from drivetrain.groups import build_optimizer, freeze, lr_factors, parameter_groups
from drivetrain.model import block_names
from drivetrain.recipe_schema import OptimizerKeys


class Net(Model):
    def __init__(self):
        super().__init__()
        blocks = [nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(3)]
        self.net = nn.ModuleDict({"backbone": nn.Sequential(*blocks), "head": nn.Linear(3, 2)})
        self.scale = nn.Parameter(torch.ones(()))


def keys(**values) -> OptimizerKeys:
    return OptimizerKeys.model_validate(values)


def names_of(model: nn.Module, group: dict) -> list[str]:
    names = {id(p): n for n, p in model.named_parameters()}
    return [names[id(p)] for p in group["params"]]


def test_by_default_there_is_one_group_in_the_models_order():
    model = Net()
    groups, factors = parameter_groups(model, keys())
    assert factors == [1.0] and list(groups[0]) == ["params"]
    assert names_of(model, groups[0]) == [n for n, _ in model.named_parameters()]


def test_blocks_are_found_from_the_input_to_the_output():
    assert Net().layer_names() == ["net.backbone.0", "net.backbone.1", "net.backbone.2", "net.head"]
    assert block_names(nn.Sequential(nn.Linear(1, 1), nn.ReLU(), nn.Linear(1, 1))) == ["0", "2"]


def test_layers_decay_towards_the_input_and_patterns_multiply():
    model = Net()
    trained = dict(model.named_parameters())
    factors = lr_factors(model, trained, keys(layer_decay=0.5, lr_scale={r"\.head\.": 10.0, "bias$": 2.0}))
    assert factors["net.backbone.0.0.weight"] == 0.125 and factors["net.backbone.2.1.bias"] == 1.0
    assert factors["net.head.weight"] == 10.0 and factors["net.head.bias"] == 20.0 and factors["scale"] == 1.0


def test_norms_and_biases_do_not_decay_and_the_first_group_has_the_highest_rate():
    model = Net()
    freeze(model, [r"backbone\.0"])
    chosen = keys(no_decay_norms_and_biases=True, lr_scale={"head": 4.0})
    optimizer = build_optimizer(lambda groups: torch.optim.AdamW(groups, lr=0.1, weight_decay=0.3), model, chosen, 0.5)
    told = [(round(g["lr"], 6), g["weight_decay"], names_of(model, g)) for g in optimizer.param_groups]
    assert told == [
        (0.2, 0.3, ["net.head.weight"]),
        (0.2, 0.0, ["net.head.bias"]),
        (0.05, 0.3, ["net.backbone.1.0.weight", "net.backbone.2.0.weight"]),
        (0.05, 0.0, ["scale", *(f"net.backbone.{b}.{n}" for b in (1, 2) for n in ("0.bias", "1.weight", "1.bias"))]),
    ]  # fmt: skip


def test_norms_of_frozen_stages_stay_in_evaluation():
    model = Net()
    freeze(model, [r"backbone\.[01]\."])
    model.train()
    assert [model.net["backbone"][n][1].training for n in range(3)] == [False, False, True]
    assert not any(p.requires_grad for p in model.net["backbone"][1].parameters())


def test_what_is_found_nowhere_is_refused_with_near_matches():
    with pytest.raises(RecipeError, match=r"'bacbone' is found in the name of no parameter") as caught:
        freeze(Net(), ["bacbone"])
    assert "net.backbone" in caught.value.near
    with pytest.raises(RecipeError, match="no parameter is left"):
        model = Net()
        freeze(model, ["."])
        parameter_groups(model, keys())


@pytest.mark.parametrize(
    "values, said",
    [
        ({"freeze": ["("]}, "no regular expression"),
        ({"lr_scaling": "linear"}, "go together"),
        ({"reference_batch": 8}, "go together"),
        ({"layer_decay": 1.5}, "less than or equal to 1"),
        ({"lr_scale": {"head": 0}}, "greater than 0"),
    ],
)
def test_keys_refuse(values, said):
    with pytest.raises(ValidationError, match=said):
        keys(**values)


@pytest.mark.parametrize("scaling, factor", [("linear", 4.0), ("sqrt", 2.0)])
def test_the_rate_follows_the_batch(scaling, factor):
    assert keys(lr_scaling=scaling, reference_batch=16).lr_factor(64) == factor
    assert keys().lr_factor(64) == 1.0
