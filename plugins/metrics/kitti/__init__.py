"""KITTI's average precision and orientation similarity of 2D boxes."""

from drivetrain import ScorerPlugin, hookimpl


@hookimpl
def drivetrain_scorers():
    return [ScorerPlugin(name="kitti", about="KITTI's 2D AP and AOS (R40 and R11), from folders of label files",
                         factory="drivetrain.plugins.metrics.kitti.scorer:build")]  # fmt: skip
