"""KITTI's average precision and orientation similarity of 2D boxes."""

from drivetrain import MetricPlugin, ScorerPlugin, hookimpl


@hookimpl
def drivetrain_metrics():
    return [
        MetricPlugin(
            name="kitti_ap", about="KITTI's 2D AP (R40, moderate, mean over classes), with all difficulties, R11 and AOS",
            task="object_detection", direction="max",
            factory="drivetrain.plugins.metrics.kitti.metric:build",
        )
    ]  # fmt: skip


@hookimpl
def drivetrain_scorers():
    return [ScorerPlugin(name="kitti", about="KITTI's 2D AP and AOS (R40 and R11), from folders of label files",
                         factory="drivetrain.plugins.metrics.kitti.scorer:build")]  # fmt: skip
