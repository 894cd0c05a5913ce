"""``model.norm``: what becomes of a model's batch norms.

Names in the state dict stay those of `torch.nn.BatchNorm2d`, so that weights of one choice load into another; ``group``
alone has no running statistics.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

Norm = Literal["batch", "sync", "frozen", "group"]

_AFFINE = ("weight", "bias")
_EPS = 1e-5
"""Of transformers' frozen norms, which do not tell it."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class BatchNorm(_BatchNorm):
    """A batch norm of any number of dimensions: [N, C] or [N, C, ...]."""

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected [N, C] or [N, C, ...], got {list(input.shape)}")


class FrozenNorm(BatchNorm):
    """A batch norm that stays in evaluation mode and whose scale and shift are not trained."""

    def train(self, mode: bool = True) -> FrozenNorm:
        return super().train(False)


class SyncNorm(BatchNorm):
    """A batch norm over the pictures of all ranks, with gloo and with nccl: its outputs, gradients and running statistics
    are those of a batch norm of the joined batch, whatever the ranks' shares of it. All ranks must call it as often.

    Computed in float32 under autocast; the output has the input's type. Raises ValueError for a single value a channel.
    """

    @torch.compiler.disable
    def forward(self, input: Tensor) -> Tensor:
        self._check_input_dim(input)
        if not self.training or not dist.is_initialized() or dist.get_world_size() == 1:
            return super().forward(input)
        output, mean, variance, count = _SyncNorm.apply(input, self.weight, self.bias, self.eps)
        if self.running_mean is not None:
            self._track(mean, variance * count / (count - 1))
        return output

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = 1.0 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.mul_(1 - share).add_(mean.to(self.running_mean.dtype), alpha=share)
        self.running_var.mul_(1 - share).add_(variance.to(self.running_var.dtype), alpha=share)


class _SyncNorm(torch.autograd.Function):
    """Ioffe and Szegedy, Batch Normalization (2015), the sums over ranks. Two passes: the variance is the mean square of
    what is left after the mean, which loses no digits where the mean is large."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> tuple[Tensor, ...]:
        x = input.float()
        values = torch.tensor([x.numel() / x.shape[1]], dtype=x.dtype, device=x.device)
        total = _over_ranks(torch.cat([_sum(x), values]))
        count = total[-1]
        if count < 2:
            raise ValueError(f"expected more than 1 value per channel when training, got input size {list(x.shape)}")
        mean = total[:-1] / count
        centred = x - _as(mean, x)
        variance = _over_ranks(_sum(centred.square())) / count
        scale = (variance + eps).rsqrt()
        normalised = centred * _as(scale, x)
        ctx.save_for_backward(normalised, scale, count, weight)
        ctx.mark_non_differentiable(mean, variance, count)
        output = normalised if weight is None else normalised * _as(weight, x)
        output = output if bias is None else output + _as(bias, x)
        return output.to(input.dtype), mean, variance, count

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The scale's and the shift's gradients are of this rank alone: the engine averages them."""
        normalised, scale, count, weight = ctx.saved_tensors
        of_output = gradients[0].float()
        of_bias, of_weight = _sum(of_output), _sum(of_output * normalised)
        mean, along = (_over_ranks(torch.cat([of_bias, of_weight])) / count).chunk(2)
        of_input = of_output - _as(mean, of_output) - normalised * _as(along, of_output)
        of_input = of_input * _as(scale if weight is None else scale * weight, of_output)
        return (of_input.to(gradients[0].dtype), of_weight if ctx.needs_input_grad[1] else None,
                of_bias if ctx.needs_input_grad[2] else None, None)  # fmt: skip


def _sum(x: Tensor) -> Tensor:
    """[N, C, ...] to [C]."""
    return x.sum([d for d in range(x.dim()) if d != 1])


def _as(channels: Tensor, x: Tensor) -> Tensor:
    """[C] to [1, C, 1, ...], to go with ``x``."""
    return channels.view(1, -1, *[1] * (x.dim() - 2))


