"""The time of a step of our detector, held against torchvision's FCOS, and against itself with more objects.

Forward, losses, backward and an AdamW step on one batch in memory, all models in turn in each round; medians over rounds,
``low`` and ``high`` the middle half of the rounds' ratios.

``detector_step_vs_fcos``          FCOS's step / ours, on the same backbone and input: on ours (size n), and on a ResNet-50
``detector_step_at_100_objects``   our step with 100 objects a frame / with 5
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import resnet50
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FCOS
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from drivetrain import IMAGENET_MEAN, IMAGENET_STD, Batch, ModelContext, total_loss
from drivetrain.plugins.models.road.backbone import SIZES, Backbone
from drivetrain.plugins.models.road.config import RoadDetectorConfig
from drivetrain.plugins.models.road.detector import TASK, RoadDetector, build
from drivetrain.plugins.models.road.head import BoxHead
from drivetrain.plugins.models.road.neck import Neck
from drivetrain.testing import make_batch

CLASSES = ("car", "truck", "pedestrian", "cyclist", "traffic_sign")
WIDE = (512, 1024, 2048)
Step = Callable[[], None]


class ResNet50(nn.Module):
    """Maps at strides 4, 8, 16 and 32, as our own backbone has them."""

    def __init__(self) -> None:
        super().__init__()
        self.normalisation = (IMAGENET_MEAN, IMAGENET_STD)
        self.body = IntermediateLayerGetter(resnet50(), {f"layer{i}": str(i) for i in (1, 2, 3, 4)})

    def forward(self, images: Tensor) -> list[Tensor]:
        return list(self.body(images).values())


class Pyramid(nn.Module):
    """Torchvision's feature pyramid as its FCOS has it: 256 channels, two further levels."""

    out_channels = 256

    def __init__(self, backbone: nn.Module, channels: tuple[int, ...]):
        super().__init__()
        self.backbone, self.fpn = backbone, FeaturePyramidNetwork(list(channels), 256, LastLevelP6P7(256, 256))

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return self.fpn(dict(zip("345", self.backbone(images)[1:])))


def ours(backbone: nn.Module | None = None) -> RoadDetector:
    """Size n; on another ``backbone`` with the neck and head of size l, whose 256 channels are those of FCOS."""
    model = build(RoadDetectorConfig(size="n"), ModelContext((TASK,), {TASK: CLASSES}))
    if backbone is not None:
        model.backbone, model.neck, model.head = backbone, Neck(WIDE, 256), BoxHead(256, len(CLASSES), 3)
    return model


def fcos(backbone: nn.Module, channels: tuple[int, ...], size: tuple[int, int]) -> FCOS:
    """Torchvision's own, which is not to resize."""
    model = FCOS(Pyramid(backbone, channels), len(CLASSES), min_size=min(size), max_size=max(size))
    model.transform._skip_resize = True
    return model


def objects(batch: Batch, count: int) -> Batch:
    """The batch with ``count`` objects a frame, from 8 pixels to a third of the picture, at random places."""
    rng = torch.Generator().manual_seed(count)
    height, width = batch.camera.images.shape[1:3]
    frames, whole = len(batch), torch.tensor([width, height] * 2, dtype=torch.float32)
    low = torch.rand(frames, count, 2, generator=rng) * (whole[:2] - 8)
    sides = 8 * torch.exp(torch.rand(frames, count, 2, generator=rng) * (whole[:2] / 24).log())
    fields = batch.camera.targets[TASK]
    fields["boxes"] = torch.cat([low, low + sides], -1).minimum(whole)
    fields["classes"] = torch.randint(len(CLASSES), (frames, count), generator=rng)
    fields["valid"] = torch.ones(frames, count, dtype=torch.bool)
    return batch


def our_step(model: RoadDetector, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
    _learn(total_loss(model.losses(batch)), optimizer)


def their_step(model: FCOS, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
    images = list((batch.camera.images.permute(0, 3, 1, 2) / 255).contiguous(memory_format=torch.channels_last))
    fields = batch.camera.targets[TASK]
    targets = [{"boxes": boxes, "labels": labels} for boxes, labels in zip(fields["boxes"], fields["classes"])]
    _learn(torch.stack(list(model(images, targets).values())).sum(), optimizer)


def _learn(loss: Tensor, optimizer: torch.optim.Optimizer) -> None:
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def prepared(take: Callable[..., None], model: nn.Module, batch: Batch) -> Step:
    model.train().to(memory_format=torch.channels_last)
    return partial(take, model, batch, torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True))


def interleaved(steps: dict[str, Step], rounds: int) -> dict[str, list[float]]:
    """Seconds of every step of each, in turn; the first two rounds are not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 2):
        for name, step in steps.items():
            began = time.perf_counter()
            step()
            if number > 1:
                seconds[name].append(time.perf_counter() - began)
    return seconds


def ratio(figure: str, over: list[float], under: list[float], **about: object) -> dict[str, object]:
    low, _, high = statistics.quantiles([a / b for a, b in zip(over, under)], n=4)
    value = statistics.median(over) / statistics.median(under)
    return {"figure": figure, "value": round(value, 3), "unit": "ratio", "low": round(low, 3), "high": round(high, 3),
            "ms": [round(1000 * statistics.median(s), 1) for s in (over, under)], **about}  # fmt: skip


def figures(size: tuple[int, int], frames: int, rounds: int, backbones: list[str]) -> Iterator[dict[str, object]]:
    few, many = (objects(make_batch(TASK, CLASSES, size, frames), count) for count in (5, 100))
    for name in backbones:
        make, channels = (Backbone, SIZES["n"].widths[1:]) if name == "road n" else (lambda _: ResNet50(), WIDE)
        steps = {
            "ours": prepared(our_step, ours(None if name == "road n" else ResNet50()), few),
            "fcos": prepared(their_step, fcos(make(SIZES["n"]), channels, size), few),
        }
        seconds = interleaved(steps, rounds)
        yield ratio("detector_step_vs_fcos", seconds["fcos"], seconds["ours"], backbone=name, size=size, frames=frames)
    model = ours()
    seconds = interleaved({"many": prepared(our_step, model, many), "few": prepared(our_step, model, few)}, 2 * rounds)
    yield ratio("detector_step_at_100_objects", seconds["many"], seconds["few"], size=size, frames=frames)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 320), help="height and width of the input")
    parser.add_argument("--frames", type=int, default=4, help="a batch")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backbones", nargs="*", default=["road n", "resnet50"])
    wanted = parser.parse_args()
    torch.manual_seed(0)
    for figure in figures(tuple(wanted.size), wanted.frames, wanted.rounds, wanted.backbones):
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
