"""Torch's fully sharded data parallelism: parameters, gradients and optimizer state cut over the ranks, without DeepSpeed."""

from drivetrain import ParallelismPlugin, hookimpl


@hookimpl
def drivetrain_parallelisms():
    return [
        ParallelismPlugin(
            name="fsdp",
            about="Torch's fully_shard (FSDP2): weights, gradients and optimizer state cut over the ranks, without DeepSpeed",
            config="drivetrain.plugins.parallelism.fsdp.config:FSDPConfig",
            factory="drivetrain.plugins.parallelism.fsdp.engine:FSDPEngine",
        )
    ]
