"""CULane's F1 of lanes."""

from drivetrain import MetricPlugin, ScorerPlugin, hookimpl


@hookimpl
def drivetrain_metrics():
    return [MetricPlugin(name="culane_f1", about="CULane's F1 of lanes, with precision and recall", task="lane_detection",
                         config="drivetrain.plugins.metrics.culane.config:CulaneF1Config",
                         factory="drivetrain.plugins.metrics.culane.metric:build")]  # fmt: skip


@hookimpl
def drivetrain_scorers():
    return [ScorerPlugin(name="culane", about="CULane's precision, recall and F1, from folders of .lines.txt",
                         config="drivetrain.plugins.metrics.culane.config:CulaneConfig",
                         factory="drivetrain.plugins.metrics.culane.scorer:build")]  # fmt: skip
