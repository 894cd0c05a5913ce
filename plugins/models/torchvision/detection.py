"""Torchvision's object detectors. The recipe's transforms decide the size of a picture: nothing is resized in here."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from drivetrain import (
    Batch,
    Boxes,
    CameraBatch,
    CameraLabels,
    Model,
    ModelContext,
    Prediction,
    UserError,
    boxes_in_original,
    normalise_images,
    pad_to_multiple,
)

from .config import DetectionConfig
from .counting import (
    CountingFCOSHead,
    CountingRetinaNetHead,
    CountingRoIHeads,
    CountingRPN,
    CountingSSD,
    Targets,
    adopt,
)
from .weights import build_net, published

TASK = "object_detection"
_LAYERS = {"resnet50": 5, "mobilenet_v3_large": 6}
"""Groups of layers of a backbone that torchvision can freeze."""


class Detector(Model):
    """A torchvision detector ``net``. Bodies may run under autocast: what they give is made float32 at once, so that
    anchors, decoding, scores and losses are float32.

    Loss names are torchvision's; their weights are told in `counting`. Batch norms are plain ones from scratch; with
    pretrained weights they are frozen where torchvision freezes them.
    """

    first_label: ClassVar[int] = 0
    """Torchvision's label of the recipe's first class."""
    head: ClassVar[str] = "head"
    """The module that depends on the number of classes."""
    multiple: ClassVar[int] = 32
    """Pictures are padded so that every level of the feature pyramid divides them."""

    def __init__(self, net: Any, classes: tuple[str, ...]):
        super().__init__()
        self.net, self.classes = net, classes
        net.backbone.register_forward_hook(_float32)

    @staticmethod
    def options(config: DetectionConfig) -> dict[str, Any]:
        """What of the config torchvision's builder takes."""
        given = {"score_thresh": config.score_threshold, "detections_per_img": config.detections_per_image}
        return given | ({} if config.nms_threshold is None else {"nms_thresh": config.nms_threshold})

    def loss_parts(self, images: ImageList, features: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        """name -> [2], (sum, weight)."""
        raise NotImplementedError

    def detect(self, images: ImageList, features: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        """Per picture ``boxes`` [N, 4] in the batch's pixels, ``scores`` [N], torchvision's ``labels`` [N]."""
        raise NotImplementedError

    def losses(self, batch: Batch) -> dict[str, tuple[Tensor, Tensor]]:
        images, targets = self._images(batch.camera), self._targets(batch.camera)
        parts = self.loss_parts(images, self._training_features(images.tensors), targets)
        return {name: (part[0], part[1]) for name, part in parts.items()}

    def predict(self, batch: Batch) -> list[Prediction]:
        images = self._images(batch.camera)
        found = self.detect(images, self.net.backbone(images.tensors))
        boxes = [self._in_original(one, batch.camera, i) for i, one in enumerate(found)]
        return [Prediction(k, {batch.camera_name: CameraLabels(boxes=b)}) for k, b in zip(batch.keys, boxes)]

    def published_weights(self, name: str) -> Mapping[str, Tensor] | None:
        return published(name)

    def export_module(self) -> nn.Module:
        raise NotImplementedError("torchvision's detectors suppress overlapping boxes inside the network, so that only running "
                                  "it tells how many there are, which no exporter of torch's can follow")  # fmt: skip

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        transform = self.net.transform
        return tuple(transform.image_mean), tuple(transform.image_std)

    def _images(self, camera: CameraBatch) -> ImageList:
        images = normalise_images(camera.images, *self.normalisation())
        return ImageList(pad_to_multiple(images, self.multiple), [(h, w) for h, w in camera.sizes.tolist()])

    def _targets(self, camera: CameraBatch) -> Targets:
        fields, labelled, known = camera.targets[TASK], camera.labelled[TASK], camera.labelled_classes[TASK]
        targets = []
        for i in range(len(labelled)):
            valid = fields["valid"][i] & labelled[i]
            targets.append({
                "boxes": fields["boxes"][i][valid],
                "labels": fields["classes"][i][valid] + self.first_label,
                "ignore": fields["ignore_boxes"][i][fields["ignore_valid"][i]],
                "labelled": labelled[i],
                "known": known[i],
            })  # fmt: skip
        return targets

    def _training_features(self, images: Tensor) -> dict[str, Tensor]:
        try:
            return self.net.backbone(images)
        except ValueError as error:  # torch's batch norm of a single value a channel (SSDlite's last maps)
            if len(images) > 1:
                raise
            raise UserError(f"this model cannot be trained on one picture of this size at a time: {error}",
                            remedy="set batch.micro to 2 or more, or resize to larger pictures") from error  # fmt: skip

    def _in_original(self, found: dict[str, Tensor], camera: CameraBatch, index: int) -> Boxes:
        names = [self.classes[label - self.first_label] for label in found["labels"].tolist()]
        return boxes_in_original(camera, index, found["boxes"], names, found["scores"])


class RetinaNetDetector(Detector):
    """Lin et al., Focal Loss for Dense Object Detection (2017). Class ids are labels: there is no background label."""

    counting: ClassVar[type[nn.Module]] = CountingRetinaNetHead

    def __init__(self, net: Any, classes: tuple[str, ...]):
        super().__init__(net, classes)
        adopt(net.head, self.counting)
        net.head.register_forward_hook(_float32)

    def loss_parts(self, images: ImageList, features: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        maps = list(features.values())
        return self.net.compute_loss(targets, self.net.head(maps), self.net.anchor_generator(images, maps))

    def detect(self, images: ImageList, features: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        maps = list(features.values())
        outputs, anchors = self.net.head(maps), self.net.anchor_generator(images, maps)
        cells = [m.shape[-2] * m.shape[-1] for m in maps]
        levels = [n * (len(anchors[0]) // sum(cells)) for n in cells]
        by_level = {name: list(out.split(levels, 1)) for name, out in outputs.items()}
        return self.net.postprocess_detections(by_level, [list(a.split(levels)) for a in anchors], images.image_sizes)


class FCOSDetector(RetinaNetDetector):
    """Tian et al., FCOS: Fully Convolutional One-Stage Object Detection (2019)."""

    counting = CountingFCOSHead

    def loss_parts(self, images: ImageList, features: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        maps = list(features.values())
        cells = [m.shape[-2] * m.shape[-1] for m in maps]
        return self.net.compute_loss(targets, self.net.head(maps), self.net.anchor_generator(images, maps), cells)


class SSDDetector(Detector):
    """Liu et al., SSD: Single Shot MultiBox Detector (2016). Default boxes are shares of the picture, of any size."""

    first_label = 1
    multiple = 1

    def __init__(self, net: Any, classes: tuple[str, ...]):
        super().__init__(net, classes)
        adopt(net, CountingSSD)
        net.head.register_forward_hook(_float32)

    def loss_parts(self, images: ImageList, features: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        maps = list(features.values())
        anchors = self.net.anchor_generator(images, maps)
        return self.net.compute_loss(targets, self.net.head(maps), anchors, self.net.match(targets, anchors))

    def detect(self, images: ImageList, features: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        maps = list(features.values())
        return self.net.postprocess_detections(self.net.head(maps), self.net.anchor_generator(images, maps), images.image_sizes)


class FasterRCNNDetector(Detector):
    """Ren et al., Faster R-CNN (2015), on a feature pyramid."""

    first_label = 1
    head = "roi_heads"

    def __init__(self, net: Any, classes: tuple[str, ...]):
        super().__init__(net, classes)
        adopt(net.rpn, CountingRPN)
        adopt(net.roi_heads, CountingRoIHeads)
        net.rpn.head.register_forward_hook(_float32)
        net.roi_heads.box_predictor.register_forward_hook(_float32)

    @staticmethod
    def options(config: DetectionConfig) -> dict[str, Any]:
        return {f"box_{name}": value for name, value in Detector.options(config).items()}

    def loss_parts(self, images: ImageList, features: dict[str, Tensor], targets: Targets) -> dict[str, Tensor]:
        proposals, first = self.net.rpn(images, features, targets)
        _, second = self.net.roi_heads(features, proposals, images.image_sizes, targets)
        return first | second

    def detect(self, images: ImageList, features: dict[str, Tensor]) -> list[dict[str, Tensor]]:
        proposals, _ = self.net.rpn(images, features)
        return self.net.roi_heads(features, proposals, images.image_sizes)[0]


def _float32(module: nn.Module, inputs: Any, outputs: Any) -> Any:
    """A forward hook: floating point tensors of ``outputs``, nested, as float32."""
    if isinstance(outputs, Tensor):
        return outputs.float()
    if isinstance(outputs, dict):
        return {name: _float32(module, inputs, value) for name, value in outputs.items()}
    return type(outputs)(_float32(module, inputs, value) for value in outputs)


def _build(kind: type[Detector], name: str, backbone: str, config: DetectionConfig, context: ModelContext) -> Detector:
    classes = context.classes[TASK]
    options = kind.options(config)
    layers, most = config.trainable_backbone_layers, _LAYERS[backbone]
    if layers is not None and layers > most:
        raise UserError(f"{layers} of {most} layers of {backbone} cannot be trained", where="model.trainable_backbone_layers",
                        remedy=f"set 0 to {most}")  # fmt: skip
    if layers is not None:
        options["trainable_backbone_layers"] = layers
    net = build_net(name, backbone, (kind.head,), config, len(classes) + kind.first_label, **options)
    return kind(net, classes)


fasterrcnn_resnet50_fpn = partial(_build, FasterRCNNDetector, "fasterrcnn_resnet50_fpn", "resnet50")
fasterrcnn_resnet50_fpn_v2 = partial(_build, FasterRCNNDetector, "fasterrcnn_resnet50_fpn_v2", "resnet50")
fasterrcnn_mobilenet_v3_large_fpn = partial(
    _build, FasterRCNNDetector, "fasterrcnn_mobilenet_v3_large_fpn", "mobilenet_v3_large"
)
fasterrcnn_mobilenet_v3_large_320_fpn = partial(
    _build, FasterRCNNDetector, "fasterrcnn_mobilenet_v3_large_320_fpn", "mobilenet_v3_large"
)
retinanet_resnet50_fpn = partial(_build, RetinaNetDetector, "retinanet_resnet50_fpn", "resnet50")
retinanet_resnet50_fpn_v2 = partial(_build, RetinaNetDetector, "retinanet_resnet50_fpn_v2", "resnet50")
fcos_resnet50_fpn = partial(_build, FCOSDetector, "fcos_resnet50_fpn", "resnet50")
ssdlite320_mobilenet_v3_large = partial(_build, SSDDetector, "ssdlite320_mobilenet_v3_large", "mobilenet_v3_large")
