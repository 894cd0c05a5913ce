"""A model for tests whose loss is not finite in the steps that it is told; loaded with ``--plugin``."""

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from drivetrain import IGNORE, CameraLabels, Model, ModelPlugin, PluginConfig, Prediction, hookimpl, normalise_images


class DivergingConfig(PluginConfig):
    steps: list[int] = Field(description="steps, counted from 0, in which slot 1 has no finite loss")


class Diverging(Model):
    def __init__(self, steps, classes):
        super().__init__()
        self.steps, self.net = steps, nn.Conv2d(3, len(classes), 1)

    def losses(self, batch):
        mask = batch.camera.targets["semantic_segmentation"]["mask"].long()
        logits = self.net(normalise_images(batch.camera.images))
        total = F.cross_entropy(logits, mask, ignore_index=IGNORE, reduction="sum")
        if batch.step in self.steps and batch.slot == 1:
            total = total / torch.zeros(())
        return {"segmentation": (total, (mask != IGNORE).sum().float())}

    def export_module(self):
        return self.net

    def predict(self, batch):
        logits = self.net(normalise_images(batch.camera.images)).float()
        sizes = batch.camera.original_sizes.tolist()
        masks = [F.interpolate(one[None], size)[0].argmax(0).byte() for one, size in zip(logits, sizes)]
        labels = [{batch.camera_name: CameraLabels(semantic=mask.cpu().numpy())} for mask in masks]
        return [Prediction(key, views) for key, views in zip(batch.keys, labels)]


def build(config, context):
    return Diverging(config.steps, context.classes["semantic_segmentation"])


@hookimpl
def drivetrain_models():
    home = __name__
    return [ModelPlugin(name="diverging", about="A loss that is not finite", tasks={"semantic_segmentation"},
                        config=f"{home}:DivergingConfig", factory=f"{home}:build", api_version=1)]  # fmt: skip
