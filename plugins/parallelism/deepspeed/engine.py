"""The engine: DeepSpeed steps the model, we own what is around it (learning rate, checkpoints, precision, seeds)."""

from __future__ import annotations

import os
from typing import Any

import torch
from torch import Tensor

from drivetrain import BaseEngine, Batch, Checkpoint, EngineContext, FragmentWriter, Losses, Piece, Prediction, UserError

from .config import DeepSpeedConfig
from .groups import hyperparameters_of, restore_hyperparameters
from .offload import check_memory, offload_settings
from .ordered import OrderedReduction
from .pieces import frozen_pieces, prepare_state, spread_weights, trained_pieces
from .setup import import_deepspeed


class DeepSpeedEngine(BaseEngine):
    """A model under ZeRO. Parameters stay float32; ``precision: bf16`` is DeepSpeed's ``torch_autocast``."""

    def __init__(self, config: DeepSpeedConfig, context: EngineContext):
        deepspeed = import_deepspeed()
        self.stage, device = config.zero_stage, context.comm.device
        self.demands = "calls" if self.stage == 3 else "nothing"
        deepspeed.init_distributed(dist_backend="nccl" if device.type == "cuda" else "gloo", **_alone(context))
        model = context.build_model().to(device)
        if self.stage == 3:
            _refuse_for_stage_3(context, model)
        context.comm.together(lambda: check_memory(config.offload, sum(p.numel() for p in model.parameters()), context.comm))
        inner = context.build_optimizer(model)
        hyperparameters = hyperparameters_of(inner)
        self.engine, optimizer, _, _ = deepspeed.initialize(
            model=model, optimizer=inner, config=_settings(config, context), dist_init_required=False
        )
        if self.stage:
            restore_hyperparameters(optimizer, self.stage, hyperparameters)
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

    def save(self, writer: FragmentWriter) -> None:
        self.hand_over(writer, self._inner, shared_out=self.stage == 0)

    def load(self, checkpoint: Checkpoint) -> None:
        """The optimizer's state; the weights were loaded before ZeRO cut them (see `EngineContext.build_model`)."""
        prepare_state(self.optimizer, self.stage)
        self.take_over(checkpoint, self._inner)

    def spread(self) -> None:
        spread_weights(self.optimizer, self.stage)

    @property
    def _inner(self) -> torch.optim.Optimizer:
        """The torch optimizer, which ZeRO wraps from stage 1 on."""
        optimizer: Any = self.optimizer
        return optimizer.optimizer if self.stage else optimizer

    def pieces(self, shared_out: bool = False) -> list[Piece]:
        comm = self.context.comm
        trained = trained_pieces(self.engine, self.optimizer, self.stage, comm.rank)
        pieces = [*trained, *frozen_pieces(self.model, self.stage, comm.rank, comm.world)]
        return pieces[comm.rank :: comm.world] if shared_out else pieces


def _refuse_for_stage_3(context: EngineContext, model: torch.nn.Module) -> None:
    """Raises UserError, naming it, for what stages 0 to 2 do and stage 3 does not."""
    if context.compiled:
        raise UserError("train.compile does not go with ZeRO stage 3, which gathers weights module by module",
                        remedy="take stage 0, 1 or 2, or ddp")  # fmt: skip
    if scalars := [name for name, parameter in model.named_parameters() if parameter.dim() == 0]:
        raise UserError(f"ZeRO stage 3 cannot cut parameters without dimensions: {', '.join(scalars)}",
                        remedy="give them the shape [1] in the model, or take stage 0, 1 or 2, or ddp")  # fmt: skip


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
        "zero_force_ds_cpu_optimizer": False,  # the recipe's optimizer steps on the host too
        "zero_optimization": {
            "stage": config.zero_stage,
            "reduce_bucket_size": values_a_bucket,
            "allgather_bucket_size": values_a_bucket,
            # One order of reduction whatever the timing: what bitwise repeats rest on.
            "overlap_comm": context.comm.device.type == "cuda",
            "contiguous_gradients": True,
            **offload_settings(config.offload, pin=context.comm.device.type == "cuda"),
        },
        "steps_per_print": 2**31,
    }
