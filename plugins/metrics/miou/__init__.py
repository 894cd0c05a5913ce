"""Mean intersection over union of semantic segmentation, from one exact confusion matrix over all frames."""

from drivetrain import MetricPlugin, ScorerPlugin, hookimpl


@hookimpl
def drivetrain_metrics():
    return [
        MetricPlugin(
            name="miou", about="Mean IoU of semantic segmentation, with IoU per class and pixel accuracy",
            task="semantic_segmentation", direction="max",
            config="drivetrain.plugins.metrics.miou.config:MiouConfig",
            factory="drivetrain.plugins.metrics.miou.metric:build",
        )
    ]  # fmt: skip


@hookimpl
def drivetrain_scorers():
    return [
        ScorerPlugin(
            name="segmentation", about="Cityscapes' mIoU of folders of masks: --classes N --ignore ID",
            config="drivetrain.plugins.metrics.miou.config:SegmentationConfig",
            factory="drivetrain.plugins.metrics.miou.scorer:build",
        )
    ]  # fmt: skip
