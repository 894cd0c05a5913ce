"""``rt_detr``: transformers' RT-DETR, with our losses."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from drivetrain import (
    Batch,
    Boxes,
    CameraBatch,
    CameraLabels,
    Model,
    ModelContext,
    Prediction,
    UserError,
    block_names,
    boxes_in_original,
    normalise_images,
    pad_to_multiple,
)

from .config import RTDetrConfig
from .library import built, configuration, saved_weights, transformers
from .matching import TASK, Truth, corners, truth_of
from .rt_detr_losses import Terms, denoising_losses, detection_losses
from .sizes import RT_DETR

_MULTIPLE = 32
"""Pictures are padded so that every level of the pyramid divides them."""
_BEGUN = ("class_embed", "score_head", "bbox_embed", "sampling_offsets", "attention_weights", "value_proj", "output_proj")
"""Of layers whose initial values are of their own."""
_NOWHERE = (0.5, 0.5, 0.1, 0.1)


class RTDetr(Model):
    """Zhao et al., DETRs Beat YOLOs on Real-time Object Detection (2024). Pictures are given as shares of 255, as published.

    The body may run under autocast; from the decoder's inputs on, boxes and logits are float32. Losses are told in
    `rt_detr_losses`; matching waits for the device once a micro-batch.
    """

    net: Any

    def __init__(self, net: nn.Module, config: RTDetrConfig, classes: tuple[str, ...]):
        super().__init__()
        self.net, self.config, self.classes = net, config, classes
        for projection in self.net.model.decoder_input_proj:
            projection.register_forward_hook(_float32)

    def losses(self, batch: Batch) -> Terms:
        images = self._images(batch.camera)
        truth = truth_of(batch.camera, (images.shape[2], images.shape[3]))
        out, settings = self._run(images, _labels(truth)), self.net.config
        logits, boxes = out.intermediate_logits.float(), out.intermediate_reference_points.float()
        made = out.denoising_meta_values
        count = made["dn_num_split"][0] if made else 0
        logits, boxes = (t.split([count, t.shape[2] - count], 2) for t in (logits, boxes))
        first = (out.enc_topk_logits.float()[:, None], out.enc_topk_bboxes.float()[:, None])
        losses = detection_losses(torch.cat([logits[1], first[0]], 1), torch.cat([boxes[1], first[1]], 1), truth, settings)
        if made:
            queries, groups = list(made["dn_positive_idx"]), made["dn_num_group"]
            losses |= denoising_losses(logits[0], boxes[0], queries, groups, truth, settings)
        return losses

    def predict(self, batch: Batch) -> list[Prediction]:
        boxes, scores = self.detect(self._images(batch.camera))
        return self.predict_from({"boxes": boxes, "scores": scores}, batch)

    def predict_from(self, outputs: Mapping[str, Tensor], batch: Batch) -> list[Prediction]:
        boxes, scores = outputs["boxes"], outputs["scores"]
        found = [self._best(batch.camera, i, boxes[i], scores[i]) for i in range(len(boxes))]
        return [Prediction(key, {batch.camera_name: CameraLabels(boxes=one)}) for key, one in zip(batch.keys, found)]

    def detect(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised, padded pictures [B, 3, H, W] to boxes [B, Q, 4] in their pixels and scores [B, Q, C]."""
        out = self._run(images, None)
        height, width = images.shape[-2:]
        boxes = corners(out.intermediate_reference_points[:, -1].float())
        boxes = boxes * boxes.new_tensor([width, height, width, height])
        return boxes, out.intermediate_logits[:, -1].float().sigmoid()

    def published_weights(self, name: str) -> Mapping[str, Tensor] | None:
        return saved_weights(type(self.net), name)

    def normalisation(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        return (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)

    def layer_names(self) -> list[str]:
        """The backbone's stages, the encoder's blocks, the decoder's layers, and its heads."""
        body, decoder = self.net.model, self.net.model.decoder
        layers = block_names(body.backbone, "net.model.backbone.") + block_names(body.encoder, "net.model.encoder.")
        layers += [f"net.model.decoder.layers.{i}" for i in range(len(decoder.layers))]
        return layers + ["net.model.decoder.class_embed", "net.model.decoder.bbox_embed"]

    def export_module(self) -> nn.Module:
        """float32 [B, 3, H, W] normalised pictures to boxes [B, Q, 4] in their pixels and scores [B, Q, C] of all queries;
        no suppression follows."""
        return _Export(self).eval()

    def _images(self, camera: CameraBatch) -> Tensor:
        return pad_to_multiple(normalise_images(camera.images, *self.normalisation()), _MULTIPLE)

    def _run(self, images: Tensor, labels: list[dict[str, Tensor]] | None) -> Any:
        wanted = self.net.config.num_queries
        cells = sum((images.shape[2] // s) * (images.shape[3] // s) for s in self.net.config.feat_strides)
        if cells < wanted:
            raise UserError(f"{wanted} queries are chosen among {cells} cells of a picture of {tuple(images.shape[2:])}",
                            where="model.config.num_queries",
                            remedy=f"set it to at most {cells}, or give larger pictures")  # fmt: skip
        return self.net.model(images, labels=labels)

    def _best(self, camera: CameraBatch, index: int, boxes: Tensor, scores: Tensor) -> Boxes:
        """The best pairs of query and class."""
        best, slot = scores.flatten().topk(min(self.config.detections_per_image, scores.numel()))
        slot = slot[best >= self.config.score_threshold]
        names = [self.classes[c] for c in (slot % len(self.classes)).tolist()]
        return boxes_in_original(camera, index, boxes[slot // len(self.classes)], names, scores.flatten()[slot])


class _Export(nn.Module):
    outputs = ("boxes", "scores")

    def __init__(self, model: RTDetr):
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        return self.model.detect(pad_to_multiple(images, _MULTIPLE))


def _labels(truth: Truth) -> list[dict[str, Tensor]]:
    """What transformers makes denoising queries of. Where no picture has an object the first gets one that does not count:
    without any there would be no such queries, and other ranks would wait for their gradients."""
    counts = truth.counts if any(truth.counts) else [1] + [0] * (len(truth.counts) - 1)
    boxes = truth.boxes if any(truth.counts) else truth.boxes.new_tensor(_NOWHERE).expand_as(truth.boxes)
    return [{"class_labels": truth.classes[i, :n], "boxes": boxes[i, :n]} for i, n in enumerate(counts)]


def _float32(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
    return output.float()


def build(config: RTDetrConfig, context: ModelContext) -> RTDetr:
    """Sizes have plain batch norms, since they are trained from scratch; a folder says itself."""
    classes = context.classes[TASK]
    base = {name: {"freeze_backbone_batch_norms": False, **fields} for name, fields in RT_DETR.items()}
    made = configuration(transformers.RTDetrConfig, config, base, classes, auxiliary_loss=True, use_focal_loss=True)
    net = built(transformers.RTDetrForObjectDetection, made)
    _begin(net.model)
    return RTDetr(net, config, classes)


def _begin(body: nn.Module) -> None:
    """Encoder and decoder as their authors begin them, with torch's own initial values but where theirs are others. From
    scratch this learns faster than what transformers does, which draws all, the scales of batch norms too, from N(0, 0.01)."""
    for name, module in body.named_modules():
        is_plain = isinstance(module, (nn.Linear, nn.Conv2d, nn.BatchNorm2d))
        if is_plain and not name.startswith("backbone.") and not any(part in name for part in _BEGUN):
            module.reset_parameters()
