"""The engine over torch's DistributedDataParallel."""

from __future__ import annotations

from torch.nn.parallel import DistributedDataParallel

from drivetrain import Batch, EngineContext, Losses, ReplicaEngine, UserError

from .config import DDPConfig


class DDPEngine(ReplicaEngine):
    """Every rank holds the whole model and its optimizer. Raises UserError for one rank, where there is nothing to average."""

    def __init__(self, config: DDPConfig, context: EngineContext):
        if context.comm.world == 1:
            raise UserError("parallelism 'ddp' averages over ranks, this job has one",
                            remedy="start several ranks, or set parallelism.plugin=single")  # fmt: skip
        self.demands = "nothing" if config.find_unused else "gradients"
        model = context.build_model().to(context.comm.device)
        # Buffers are averaged before evaluation and saving: rank 0's are not more right than others'.
        self.ddp = DistributedDataParallel(
            model, forward_sync_buffers=False, bucket_cap_mb=config.bucket_mb, gradient_as_bucket_view=True,
            find_unused_parameters=config.find_unused,
        )  # fmt: skip
        super().__init__(context, model, context.build_optimizer(model))

    def compute(self, batch: Batch, last: bool) -> Losses:
        self.ddp.require_backward_grad_sync = last
        with self.autocast():
            return self.ddp(batch)
