import torch
from torch import nn
from torch.nn import functional as F

from drivetrain import IGNORE, CameraLabels, Model, Prediction, normalise_images

TASK = "semantic_segmentation"


class Crosswalk(Model):
    def __init__(self, width, classes):
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, 1), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(), nn.Conv2d(width, len(classes), 1),
        )  # fmt: skip

    def _logits(self, camera):
        x = normalise_images(camera.images)
        return F.interpolate(self.net(x).float(), x.shape[2:], mode="bilinear")

    def losses(self, batch):
        mask = batch.camera.targets[TASK]["mask"].long()
        total = F.cross_entropy(self._logits(batch.camera), mask, ignore_index=IGNORE, reduction="sum")
        return {"segmentation": (total, (mask != IGNORE).sum().float())}

    def predict(self, batch):
        camera, out = batch.camera, []
        for key, logits, size in zip(batch.keys, self._logits(camera), camera.original_sizes.tolist()):
            mask = F.interpolate(logits[None], size, mode="bilinear")[0].argmax(0).to(torch.uint8)
            out.append(Prediction(key, {batch.camera_name: CameraLabels(semantic=mask.cpu().numpy())}))
        return out


def build(config, context):
    return Crosswalk(config.width, context.classes[TASK])
