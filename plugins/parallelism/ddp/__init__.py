"""Torch's DistributedDataParallel: every rank holds everything, gradients are averaged."""

from drivetrain import ParallelismPlugin, hookimpl


@hookimpl
def drivetrain_parallelisms():
    return [
        ParallelismPlugin(
            name="ddp",
            about="Torch's DistributedDataParallel, without DeepSpeed",
            config="drivetrain.plugins.parallelism.ddp.config:DDPConfig",
            factory="drivetrain.plugins.parallelism.ddp.engine:DDPEngine",
        )
    ]
