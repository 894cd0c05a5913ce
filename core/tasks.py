"""The one table of tasks: what each one's targets in a Batch and its results in a Prediction hold.

Pixels: x right, y down, pixel (0, 0) covers [0, 1) x [0, 1). Class ids index the recipe's classes of the task.
"""

from __future__ import annotations

from dataclasses import dataclass

IGNORE = 255
"""Mask value of a pixel that no loss and no metric counts."""


@dataclass(frozen=True)
class Task:
    """Parameters: ``targets``: field of `CameraBatch.targets[name]` -> dtype, shape and meaning. ``prediction``: the
    field of a `CameraLabels` that carries its labels in a Frame and its results in a Prediction. ``has_classes``: a task
    without them is given an empty list. ``counted``: what its labels are counted in, class by class."""

    name: str
    targets: dict[str, str]
    prediction: str
    counted: str
    has_classes: bool = True

    @property
    def is_mask(self) -> bool:
        """Whether its labels are a picture of class ids."""
        return "mask" in self.targets


_MASK = {"mask": f"uint8 [B, H, W], class id, {IGNORE} where nothing counts"}

TASKS = {
    task.name: task
    for task in (
        Task("semantic_segmentation", _MASK, "semantic", "pixels"),
        Task(
            "object_detection",
            {
                "boxes": "float32 [B, N, 4], x1 y1 x2 y2 in the batch's pixels, zeros where not valid",
                "classes": "int64 [B, N], class id",
                "valid": "bool [B, N], a box to be learnt; False is padding",
                "ignore_boxes": "float32 [B, M, 4], regions where detections are neither right nor wrong",
                "ignore_valid": "bool [B, M]",
            },
            "boxes",
            "boxes",
        ),
        Task("drivable_area", _MASK, "drivable", "pixels"),
        Task(
            "lane_detection",
            {
                "points": "float32 [B, L, K, 2], x y in the batch's pixels from near to far, zeros where not valid",
                "points_valid": "bool [B, L, K]",
                "classes": "int64 [B, L], class id",
                "valid": "bool [B, L], a lane to be learnt; False is padding",
            },
            "lanes",
            "lanes",
        ),
        Task(
            "depth_estimation",
            {"depth": "float32 [B, H, W], metres along the optical axis whatever the picture's scale, 0 where unknown"},
            "depth",
            "pixels",
            has_classes=False,
        ),
    )
}
