"""TuSimple's lane accuracy."""

from drivetrain import ScorerPlugin, hookimpl


@hookimpl
def drivetrain_scorers():
    return [ScorerPlugin(name="tusimple", about="TuSimple's lane accuracy, FP and FN, from its json lines",
                         factory="drivetrain.plugins.metrics.tusimple.scorer:build")]  # fmt: skip
