"""Compiled losses: the same values under the same names. Other stages: `make features`."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from drivetrain import Model, UserError
from drivetrain.compiling import compile_losses


class Net(Model):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(4, 2)

    def losses(self, batch):
        return {"loss": (torch.tanh(self.net(batch)).square().sum(), torch.tensor(1.0))}


def test_losses_are_compiled_once_and_are_what_they_were():
    plain, compiled = Net(), Net()
    compile_losses(compiled)
    for seed in range(3):
        batch = torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))
        (a, _), (b, _) = (model.train()(batch)["loss"] for model in (plain, compiled))
        a.backward(), b.backward()
        assert b.item() == pytest.approx(a.item(), abs=1e-6)
    assert torch.allclose(compiled.net.weight.grad, plain.net.weight.grad, atol=1e-6)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    from torch._dynamo.utils import counters

    assert counters["stats"]["unique_graphs"] == 1


def test_without_a_compiler_it_is_refused(monkeypatch):
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(UserError, match=r"needs a C\+\+ compiler"):
        compile_losses(Net())
