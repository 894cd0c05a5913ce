"""Errors of depth, as Eigen's evaluation has them."""

from drivetrain import MetricPlugin, hookimpl


@hookimpl
def drivetrain_metrics():
    return [
        MetricPlugin(
            name="abs_rel", about="Depth: AbsRel, with SqRel, RMSE, RMSE log and delta < 1.25^k",
            task="depth_estimation", direction="min",
            config="drivetrain.plugins.metrics.depth.config:DepthConfig",
            factory="drivetrain.plugins.metrics.depth.metric:build",
        )
    ]  # fmt: skip
