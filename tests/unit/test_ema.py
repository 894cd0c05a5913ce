"""The running mean of the weights in one process; over ranks, stages and checkpoints: integration/test_features.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain.checkpoint import Piece, whole_pieces
from drivetrain.ema import WeightAverage
from drivetrain.recipe_schema import EmaSection


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def test_the_first_steps_count_more():
    section = EmaSection(decay=0.9)
    assert section.decay_at(1) == pytest.approx(2 / 11) and section.decay_at(10**6) == 0.9
    assert EmaSection(decay=0.9, warmup=False).decay_at(1) == 0.9


def test_it_is_exchanged_for_the_weights_and_these_come_back():
    net = model()
    mean = WeightAverage(whole_pieces(net), net, lambda step: 0.5)
    old = {n: t.clone() for n, t in net.state_dict().items()}
    with torch.no_grad():
        for tensor in net.state_dict().values():
            tensor.add_(1)
    new = {n: t.clone() for n, t in net.state_dict().items()}
    mean.update(1)
    spread = []
    with mean.swapped_in(lambda: spread.append({n: t.clone() for n, t in net.state_dict().items()})):
        pass
    inside, after = spread
    for name in old:
        expected = new[name] if name.endswith("tracked") else (old[name] + new[name]) / 2
        assert torch.allclose(inside[name], expected), name
        assert torch.equal(after[name], new[name]) and torch.equal(net.state_dict()[name], new[name]), name


def test_frozen_parameters_have_none():
    net = model()
    net[0].requires_grad_(False)
    frozen, trained = Piece("0.weight", (4, 3), 0, 12, net[0].weight), Piece("1.weight", (4,), 0, 4, net[1].weight)
    mean = WeightAverage([frozen, trained], net, lambda step: 0.5)
    written = []

    class Writer:
        def add(self, kind, name, shape, start, values):
            written.append((kind, name, tuple(shape), start, tuple(values.shape)))

    mean.write(Writer(), [frozen, trained], with_buffers=False)
    assert written == [("ema", "1.weight", (4,), 0, (4,))]
