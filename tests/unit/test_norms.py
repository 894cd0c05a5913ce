"""What becomes of batch norms, in one process; over ranks see integration/test_features.py."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.ops.misc import FrozenBatchNorm2d

from drivetrain.norms import FrozenNorm, SyncNorm, groups_of, set_norms


def model() -> nn.Sequential:
    torch.manual_seed(0)
    shared = nn.BatchNorm2d(8, eps=1e-3, momentum=0.02)
    return nn.Sequential(nn.Conv2d(3, 8, 3), shared, nn.Conv2d(8, 8, 1), shared, nn.BatchNorm2d(8, affine=False))


def pictures() -> torch.Tensor:
    return torch.randn(4, 3, 6, 6, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("norm", ["batch", "sync"])
def test_on_one_rank_nothing_changes(norm):
    plain, other = model(), model()
    set_norms(other, norm)
    assert list(other.state_dict()) == list(plain.state_dict())
    for mode in (True, True, False):
        plain.train(mode), other.train(mode)
        assert torch.equal(plain(pictures()), other(pictures()))
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), other.state_dict().values()))
    assert other[1] is other[3], "one norm in two places stays one"


def test_a_frozen_norm_is_one_in_evaluation_for_ever():
    plain, frozen = model(), model()
    set_norms(frozen, "frozen")
    assert list(frozen.state_dict()) == list(plain.state_dict())
    before = {n: t.clone() for n, t in frozen.state_dict().items()}
    assert torch.equal(frozen.train()(pictures()), plain.eval()(pictures()))
    assert all(torch.equal(before[n], t) for n, t in frozen.state_dict().items())
    assert frozen[0].training and not frozen[1].training and isinstance(frozen[1], FrozenNorm)
    assert [n for n, p in frozen.named_parameters() if not p.requires_grad] == ["1.weight", "1.bias"]


def test_a_group_norm_keeps_scale_and_shift():
    grouped = model()
    nn.init.normal_(grouped[1].weight)
    weight = grouped[1].weight
    set_norms(grouped, "group")
    assert grouped[1].weight is weight and grouped[1].eps == 1e-3 and grouped[1] is grouped[3]
    assert not [n for n in grouped.state_dict() if "running" in n]
    expected = nn.functional.group_norm(pictures().repeat(1, 3, 1, 1)[:, :8], 4, weight, grouped[1].bias, 1e-3)
    assert torch.equal(grouped[1](pictures().repeat(1, 3, 1, 1)[:, :8]), expected)


@pytest.mark.parametrize("channels, groups", [(256, 32), (960, 32), (96, 32), (40, 20), (24, 12), (16, 8), (3, 1), (1, 1)])
def test_groups_divide_the_channels_and_have_two_or_more(channels, groups):
    assert groups_of(channels) == groups


@pytest.mark.parametrize("norm", ["batch", "sync"])
def test_torchvisions_frozen_norms_are_trained_again(norm):
    frozen = FrozenBatchNorm2d(4)
    frozen.running_mean.fill_(2.0)
    net = nn.Sequential(frozen)
    set_norms(net, norm)
    assert [n for n, p in net.named_parameters() if p.requires_grad] == ["0.weight", "0.bias"]
    assert set(net.state_dict()) == {f"0.{n}" for n in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")}
    assert torch.equal(net.eval()(torch.ones(1, 4, 1, 1)), torch.full((1, 4, 1, 1), -1.0) / (1 + 1e-5) ** 0.5)


def test_null_leaves_a_model_as_it_is():
    plain = model()
    set_norms(plain, None)
    assert type(plain[1]) is nn.BatchNorm2d


def test_a_synchronised_norm_takes_vectors_and_refuses_less():
    assert SyncNorm(3).train()(torch.randn(5, 3)).shape == (5, 3)
    with pytest.raises(ValueError, match=r"expected \[N, C\]"):
        SyncNorm(3)(torch.randn(3))
