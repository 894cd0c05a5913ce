"""CULane's F1 of lanes."""

from drivetrain import ScorerPlugin, hookimpl


@hookimpl
def drivetrain_scorers():
    return [ScorerPlugin(name="culane", about="CULane's precision, recall and F1, from folders of .lines.txt",
                         config="drivetrain.plugins.metrics.culane.config:CulaneConfig",
                         factory="drivetrain.plugins.metrics.culane.scorer:build")]  # fmt: skip
