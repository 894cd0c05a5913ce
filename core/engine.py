"""The step that engines share: micro-batches in, one optimizer step out, and what is done when it must not be taken."""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from .batch import Batch
from .check import Demand, GraphCheck
from .checkpoint import Checkpoint, Piece, persistent_buffers, whole_pieces
from .contracts import EngineContext, StepResult
from .ema import WeightAverage
from .model import Losses, loss_terms
from .prediction import Prediction
from .saving import FragmentWriter


class BaseEngine:
    """What an engine is made of, with the steps that it has taken. A subclass fills in `backward` and `update`, and what of
    `compute` is its own.

    ``optimizer`` has torch's ``param_groups``, whose learning rates are set from the step alone.
    """

    demands: Demand = "nothing"
    """What ranks must have in common, which is checked in the first ``context.check_steps`` steps (`GraphCheck`)."""

    def __init__(self, context: EngineContext, model: nn.Module, optimizer: torch.optim.Optimizer):
        self.context, self.device = context, context.comm.device
        self.model, self.optimizer = model, optimizer
        self.steps = 0
        self._base_lrs = [group["lr"] for group in optimizer.param_groups]
        self._check = GraphCheck(context.comm, model, self.demands)
        self._average = None if context.ema is None else WeightAverage(self.pieces(), model, context.ema.decay_at)

    # ---- what an engine fills in

    def pieces(self, shared_out: bool = False) -> list[Piece]:
        """What this rank holds of the parameters; where all ranks hold all, its share of it if ``shared_out``."""
        raise NotImplementedError

    def spread(self) -> None:
        """Bring weights that were written into `pieces` to where the forward pass reads them; collective."""

    def compute(self, batch: Batch, last: bool) -> Losses:
        """The losses of one micro-batch, the ``last`` of this step or not."""
        with self.autocast():
            return self.model(batch)

    def backward(self, total: Tensor, last: bool) -> None:
        """Add a micro-batch's gradient, to be averaged over micro-batches and ranks."""
        raise NotImplementedError

    def update(self) -> tuple[float | None, bool]:
        """Step the optimizer and clear the gradient: the norm before clipping, and whether the step was taken."""
        raise NotImplementedError

    # ---- what engines share

    def step(self, micro_batches: Iterable[Batch]) -> StepResult:
        if not self.model.training:
            self.model.train()
        lr = self._set_lr()
        losses: list[Tensor] = []
        parts: dict[str, list[Tensor]] = {}
        for number, leased in enumerate(micro_batches, 1):
            batch, last = leased.to(self.device), number == self.context.accumulation
            terms = loss_terms(self._forward(batch, last))
            total = torch.stack(list(terms.values())).sum()
            if self._checking:
                self._check.compare(total, self.steps + 1, number)
            self.backward(total, last)
            batch.release()
            losses.append(total.detach())
            for name, term in terms.items():
                parts.setdefault(name, []).append(term.detach())
        norm, taken = self.update()
        self.steps += 1
        if taken and self._average is not None:
            self._average.update(self.steps)
        return StepResult(losses, parts, lr, norm, skipped=not taken)

    def predict(self, batch: Batch) -> list[Prediction]:
        if self.model.training:
            self.model.eval()
        with torch.no_grad(), self.autocast():
            return self.model(batch.to(self.device))

    def average_buffers(self) -> None:
        means = [] if self._average is None else self._average.buffers
        self.context.comm.average_([*persistent_buffers(self.model).values(), *means])

    def averaged(self) -> AbstractContextManager[None]:
        """Around evaluation: the running mean of the weights in their place, where the recipe asks for one; collective."""
        return nullcontext() if self._average is None else self._average.swapped_in(self.spread)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.context.precision == "bf16")

    def clip_or_drop(self) -> tuple[float, bool]:
        """Where gradients lie in the parameters that the optimizer steps: their norm, clipped afterwards, and whether it is
        finite. One that is not is dropped, so that a step on it changes nothing, on any rank."""
        stepped = [p for group in self.optimizer.param_groups for p in group["params"]]
        norm = self.norm_of([p.grad for p in stepped if p.grad is not None])
        value = float(norm)
        if not (finite := math.isfinite(value)):
            self.optimizer.zero_grad(set_to_none=True)
        elif self.context.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(stepped, self.context.clip, norm)
        return value, finite

    def hand_over(self, writer: FragmentWriter, optimizer: torch.optim.Optimizer, shared_out: bool) -> None:
        """What this rank adds to a checkpoint."""
        comm, pieces = self.context.comm, self.pieces(shared_out)
        writer.add_pieces(pieces, optimizer)
        if self._average is not None:
            self._average.write(writer, pieces, with_buffers=comm.is_main)
        if comm.is_main:
            writer.add_buffers(self.model)

    def take_over(self, checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
        """What this rank holds, from a checkpoint."""
        checkpoint.load_pieces(self.pieces(), optimizer)
        if self._average is not None:
            self._average.read(checkpoint)
        self.steps = checkpoint.step

    def norm_of(self, gradients: list[Tensor]) -> Tensor:
        """The norm of the whole gradient, of which this rank holds ``gradients``: here all of it. The same on every rank."""
        return torch.nn.utils.get_total_norm(gradients)

    def _set_lr(self) -> float:
        factor = self.context.lr_factor(self.steps)
        for group, base in zip(self.optimizer.param_groups, self._base_lrs):
            group["lr"] = base * factor
        return self.optimizer.param_groups[0]["lr"]

    @property
    def _checking(self) -> bool:
        return self._check.has_work and self.steps < self.context.check_steps

    def _forward(self, batch: Batch, last: bool) -> Losses:
        with self._check.watch() if self._checking else nullcontext():
            return self.compute(batch, last)


class TorchEngine(BaseEngine):
    """An engine whose gradients are averaged over ranks by the time of `update`, and stepped by torch's own optimizer."""

    def backward(self, total: Tensor, last: bool) -> None:
        (total / self.context.accumulation).backward()

    def update(self) -> tuple[float | None, bool]:
        norm, taken = self.clip_or_drop()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm, taken

    def save(self, writer: FragmentWriter) -> None:
        """Every rank adds its share."""
        self.hand_over(writer, self.optimizer, shared_out=True)

    def load(self, checkpoint: Checkpoint) -> None:
        self.take_over(checkpoint, self.optimizer)


class ReplicaEngine(TorchEngine):
    """An engine whose ranks all hold the whole model and optimizer."""

    def pieces(self, shared_out: bool = False) -> list[Piece]:
        comm = self.context.comm
        return whole_pieces(self.model, comm.rank, comm.world) if shared_out else whole_pieces(self.model)
