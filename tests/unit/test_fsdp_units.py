"""Which blocks of a model fsdp gathers on their own."""

from __future__ import annotations

from torch import nn

from drivetrain.plugins.parallelism.fsdp.units import units_of


def names(model: nn.Module, least: int) -> list[str]:
    of = {id(module): name for name, module in model.named_modules()}
    return [of[id(module)] for module in units_of(model, least)]


def block(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, width, bias=False), nn.ReLU())


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleList([nn.Sequential(block(4), block(10)), nn.ModuleList([block(10)])])
        self.head = nn.Linear(10, 10)


def test_blocks_that_are_large_enough_are_units_and_the_rest_is_not_counted_twice():
    assert names(Net(), 100) == ["stages.0.1.0", "stages.1.0.0"]
    assert names(Net(), 16) == ["stages.0.0.0", "stages.0.1.0", "stages.1.0.0"]
    assert names(Net(), 110) == ["stages.0"]  # 16 + 100; a list of modules is never called, nor is it one
    assert names(Net(), 1000) == []


def test_a_block_that_shares_a_weight_is_no_unit():
    net = Net()
    net.head.weight = net.stages[1][0][0].weight
    assert names(net, 100) == ["stages.0.1.0"]
