"""``road_detector``: backbone, neck and the boxes' head."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from drivetrain import Batch, CameraBatch, CameraLabels, Model, ModelContext, Prediction, normalise_images, pad_to_multiple

from .backbone import SIZES, STRIDES, backbone_of
from .cells import Cells, cells_of, decode
from .config import RoadDetectorConfig
from .head import BoxHead, box_losses
from .neck import Neck
from .picking import pick

TASK = "object_detection"
_LEVELS = STRIDES[1:]


class RoadDetector(Model):
    """A one-stage detector without anchors. Bodies may run under autocast; what the head says, boxes, scores and losses are
    float32. Neither losses nor what comes before them wait for the device. The losses are told in `head.box_losses`."""

    def __init__(self, config: RoadDetectorConfig, classes: tuple[str, ...]):
        super().__init__()
        size = SIZES[config.size]
        self.config, self.classes = config, classes
        self.backbone = backbone_of(size, config.backbone, _LEVELS)
        self.neck = Neck(self.backbone.channels[-len(_LEVELS) :], size.neck)
        self.head = BoxHead(size.neck, len(classes), len(_LEVELS))

    def forward_cells(self, images: Tensor) -> tuple[Cells, Tensor, Tensor]:
        """Normalised pictures [B, 3, H, W] of any size to the cells, their logits [B, A, C] and boxes [B, A, 4]."""
        maps = self.neck(self.backbone(pad(images))[-len(_LEVELS) :])
        logits, raw = self.head(maps)
        cells = cells_of(maps, _LEVELS)
        return cells, logits, decode(cells, raw)

    def losses(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        camera = batch.camera
        cells, logits, boxes = self.forward_cells(self._images(camera))
        losses = box_losses(cells, logits, boxes, camera.targets[TASK], camera.labelled[TASK], camera.labelled_classes[TASK],
                            self.config.cells_per_object)  # fmt: skip
        total, weight = losses["boxes"]
        return losses | {"boxes": (self.config.box_weight * total, weight)}

    def predict(self, batch: Batch) -> list[Prediction]:
        _, logits, boxes = self.forward_cells(self._images(batch.camera))
        return self.predict_from({"boxes": boxes, "scores": logits.sigmoid()}, batch)

    def predict_from(self, outputs: Mapping[str, Tensor], batch: Batch) -> list[Prediction]:
        found = pick(batch.camera, outputs["scores"], outputs["boxes"], self.classes, self.config)
        return [Prediction(key, {batch.camera_name: CameraLabels(boxes=one)}) for key, one in zip(batch.keys, found)]

    def own_names(self, weights: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        return self.backbone.own_names(weights)

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return self.backbone.normalisation

    def _images(self, camera: CameraBatch) -> Tensor:
        return normalise_images(camera.images, *self.normalisation())

    def export_module(self) -> nn.Module:
        """float32 [B, 3, H, W] normalised pictures to boxes [B, A, 4] in their pixels and scores [B, A, C] of all cells, which
        a non-maximum suppression of each class is to follow."""
        return _Export(self).eval()


class _Export(nn.Module):
    outputs = ("boxes", "scores")

    def __init__(self, model: RoadDetector):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        _, logits, boxes = self.model.forward_cells(images)
        return boxes, logits.sigmoid()


def pad(images: Tensor) -> Tensor:
    """To the right and below, so that every level divides the sides."""
    return pad_to_multiple(images, STRIDES[-1])


def build(config: RoadDetectorConfig, context: ModelContext) -> RoadDetector:
    return RoadDetector(config, context.classes[TASK])
