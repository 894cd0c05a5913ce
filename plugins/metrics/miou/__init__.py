"""Mean intersection over union of semantic segmentation, from one exact confusion matrix over all frames."""

from drivetrain import MetricPlugin, ScorerPlugin, hookimpl


@hookimpl
def drivetrain_metrics():
    names = {"semantic_segmentation": "miou", "drivable_area": "drivable_miou"}
    return [
        MetricPlugin(
            name=name, about=f"Mean IoU of {task.replace('_', ' ')}, with IoU per class and pixel accuracy",
            task=task, direction="max",
            config="drivetrain.plugins.metrics.miou.config:MiouConfig",
            factory="drivetrain.plugins.metrics.miou.metric:build",
        )
        for task, name in names.items()
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
