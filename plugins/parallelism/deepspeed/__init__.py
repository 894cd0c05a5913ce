"""DeepSpeed ZeRO: parameters, gradients and optimizer state cut over the ranks."""

from drivetrain import HealthCheckPlugin, ParallelismPlugin, hookimpl


@hookimpl
def drivetrain_parallelisms():
    return [
        ParallelismPlugin(
            name="deepspeed",
            about="DeepSpeed ZeRO stages 0 to 3, on GPUs with nccl and on CPUs with gloo",
            config="drivetrain.plugins.parallelism.deepspeed.config:DeepSpeedConfig",
            factory="drivetrain.plugins.parallelism.deepspeed.engine:DeepSpeedEngine",
            default=True,
        )
    ]


@hookimpl
def drivetrain_health_checks():
    return [
        HealthCheckPlugin(
            name="deepspeed",
            about="DeepSpeed imports, and which accelerator it sees",
            factory="drivetrain.plugins.parallelism.deepspeed.setup:check_health",
        )
    ]
