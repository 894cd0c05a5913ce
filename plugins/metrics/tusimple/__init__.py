"""TuSimple's lane accuracy."""

from drivetrain import MetricPlugin, ScorerPlugin, hookimpl


@hookimpl
def drivetrain_metrics():
    return [MetricPlugin(name="tusimple_accuracy", about="TuSimple's accuracy of lanes, with FP and FN", task="lane_detection",
                         config="drivetrain.plugins.metrics.tusimple.config:TusimpleConfig",
                         factory="drivetrain.plugins.metrics.tusimple.metric:build")]  # fmt: skip


@hookimpl
def drivetrain_scorers():
    return [ScorerPlugin(name="tusimple", about="TuSimple's lane accuracy, FP and FN, from its json lines",
                         factory="drivetrain.plugins.metrics.tusimple.scorer:build")]  # fmt: skip
