"""Our own models of road scenes: one backbone and neck, with a detector's head."""

from drivetrain import ModelPlugin, hookimpl


@hookimpl
def drivetrain_models():
    return [
        ModelPlugin(name="road_detector", about="One-stage detector without anchors, sizes n, s, m, l",
                    tasks={"object_detection"}, config="drivetrain.plugins.models.road.config:RoadDetectorConfig",
                    factory="drivetrain.plugins.models.road.detector:build")
    ]  # fmt: skip
