"""A model of all five tasks, as small as it gets, as a plugin that is one file."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from drivetrain import (
    IGNORE,
    Boxes,
    CameraLabels,
    Lanes,
    Model,
    ModelPlugin,
    Prediction,
    hookimpl,
    map_boxes,
    normalise_images,
)

TASKS = ("object_detection", "semantic_segmentation", "drivable_area", "lane_detection", "depth_estimation")
MASKS = {"semantic_segmentation": "semantic", "drivable_area": "drivable"}


@hookimpl
def drivetrain_models():
    return [ModelPlugin(name="five", about="All tasks at once", tasks=set(TASKS), factory=f"{__name__}:build")]


class Five(Model):
    """A convolution to all dense outputs; of boxes and lanes it learns one number each."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes
        self.widths = [len(classes["semantic_segmentation"]), len(classes["drivable_area"]), 1]
        self.net = nn.Conv2d(3, sum(self.widths), 3, padding=1)
        self.shift = nn.Parameter(torch.zeros(2))

    def dense(self, batch):
        return self.net(normalise_images(batch.camera.images)).float().split(self.widths, 1)

    def losses(self, batch):
        targets, *dense = batch.camera.targets, *self.dense(batch)
        out = {}
        for task, logits in zip(MASKS, dense):
            mask = targets[task]["mask"].long()
            total = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="sum")
            out[task] = (total, (mask != IGNORE).sum().float())
        depth = targets["depth_estimation"]["depth"]
        known = (depth > 0).float()
        out["depth"] = (((F.softplus(dense[2][:, 0]) - depth).abs() * known).sum(), known.sum())
        for task, shift in zip(("object_detection", "lane_detection"), self.shift):
            valid = targets[task]["valid"].sum().float()
            out[task] = (shift**2 * valid, valid)
        return out

    def predict(self, batch):
        dense = self.dense(batch)
        camera = batch.camera
        out = []
        for i, key in enumerate(batch.keys):
            size, matrix = camera.original_sizes[i].tolist(), camera.to_original[i].cpu().numpy()
            semantic, drivable, depth = (F.interpolate(one[i : i + 1], size)[0] for one in dense)
            line = np.array([[9, 40], [10, 30], [12, 8]]) * np.diag(matrix)[:2] + matrix[:2, 2]
            labels = CameraLabels(
                Boxes(map_boxes(matrix, np.array([[4, 5, 20, 30]])), self.classes["object_detection"][:1], scores=[0.5]),
                *(one.argmax(0).to(torch.uint8).cpu().numpy() for one in (semantic, drivable)),
                Lanes([line], self.classes["lane_detection"][:1], [0.4]),
                F.softplus(depth[0]).clamp(min=0.1).cpu().numpy(),
            )
            out.append(Prediction(key, {batch.camera_name: labels}))
        return out


def build(config, context):
    return Five(context.classes)
