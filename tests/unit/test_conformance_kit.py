"""The kit passes what is right and catches, in words, what is wrong."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from drivetrain import Boxes, CameraLabels, Model, Prediction, Transform, map_boxes, normalise_images
from drivetrain.testing import check_model, check_transform, make_batch

CLASSES = ("ground", "car", "sign")
TASK = "semantic_segmentation"


class Honest(Model):
    """Per-pixel classification by one convolution: the smallest model that keeps the contract."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Conv2d(3, len(CLASSES), 3, padding=1)

    def losses(self, batch):
        mask = batch.camera.targets[TASK]["mask"].long()
        logits = self.layer(normalise_images(batch.camera.images))
        total = F.cross_entropy(logits, mask, ignore_index=255, reduction="sum")
        return {"loss": (total, (mask != 255).sum().float())}

    def predict(self, batch):
        logits = self.layer(normalise_images(batch.camera.images))
        out = []
        for key, one, size in zip(batch.keys, logits, batch.camera.original_sizes.tolist()):
            mask = F.interpolate(one[None], size=self.size_for(size, batch))[0].argmax(0).to(torch.uint8).numpy()
            out.append(Prediction(key, {"camera": CameraLabels(semantic=mask)}))
        return out

    def size_for(self, original, batch):
        return original


class MeanOnly(Honest):
    def losses(self, batch):
        total, weight = super().losses(batch)["loss"]
        return {"loss": total / weight.clamp(min=1)}


class MeanAsSum(Honest):
    def losses(self, batch):
        total, weight = super().losses(batch)["loss"]
        return {"loss": (total / weight.clamp(min=1), (weight > 0).float())}


class UnusedHead(Honest):
    def __init__(self):
        super().__init__()
        self.spare = nn.Linear(3, 1)


class SkipsUnlabelled(Honest):
    def losses(self, batch):
        if not batch.camera.labelled[TASK].any():
            return {"loss": (torch.zeros(()), torch.zeros(()))}
        return super().losses(batch)


class CountsUnlabelled(Honest):
    def losses(self, batch):
        total, weight = super().losses(batch)["loss"]
        return {"loss": (total, weight + 1)}


class Divides(Honest):
    """NaN where nothing is labelled."""

    def losses(self, batch):
        total, weight = super().losses(batch)["loss"]
        return {"loss": (total / weight * weight, weight)}


class WrongPixels(Honest):
    def size_for(self, original, batch):
        return batch.camera.images.shape[1:3]


class HalfPrecision(Honest):
    def losses(self, batch):
        total, weight = super().losses(batch)["loss"]
        return {"loss": (total.bfloat16(), weight)}


class Remembers(Honest):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def predict(self, batch):
        self.calls += 1
        return super().predict(batch)


class LosesAFrame(Honest):
    def predict(self, batch):
        return super().predict(batch)[:-1]


def test_honest_model_passes():
    check_model(lambda context: Honest(), TASK, CLASSES)


@pytest.mark.parametrize(
    "model, words",
    [
        (MeanOnly, r"expected a pair \(sum, weight\)"),
        (MeanAsSum, "weights must add up"),
        (UnusedHead, "'spare.weight' gets no gradient from a labelled batch"),
        (SkipsUnlabelled, "must be a connected 0"),
        (CountsUnlabelled, "weight 1.0, both must be 0"),
        (Divides, "the sum is nan"),
        (WrongPixels, "use original_sizes"),
        (HalfPrecision, "not a float32 scalar"),
        (Remembers, "predict changed 'calls'"),
        (LosesAFrame, "predictions of"),
        (nn.Identity, "no drivetrain.Model"),
    ],
)
def test_broken_models_are_caught(model, words):
    with pytest.raises(AssertionError, match=words):
        check_model(lambda context: model(), TASK, CLASSES)


class FixedBoxes(Model):
    """A detector that learns one number and predicts one box."""

    def __init__(self, mapped=True, names=("ground",), score=0.5):
        super().__init__()
        self.scale, self.mapped, self.names, self.score = nn.Parameter(torch.ones(())), mapped, list(names), score

    def losses(self, batch):
        weight = batch.camera.labelled["object_detection"].sum().float()
        return {"loss": (self.scale**2 * weight, weight)}

    def predict(self, batch):
        out = []
        for key, matrix in zip(batch.keys, batch.camera.to_original.numpy()):
            xyxy = np.array([[4, 5, 20, 30]], np.float32)
            xyxy = map_boxes(matrix, xyxy) if self.mapped else xyxy
            boxes = Boxes(xyxy[: len(self.names)], self.names, scores=[self.score] * len(self.names))
            out.append(Prediction(key, {"camera": CameraLabels(boxes=boxes)}))
        return out


@pytest.mark.parametrize(
    "options, words",
    [
        ({"mapped": False}, "boxes do not follow to_original"),
        ({"names": ["truck"]}, "names .*truck.* are no classes"),
        ({"score": 1.5}, "scores outside"),
        ({"names": []}, "score threshold of 0"),
    ],
)
def test_broken_detectors_are_caught(options, words):
    check_model(lambda context: FixedBoxes(), "object_detection", CLASSES)
    with pytest.raises(AssertionError, match=words):
        check_model(lambda context: FixedBoxes(**options), "object_detection", CLASSES)


@pytest.mark.parametrize("task", ["semantic_segmentation", "object_detection"])
def test_batches_follow_from_their_seed_and_show_their_targets(task):
    one, two, other = (make_batch(task, CLASSES, seed=seed) for seed in (3, 3, 4))
    assert torch.equal(one.camera.images, two.camera.images) and not torch.equal(one.camera.images, other.camera.images)
    if task == "object_detection":
        fields = one.camera.targets[task]
        assert fields["valid"].sum() == 6
        x1, y1, x2, y2 = fields["boxes"][0, 0].int().tolist()
        inside = one.camera.images[0, y1:y2, x1:x2].reshape(-1, 3)
        assert (inside == inside[0]).all()
    assert not make_batch(task, CLASSES, labelled=False).camera.labelled[task].any()


class DrawsTwice(Transform):
    """Uses a generator of its own."""

    generator = np.random.default_rng(0)

    def view(self, view, rng):
        return view.scaled(*self.generator.integers(50, 90, 2).tolist())


class FlipsTheImageAlone(Transform):
    def pixels(self, sample, rng):
        return sample.replace(image=sample.image[:, ::-1].copy())


class MovesTheBoxAlone(Transform):
    def pixels(self, sample, rng):
        sample.targets["object_detection"]["boxes"] += 10
        return sample


class Turns(Transform):
    def view(self, view, rng):
        return view.then(np.array([[0.0, -1, view.size[0]], [1, 0, 0], [0, 0, 1]]), view.size[::-1])


class MakesFloats(Transform):
    def pixels(self, sample, rng):
        return sample.replace(image=sample.image / 255)


class ShowsNothing(Transform):
    def view(self, view, rng):
        shift = np.eye(3)
        shift[0, 2] = 10_000
        return view.then(shift, view.size)


@pytest.mark.parametrize(
    "transform, words",
    [
        (DrawsTwice, "draw from the given Rng alone"),
        (FlipsTheImageAlone, "share only"),
        (MovesTheBoxAlone, "the box is"),
        (Turns, "turns or shears"),
        (MakesFloats, "became float64"),
        (ShowsNothing, "none of 16 seeds"),
    ],
)
def test_broken_transforms_are_caught(transform, words):
    check_transform(Transform())
    with pytest.raises(AssertionError, match=words):
        check_transform(transform())


def test_checking_transforms_needs_no_torch():
    code = "import sys; from drivetrain.testing import check_transform; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
