"""Panoptic quality, as panopticapi defines it."""

from drivetrain import ScorerPlugin, hookimpl


@hookimpl
def drivetrain_scorers():
    return [ScorerPlugin(name="panoptic", about="Panoptic quality from COCO panoptic json and PNGs (panopticapi)",
                         factory="drivetrain.plugins.metrics.panoptic.scorer:build")]  # fmt: skip