def _over_ranks(values: Tensor) -> Tensor:
    dist.all_reduce(values)
    return values


# ---------------------------------------------------------------- putting them in


def set_norms(model: nn.Module, norm: Norm | None) -> None:
    """Replace the batch norms of ``model``, torchvision's frozen ones among them; None leaves all as they are."""
    if norm is not None:
        _replace(model, lambda old: _made(old, norm))


def freeze_norms(model: nn.Module, names: set[str]) -> None:
    """Keep the batch norms of these ``names`` in evaluation mode."""
    chosen = {id(module) for name, module in model.named_modules() if name in names}
    _replace(model, lambda old: _batch_norm(FrozenNorm, old) if id(old) in chosen else old)


def is_batch_norm(module: nn.Module) -> bool:
    """Frozen ones, torchvision's and transformers', are known by their names: they have no base in common with the others."""
    return isinstance(module, _BatchNorm) or type(module).__name__.endswith("FrozenBatchNorm2d")


def _replace(model: nn.Module, make: Callable[[nn.Module], nn.Module]) -> None:
    """Put ``make(old)`` in the place of every batch norm, in all of its places where it has several."""
    made: dict[nn.Module, nn.Module] = {}
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is not None and is_batch_norm(child):
                if child not in made:
                    made[child] = make(child)
                    if made[child] is not child:
                        _keep_activation(made[child], child)
                parent._modules[name] = made[child]


def _keep_activation(new: nn.Module, old: nn.Module) -> None:
    """Norms of timm drop out and activate what they give, and so must what takes their place."""
    if isinstance(activation := getattr(old, "act", None), nn.Module):
        new.act, new.drop = activation, getattr(old, "drop", nn.Identity())
        new.register_forward_hook(_activate)


def _activate(module: Any, inputs: Any, output: Tensor) -> Tensor:
    return module.act(module.drop(output))


def _made(old: nn.Module, norm: Norm) -> nn.Module:
    if norm == "group":
        return _group_norm(old)
    if norm == "batch" and isinstance(old, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)):
        return old
    new = _batch_norm({"batch": BatchNorm, "sync": SyncNorm, "frozen": FrozenNorm}[norm], old)
    return new.requires_grad_(False) if norm == "frozen" else new


def _batch_norm(kind: type[BatchNorm], old: Any) -> nn.Module:
    """``old`` as ``kind``, with its own parameters, statistics and mode."""
    affine, tracked = getattr(old, "weight", None) is not None, getattr(old, "running_mean", None) is not None
    new = kind(_channels(old), getattr(old, "eps", _EPS), getattr(old, "momentum", 0.1), affine, tracked)
    _adopt(new, old)
    for name in _STATISTICS:
        if tracked and getattr(old, name, None) is not None:
            new._buffers[name] = getattr(old, name)
    return new.train(old.training)


def _group_norm(old: Any) -> nn.Module:
    channels = _channels(old)
    new = nn.GroupNorm(groups_of(channels), channels, getattr(old, "eps", _EPS), getattr(old, "weight", None) is not None)
    _adopt(new, old)
    return new.train(old.training)


def _adopt(new: nn.Module, old: Any) -> None:
    """Scale and shift, as they are: the optimizer and tied places know them. Those of a frozen norm of torchvision are
    buffers, and become parameters."""
    for name in _AFFINE:
        if (value := getattr(old, name, None)) is not None:
            new._parameters[name] = value if isinstance(value, nn.Parameter) else nn.Parameter(value.clone())


def groups_of(channels: int) -> int:
    """Of a group norm (Wu and He 2018): the most groups, up to 32, that divide the channels. A group has two channels or
    more, since one alone, on a map of a single pixel, would be normalised to nothing."""
    return next((n for n in range(min(32, channels // 2), 0, -1) if channels % n == 0), 1)


def _channels(old: Any) -> int:
    tensor = next((t for t in (getattr(old, n, None) for n in ("running_mean", "weight")) if t is not None), None)
    return old.num_features if tensor is None else math.prod(tensor.shape)
