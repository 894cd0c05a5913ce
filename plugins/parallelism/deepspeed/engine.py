"""The engine: DeepSpeed steps the model, we own what is around it (learning rate, checkpoints, precision, seeds)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from drivetrain import BaseEngine, Batch, Checkpoint, EngineContext, FragmentWriter, Losses, Piece, Prediction

from .config import DeepSpeedConfig
from .ordered import OrderedReduction
from .pieces import frozen_pieces, prepare_state, trained_pieces
from .setup import import_deepspeed


class DeepSpeedEngine(BaseEngine):
    """A model under ZeRO. Parameters stay float32; ``precision: bf16`` is DeepSpeed's ``torch_autocast``."""

    def __init__(self, config: DeepSpeedConfig, context: EngineContext):
        deepspeed = import_deepspeed()
        self.stage, device = config.zero_stage, context.comm.device
        self.demands = "calls" if self.stage == 3 else "nothing"
        deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", **_alone(context))
        model = context.build_model().to(device)
        self.engine, optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=context.build_optimizer(model), config=_settings(config, context), dist_init_required=False
        )
        if self.stage and context.comm.world > 1:
            OrderedReduction(optimizer, context.comm, fill=self.stage < 3)
        super().__init__(context, self.engine.module, optimizer)

    def compute(self, batch: Batch, last: bool) -> Losses:
        return self.engine(batch)

    def backward(self, total: Tensor, last: bool) -> None:
        self.engine.backward(total)
        if not last:
            self.engine.step()  # which only counts

    def update(self) -> tuple[float | None, bool]:
        if self.stage == 0:
            norm, taken = self.clip_or_drop()
            self.engine.step()
            return norm, taken
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return None if norm is None else float(norm), self.engine.was_step_applied() is not False

    def predict(self, batch: Batch) -> list[Prediction]:
        if self.engine.training:
            self.engine.eval()
        with torch.no_grad():
            return self.engine(batch.to(self.device))

    def save(self, folder: Path) -> None:
        rank = self.context.comm.rank
        writer = FragmentWriter(folder, rank)
        writer.add_pieces(self._pieces(self.stage == 0), self._inner)
        if rank == 0:
            writer.add_buffers(self.model)
        writer.close()

    def load(self, checkpoint: Checkpoint) -> None:
        """The optimizer's state; the weights were loaded before ZeRO cut them (see `EngineContext.build_model`)."""
        prepare_state(self.optimizer, self.stage)
        checkpoint.load_pieces(self._pieces(shared_out=False), self._inner)
        self.steps = checkpoint.step

    @property
    def _inner(self) -> torch.optim.Optimizer:
        """The torch optimizer, which ZeRO wraps from stage 1 on."""
        optimizer: Any = self.optimizer
        return optimizer.optimizer if self.stage else optimizer

    def _pieces(self, shared_out: bool) -> list[Piece]:
        """What this rank holds; at stage 0, where all hold all, its share of it if ``shared_out``."""
        comm = self.context.comm
        trained = trained_pieces(self.engine, self.optimizer, self.stage, comm.rank)
        pieces = [*trained, *frozen_pieces(self.model, self.stage, comm.rank, comm.world)]
        return pieces[comm.rank :: comm.world] if shared_out else pieces


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
        "gradient_clipping": (context.clip or 0.0) if config.zero_stage else 0.0,  # at stage 0 we clip ourselves
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
