"""The engine of one rank."""

from __future__ import annotations

from drivetrain import EngineContext, ReplicaEngine, UserError


class SingleEngine(ReplicaEngine):
    """Forward, backward and step of a model that one rank holds whole. Raises UserError for several ranks."""

    def __init__(self, config: None, context: EngineContext):
        if context.comm.world != 1:
            raise UserError(
                f"parallelism 'single' runs on one rank, this job has {context.comm.world}",
                remedy="start one process, or set parallelism.plugin=deepspeed",
            )
        model = context.build_model().to(context.comm.device)
        super().__init__(context, model, context.build_optimizer(model))
