"""The engine over torch's ``fully_shard``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard

from drivetrain import Batch, EngineContext, Piece, Prediction, TorchEngine, UserError

from .config import FSDPConfig
from .units import units_of


class FSDPEngine(TorchEngine):
    """Every rank holds an equal share of the rows of each parameter, steps it, and gathers a unit's when it is called.

    The optimizer steps plain tensors, which lie in the same memory as the shards: any optimizer that works value by value
    will do, as under ZeRO. Raises UserError for one rank, and for parameters that have no rows to share.
    """

    demands = "calls"

    def __init__(self, config: FSDPConfig, context: EngineContext):
        comm = context.comm
        if comm.world == 1:
            raise UserError("parallelism 'fsdp' cuts a model over ranks, this job has one",
                            remedy="start several ranks, or set parallelism.plugin=single")  # fmt: skip
        if context.compiled:
            raise UserError("train.compile is not tried with parallelism 'fsdp'", remedy="leave it out, or take ddp")
        model = context.build_model().to(comm.device)
        _refuse_scalars(model)
        mesh = init_device_mesh(comm.device.type, (comm.world,))
        for module in [*units_of(model, config.unit_parameters), model]:
            fully_shard(module, mesh=mesh)
        for sharded in _sharded(model):
            sharded.set_force_sum_reduction_for_comms(comm.device.type == "cpu")  # gloo knows no average
            sharded.set_reduce_scatter_unused_params(True)
        optimizer = context.build_optimizer(model)
        self._shards = _shards_of(model)
        _exchange(optimizer, {id(shared): own for shared, own in self._shards.values()})
        super().__init__(context, model, optimizer)

    def update(self) -> tuple[float | None, bool]:
        for shared, own in self._shards.values():
            own.grad = None if shared.grad is None else shared.grad.to_local()
            shared.grad = None
        return super().update()

    def norm_of(self, gradients: list[Tensor]) -> Tensor:
        squared = super().norm_of(gradients).double().square()
        dist.all_reduce(squared)
        return squared.sqrt().float()

    def predict(self, batch: Batch) -> list[Prediction]:
        predictions = super().predict(batch)
        _sharded(self.model)[0].reshard()  # the root, which only a backward pass would do
        return predictions

    def pieces(self, shared_out: bool = False) -> list[Piece]:
        """The rows that this rank holds: a stretch of the flattened parameter."""
        rank, world = self.context.comm.rank, self.context.comm.world
        pieces = []
        for name, (shared, own) in self._shards.items():
            rows = -(-shared.shape[0] // world)  # the last ranks may hold fewer, or none
            start = rank * rows * shared.stride(0)
            pieces.append(Piece(name, tuple(shared.shape), start, own.numel(), own))
        return [piece for piece in pieces if piece.numel]


def _sharded(model: nn.Module) -> list[FSDPModule]:
    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _shards_of(model: nn.Module) -> dict[str, tuple[Any, nn.Parameter]]:
    """By name the parameters as torch cut them, and this rank's rows of each as a plain parameter in the same memory."""
    cut: Iterable[tuple[str, Any]] = model.named_parameters()
    return {name: (p, nn.Parameter(p.to_local().detach(), p.requires_grad)) for name, p in cut}


def _refuse_scalars(model: nn.Module) -> None:
    if scalars := [name for name, p in model.named_parameters() if p.dim() == 0]:
        raise UserError(f"parallelism 'fsdp' cuts parameters by rows, and these have none: {', '.join(scalars)}",
                        remedy="give them the shape [1], or set parallelism.plugin=deepspeed")  # fmt: skip


def _exchange(optimizer: torch.optim.Optimizer, own: dict[int, nn.Parameter]) -> None:
    """Has a fresh optimizer step this rank's shards as plain tensors."""
    assert not optimizer.state
    for group in optimizer.param_groups:
        group["params"] = [own[id(p)] for p in group["params"]]
