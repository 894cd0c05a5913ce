"""The engine: DeepSpeed steps the model, we own what is around it (learning rate, checkpoints, precision, seeds)."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import torch

from drivetrain import (
    Batch,
    Checkpoint,
    EngineContext,
    FragmentWriter,
    Piece,
    Prediction,
    StepResult,
    persistent_buffers,
    total_loss,
)

from .config import DeepSpeedConfig
from .pieces import frozen_pieces, prepare_state, trained_pieces
from .setup import import_deepspeed


class DeepSpeedEngine:
    """A model under ZeRO. Parameters stay float32; ``precision: bf16`` is DeepSpeed's ``torch_autocast``."""

    def __init__(self, config: DeepSpeedConfig, context: EngineContext):
        deepspeed = import_deepspeed()
        self.context, self.stage, self.device = context, config.zero_stage, context.comm.device
        deepspeed.init_distributed(dist_backend="nccl" if self.device.type == "cuda" else "gloo", **_alone(context))
        model = context.build_model().to(self.device)
        groups = [{"params": [p for p in model.parameters() if p.requires_grad]}]
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=context.build_optimizer(groups), config=_settings(config, context), dist_init_required=False
        )
        self.model: torch.nn.Module = self.engine.module
        self._base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.steps = 0

    def step(self, micro_batches: Iterable[Batch]) -> StepResult:
        self.engine.train()
        self._set_lr()
        totals: list[torch.Tensor] = []
        parts: dict[str, list[torch.Tensor]] = {}
        norm = None
        for leased in micro_batches:
            batch = leased.to(self.device)
            losses = self.engine(batch)
            total = total_loss(losses)
            self.engine.backward(total)
            batch.release()
            totals.append(total.detach())
            for name, pair in losses.items():
                parts.setdefault(name, []).append(total_loss({name: pair}).detach())
            if self.stage == 0 and self.engine.is_gradient_accumulation_boundary():
                norm = self._norm_of_gradients()
            self.engine.step()
        self.steps += 1
        if norm is None and (found := self.engine.get_global_grad_norm()) is not None:
            norm = float(found)
        return StepResult(totals, parts, self.optimizer.param_groups[0]["lr"], norm, self.engine.was_step_applied() is False)

    def predict(self, batch: Batch) -> list[Prediction]:
        self.engine.eval()
        with torch.no_grad():
            return self.engine(batch.to(self.device))

    def average_buffers(self) -> None:
        self.context.comm.average_(list(persistent_buffers(self.model).values()))

    def save(self, writer: FragmentWriter) -> None:
        writer.add_pieces(self._pieces(self.stage == 0), self._inner)
        if self.context.comm.rank == 0:
            writer.add_buffers(self.model)

    def load(self, checkpoint: Checkpoint) -> None:
        """The optimizer's state; the weights were loaded before ZeRO cut them (see `EngineContext.build_model`)."""
        prepare_state(self.optimizer, self.stage)
        checkpoint.load_pieces(self._pieces(shared_out=False), self._inner)
        self.steps = checkpoint.step

    @property
    def _inner(self) -> torch.optim.Optimizer:
        """The torch optimizer, which ZeRO wraps from stage 1 on."""
        return self.optimizer.optimizer if self.stage else self.optimizer

    def _pieces(self, shared_out: bool) -> list[Piece]:
        """What this rank holds; at stage 0, where all hold all, its share of it if ``shared_out``."""
        comm = self.context.comm
        trained = trained_pieces(self.engine, self.optimizer, self.stage, comm.rank)
        pieces = [*trained, *frozen_pieces(self.model, self.stage, comm.rank, comm.world)]
        return pieces[comm.rank :: comm.world] if shared_out else pieces

    def _set_lr(self) -> None:
        factor = self.context.lr_factor(self.steps)
        for group, base in zip(self.optimizer.param_groups, self._base_lrs):
            group["lr"] = base * factor

    def _norm_of_gradients(self) -> float:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        return float(torch.nn.utils.get_total_norm(gradients))


def _alone(context: EngineContext) -> dict[str, Any]:
    """One process without a launcher still needs a process group: one that nobody can join."""
    if context.comm.world > 1:
        return {"auto_mpi_discovery": False}
    os.environ.setdefault("LOCAL_RANK", "0")  # DeepSpeed asks for it whoever started the process
    if not torch.distributed.is_initialized():
        store = torch.distributed.HashStore()
        backend = "nccl" if context.comm.device.type == "cuda" else "gloo"
        torch.distributed.init_process_group(backend, store=store, rank=0, world_size=1)
    return {"auto_mpi_discovery": False, "rank": 0, "world_size": 1}


def _settings(config: DeepSpeedConfig, context: EngineContext) -> dict[str, Any]:
    """DeepSpeed's own configuration."""
    values_a_bucket = config.bucket_mb * 2**20 // 4
    return {
        "train_micro_batch_size_per_gpu": context.micro_batch,
        "gradient_accumulation_steps": context.accumulation,
        "train_batch_size": context.micro_batch * context.accumulation * context.comm.world,
        "gradient_clipping": context.clip or 0.0,
        "torch_autocast": {"enabled": context.precision == "bf16", "dtype": "bfloat16"},
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": config.zero_stage,
            "reduce_bucket_size": values_a_bucket,
            "allgather_bucket_size": values_a_bucket,
            # One order of reduction whatever the timing: what bitwise repeats rest on.
            "overlap_comm": context.comm.device.type == "cuda",
            "contiguous_gradients": True,
        },
        "steps_per_print": 2**31,
    }
