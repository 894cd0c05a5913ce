"""The engine of one rank."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from drivetrain import (
    Batch,
    Checkpoint,
    EngineContext,
    FragmentWriter,
    Prediction,
    StepResult,
    UserError,
    total_loss,
    whole_pieces,
)


class SingleEngine:
    """Forward, backward and step of a model that one rank holds whole. Raises UserError for several ranks."""

    def __init__(self, config: None, context: EngineContext):
        if context.comm.world != 1:
            raise UserError(
                f"parallelism 'single' runs on one rank, this job has {context.comm.world}",
                remedy="start one process, or set parallelism.plugin=deepspeed",
            )
        self.context, self.device = context, context.comm.device
        self.model = context.build_model().to(self.device)
        groups = [{"params": [p for p in self.model.parameters() if p.requires_grad]}]
        self.optimizer = context.build_optimizer(groups)
        self._base_lrs = [group["lr"] for group in self.optimizer.param_groups]
        self.steps = 0

    def step(self, micro_batches: Iterable[Batch]) -> StepResult:
        self.model.train()
        self._set_lr()
        totals: list[torch.Tensor] = []
        parts: dict[str, list[torch.Tensor]] = {}
        for leased in micro_batches:
            batch = leased.to(self.device)
            with self._autocast():
                losses = self.model(batch)
            total = total_loss(losses)
            (total / self.context.accumulation).backward()
            batch.release()
            totals.append(total.detach())
            for name, (value, weight) in losses.items():
                parts.setdefault(name, []).append(total_loss({name: (value, weight)}).detach())
        norm = self._clip()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.steps += 1
        return StepResult(totals, parts, self.optimizer.param_groups[0]["lr"], norm)

    def predict(self, batch: Batch) -> list[Prediction]:
        self.model.eval()
        with torch.no_grad(), self._autocast():
            return self.model(batch.to(self.device))

    def average_buffers(self) -> None:
        """One rank's statistics are the mean already."""

    def save(self, writer: FragmentWriter) -> None:
        writer.add_pieces(whole_pieces(self.model), self.optimizer)
        writer.add_buffers(self.model)

    def load(self, checkpoint: Checkpoint) -> None:
        checkpoint.load_pieces(whole_pieces(self.model), self.optimizer)
        self.steps = checkpoint.step

    def _set_lr(self) -> None:
        factor = self.context.lr_factor(self.steps)
        for group, base in zip(self.optimizer.param_groups, self._base_lrs):
            group["lr"] = base * factor

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.context.precision == "bf16")

    def _clip(self) -> float:
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if self.context.clip is not None:
            torch.nn.utils.clip_grads_with_norm_(self.model.parameters(), self.context.clip, norm)
        return float(norm)
