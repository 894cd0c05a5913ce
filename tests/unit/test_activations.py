"""Blocks that are computed again: less memory at the peak, each thing counted once. Engines: integration/test_features.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from drivetrain import Model
from drivetrain.activations import checkpoint_blocks
from drivetrain.errors import RecipeError


class Net(Model):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        blocks = [nn.Sequential(*(layer for _ in range(3) for layer in (nn.Conv2d(4, 4, 1), nn.BatchNorm2d(4), nn.GELU())))
                  for _ in range(6)]  # fmt: skip
        self.net = nn.ModuleDict({"body": nn.Sequential(*blocks), "head": nn.Conv2d(4, 1, 1)})
        self.calls = 0
        blocks[0][0].register_forward_hook(self.count)

    def count(self, *_):
        self.calls += 1

    def losses(self, batch):
        return {"loss": (self.net["head"](self.net["body"](batch)).square().sum(), torch.tensor(1.0))}


class Peak(TorchDispatchMode):
    """The most bytes in tensors that were made inside and lived at the same time."""

    def __init__(self):
        super().__init__()
        self.alive: dict[int, tuple[StorageWeakRef, int]] = {}
        self.most = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in (t for t in tree_leaves(out) if isinstance(t, torch.Tensor)):
            ref = StorageWeakRef(tensor.untyped_storage())
            self.alive[ref.cdata] = ref, tensor.untyped_storage().nbytes()
        self.alive = {key: entry for key, entry in self.alive.items() if not entry[0].expired()}
        self.most = max(self.most, sum(size for _, size in self.alive.values()))
        return out


def step(chosen) -> tuple[Net, float, int]:
    model = Net()
    checkpoint_blocks(model, chosen)
    with Peak() as peak:
        loss, _ = model.train()(torch.linspace(-1, 1, 4 * 64 * 64).view(1, 4, 64, 64))["loss"]
        loss.backward()
    return model, loss.item(), peak.most


@pytest.mark.parametrize("chosen", [True, [r"body\.\d$"]])
def test_the_peak_is_lower_and_nothing_else_changes(chosen):
    plain, loss, peak = step(False)
    again, same_loss, lower_peak = step(chosen)
    assert plain.calls == 1 and again.calls == 2
    assert same_loss == loss and lower_peak < 0.55 * peak, (peak, lower_peak)
    assert list(again.state_dict()) == list(plain.state_dict())
    for (name, a), b in zip(plain.state_dict().items(), again.state_dict().values()):
        assert torch.equal(a, b), name
    for (name, a), b in zip(plain.named_parameters(), again.parameters()):
        assert torch.equal(a.grad, b.grad), name


def test_running_statistics_are_the_same_tensors_afterwards():
    """What holds them, such as a running mean of the weights, goes on seeing them."""
    model = Net()
    statistics = model.net["body"][0][1].running_mean
    checkpoint_blocks(model, True)
    model(torch.rand(2, 4, 8, 8))["loss"][0].backward()
    assert model.net["body"][0][1].running_mean is statistics and int(model.net["body"][0][1].num_batches_tracked) == 1


def test_outermost_matches_count_and_unknown_patterns_do_not():
    model = Net()
    checkpoint_blocks(model, ["body", r"body\.0"])
    assert "forward" in vars(model.net["body"]) and "forward" not in vars(model.net["body"][0])
    with pytest.raises(RecipeError, match=r"'bodi' is found in the name of no module"):
        checkpoint_blocks(model, ["bodi"])


def test_without_gradients_nothing_is_kept():
    model = Net()
    checkpoint_blocks(model, True)
    with torch.no_grad():
        model(torch.rand(1, 4, 8, 8))
    assert model.calls == 1
