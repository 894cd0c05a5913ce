"""COCO's average precision of 2D detection, counted by pycocotools."""

from drivetrain import MetricPlugin, ScorerPlugin, hookimpl


@hookimpl
def drivetrain_metrics():
    return [
        MetricPlugin(
            name="coco_map", about="COCO's mean average precision of 2D boxes (pycocotools), with AP per class",
            task="object_detection", direction="max",
            factory="drivetrain.plugins.metrics.coco_map.metric:build",
        )
    ]  # fmt: skip


@hookimpl
def drivetrain_scorers():
    return [ScorerPlugin(name="coco", about="COCO's twelve figures of 2D boxes, from COCO json (pycocotools)",
                         config="drivetrain.plugins.metrics.coco_map.config:CocoScorerConfig",
                         factory="drivetrain.plugins.metrics.coco_map.scorer:build")]  # fmt: skip
