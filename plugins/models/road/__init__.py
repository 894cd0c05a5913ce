"""Our own models of road scenes: one backbone and neck, with a detector's head or a head for each of several tasks."""

from drivetrain import ModelPlugin, hookimpl

_HOME = "drivetrain.plugins.models.road"
_TASKS = {"object_detection", "semantic_segmentation", "drivable_area", "lane_detection", "depth_estimation"}


@hookimpl
def drivetrain_models():
    return [
        ModelPlugin(name="road_detector", about="One-stage detector without anchors, sizes n, s, m, l",
                    tasks={"object_detection"}, config=f"{_HOME}.config:RoadDetectorConfig", factory=f"{_HOME}.detector:build"),
        ModelPlugin(name="road_multitask", about="Any of boxes, masks, drivable area, lanes and depth on one backbone and neck",
                    tasks=_TASKS, config=f"{_HOME}.multitask_config:RoadMultitaskConfig", factory=f"{_HOME}.multitask:build"),
    ]  # fmt: skip
