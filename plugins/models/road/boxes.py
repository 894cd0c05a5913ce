"""The head of boxes as one of several."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from drivetrain import Boxes, CameraBatch

from .backbone import STRIDES
from .cells import Cells, cells_of, decode
from .config import BoxesConfig
from .head import BoxHead, box_losses
from .heads import Head, Maps, Terms
from .picking import pick

TASK = "object_detection"
LEVELS = STRIDES[1:]


class Found(NamedTuple):
    """Of all A cells: ``logits`` float32 [B, A, C] and ``boxes`` [B, A, 4] in the batch's pixels."""

    cells: Cells
    logits: Tensor
    boxes: Tensor


class BoxesHead(Head):
    """What `road_detector` has; its losses are told in `head.box_losses`."""

    field = "boxes"

    def __init__(self, config: BoxesConfig, width: int, classes: tuple[str, ...]):
        super().__init__()
        self.config, self.classes = config, classes
        self.net = BoxHead(width, len(classes), len(LEVELS))

    def forward(self, maps: Maps) -> Found:
        logits, raw = self.net(maps.levels)
        cells = cells_of(maps.levels, LEVELS)
        return Found(cells, logits, decode(cells, raw))

    def losses(self, said: Found, camera: CameraBatch) -> Terms:
        losses = box_losses(*said, camera.targets[TASK], camera.labelled[TASK], camera.labelled_classes[TASK],
                            self.config.cells_per_object)  # fmt: skip
        total, weight = losses["boxes"]
        return losses | {"boxes": (self.config.box_weight * total, weight)}

    def predict(self, said: Found, camera: CameraBatch) -> list[Boxes]:
        return self.predict_from(self.exported(said), camera)

    def predict_from(self, outputs: Mapping[str, Tensor], camera: CameraBatch) -> list[Boxes]:
        return pick(camera, outputs["scores"], outputs["boxes"], self.classes, self.config)

    def exported(self, said: Found, size: tuple[int, int] | None = None) -> dict[str, Tensor]:
        """``boxes`` [B, A, 4] and ``scores`` [B, A, C], which a non-maximum suppression of each class is to follow."""
        return {"boxes": said.boxes, "scores": said.logits.sigmoid()}
