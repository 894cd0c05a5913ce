"""Torch's optimizers, and learning rate schedules that depend on the step alone."""

from drivetrain import LRSchedulePlugin, OptimizerPlugin, hookimpl


@hookimpl
def drivetrain_optimizers():
    return [
        OptimizerPlugin(name="adamw", about="Adam with decoupled weight decay", default=True,
                        config="drivetrain.plugins.optimizers.config:AdamWConfig",
                        factory="drivetrain.plugins.optimizers.optimizers:adamw"),
        OptimizerPlugin(name="sgd", about="Stochastic gradient descent with momentum",
                        config="drivetrain.plugins.optimizers.config:SGDConfig",
                        factory="drivetrain.plugins.optimizers.optimizers:sgd"),
    ]  # fmt: skip


@hookimpl
def drivetrain_lr_schedules():
    return [
        LRSchedulePlugin(name="constant", about="One learning rate, after the warm-up", default=True,
                         config="drivetrain.plugins.optimizers.config:ConstantConfig",
                         factory="drivetrain.plugins.optimizers.schedules:constant"),
        LRSchedulePlugin(name="cosine", about="Half a cosine from the full rate to the final one",
                         config="drivetrain.plugins.optimizers.config:CosineConfig",
                         factory="drivetrain.plugins.optimizers.schedules:cosine"),
        LRSchedulePlugin(name="one_cycle", about="Half a cosine up, half a cosine down",
                         config="drivetrain.plugins.optimizers.config:OneCycleConfig",
                         factory="drivetrain.plugins.optimizers.schedules:one_cycle"),
        LRSchedulePlugin(name="poly", about="(1 - progress) ** power",
                         config="drivetrain.plugins.optimizers.config:PolyConfig",
                         factory="drivetrain.plugins.optimizers.schedules:poly"),
        LRSchedulePlugin(name="step", about="A drop at each milestone",
                         config="drivetrain.plugins.optimizers.config:StepConfig",
                         factory="drivetrain.plugins.optimizers.schedules:step"),
    ]  # fmt: skip
