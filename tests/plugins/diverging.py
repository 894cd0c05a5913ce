"""A model for tests that goes wrong as it is told; loaded with ``--plugin``."""

import errno
import os
import resource
import signal
from pathlib import Path

import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from drivetrain import IGNORE, CameraLabels, Model, ModelPlugin, PluginConfig, Prediction, hookimpl, normalise_images


class DivergingConfig(PluginConfig):
    steps: list[int] = Field(description="steps, counted from 0, in which slot 1 has no finite loss")
    ends: str | None = Field(None, description="its process, in the first step: one of ENDS")


def use_up_memory(limit=2**26):
    """A limit for this process alone, so many bytes beyond what it has, and then more and more until there is no more."""
    has = resource.getpagesize() * int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (has + limit, resource.RLIM_INFINITY))
    hold = []
    while True:
        hold.append(torch.ones(2**20))


def use_up_group():
    """More than a control group of a few GiB has: the system kills."""
    use_up_memory(2**33)


def lose_disk():
    raise OSError(errno.EROFS, os.strerror(errno.EROFS), "checkpoints/step-1")


ENDS = {"memory": use_up_memory, "group": use_up_group, "disk": lose_disk,
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL)}  # fmt: skip


class Diverging(Model):
    def __init__(self, steps, ends, classes):
        super().__init__()
        self.steps, self.ends, self.net = steps, ends, nn.Conv2d(3, len(classes), 1)

    def losses(self, batch):
        if self.ends:
            ENDS[self.ends]()
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
    return Diverging(config.steps, config.ends, context.classes["semantic_segmentation"])


@hookimpl
def drivetrain_models():
    home = __name__
    return [ModelPlugin(name="diverging", about="Goes wrong", tasks={"semantic_segmentation"},
                        config=f"{home}:DivergingConfig", factory=f"{home}:build", api_version=1)]  # fmt: skip
