"""Mean intersection over union of semantic segmentation, from one exact confusion matrix over all frames."""

from drivetrain import MetricPlugin, hookimpl


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
