"""A Batch: what a model is given. Pictures are uint8 and channels-last; float and normalisation happen on the device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from .errors import UserError
from .frame import Frame

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass
class CameraBatch:
    """One camera's part of a batch of B frames.

    ``images`` uint8 [B, H, W, 3] RGB; ``sizes`` int64 [B, 2], the (height, width) that each picture fills from the top
    left, the rest is padding; ``original_sizes`` int64 [B, 2]; ``to_original`` float32 [B, 3, 3], from these pixels to
    the original's. ``targets``: task -> field -> tensor (`drivetrain.tasks.TASKS`), float targets are float32 and stay so.
    ``labelled``: task -> bool [B]; ``labelled_classes``: task -> bool [B, C]. ``intrinsics`` float32 [B, 3, 3] of these
    pixels, zeros where unknown; distortion is left as it is, and a mirrored picture is one of the mirrored world.
    """

    images: Tensor
    sizes: Tensor
    original_sizes: Tensor
    to_original: Tensor
    targets: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    labelled: dict[str, Tensor] = field(default_factory=dict)
    labelled_classes: dict[str, Tensor] = field(default_factory=dict)
    intrinsics: Tensor | None = None

    def map(self, fn: Callable[[Tensor], Tensor]) -> CameraBatch:
        """The same with every tensor passed through ``fn``."""
        return CameraBatch(
            fn(self.images), fn(self.sizes), fn(self.original_sizes), fn(self.to_original),
            {task: {name: fn(t) for name, t in fields.items()} for task, fields in self.targets.items()},
            {task: fn(t) for task, t in self.labelled.items()},
            {task: fn(t) for task, t in self.labelled_classes.items()},
            None if self.intrinsics is None else fn(self.intrinsics),
        )  # fmt: skip


@dataclass
class LidarBatch:
    """One lidar's part of a batch of B frames: ``points`` float32 [P, C], the frames' sweeps one after another, in the
    sensor's frame; ``lengths`` int64 [B], how many points are each frame's, 0 where it has no sweep; ``sensor_to_ego``
    float32 [B, 4, 4], NaN where unknown."""

    points: Tensor
    lengths: Tensor
    sensor_to_ego: Tensor

    def map(self, fn: Callable[[Tensor], Tensor]) -> LidarBatch:
        return LidarBatch(fn(self.points), fn(self.lengths), fn(self.sensor_to_ego))


@dataclass
class Batch:
    """One micro-batch of B frames: ``keys``, ``positions`` int64 [B], ``cameras`` and ``lidars`` by name.

    ``history``: where the recipe asks for clips, the cameras of the frames before, oldest first, with the same views; the
    frame itself is in ``cameras``. ``step`` and ``slot`` are its place in the run. ``frames``: in evaluation the B labelled
    frames in the recipe's classes. A ``filler`` evens the number of forwards over ranks: its predictions count for nothing.
    The tensors are leased: they may be written again after `release`, so whoever keeps a batch longer calls `keep`.
    """

    keys: list[str]
    positions: Tensor
    cameras: dict[str, CameraBatch]
    step: int = 0
    slot: int = 0
    frames: list[Frame] | None = None
    filler: bool = False
    on_release: Callable[[], None] | None = field(default=None, repr=False)
    lidars: dict[str, LidarBatch] = field(default_factory=dict)
    history: tuple[dict[str, CameraBatch], ...] = ()

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def camera(self) -> CameraBatch:
        """The only camera. Raises UserError where there are several."""
        if len(self.cameras) != 1:
            raise UserError(f"this model reads one camera, the batch has {sorted(self.cameras)}",
                            remedy="name one in data.cameras")  # fmt: skip
        return next(iter(self.cameras.values()))

    @property
    def camera_name(self) -> str:
        return next(iter(self.cameras))

    def map(self, fn: Callable[[Tensor], Tensor]) -> Batch:
        """The same with every tensor but the positions passed through ``fn``."""
        cameras, *history = (
            {name: camera.map(fn) for name, camera in cameras.items()} for cameras in (self.cameras, *self.history)
        )
        lidars = {name: lidar.map(fn) for name, lidar in self.lidars.items()}
        return replace(self, cameras=cameras, history=tuple(history), lidars=lidars)

    def to(self, device: torch.device | str) -> Batch:
        """The batch on ``device``, to be released in place of this one. Copies from pinned memory do not block: release
        waits for them, since the loader writes into that memory again."""
        moved = self.map(lambda t: t.to(device, non_blocking=True))
        if torch.device(device).type == "cuda" and (give_back := self.on_release) is not None:
            copied = torch.cuda.Event()
            copied.record()

            def release() -> None:
                copied.synchronize()
                give_back()

            moved.on_release = release
        return moved

    def keep(self) -> Batch:
        """A copy that is the caller's own."""
        copy = self.map(torch.clone)
        copy.on_release = None
        return copy

    def release(self) -> None:
        """Give the buffers back; the tensors must not be read any more."""
        if self.on_release is not None:
            self.on_release()
            self.on_release = None


def pad_to_multiple(images: Tensor, multiple: int, value: float = 0.0) -> Tensor:
    """[..., H, W] with ``value`` to the right and below, so that ``multiple`` divides the sides."""
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple), value=value)


def normalise_images(images: Tensor, mean: tuple[float, ...] = IMAGENET_MEAN, std: tuple[float, ...] = IMAGENET_STD,
                     out: Tensor | None = None) -> Tensor:  # fmt: skip
    """uint8 [B, H, W, 3] in 0..255 as float32 [B, 3, H, W], channels-last in memory, (x / 255 - mean) / std.

    ``out`` is an earlier result that nobody reads any more, to be written again: on a CPU the first touch of fresh memory
    costs several times the arithmetic.
    """
    batch, height, width, channels = images.shape
    scale = torch.tensor([1 / (255 * s) for s in std], device=images.device).repeat(width)
    shift = torch.tensor([-m / s for m, s in zip(mean, std)], device=images.device).repeat(width)
    if out is None:
        out = torch.empty((batch, channels, height, width), device=images.device, memory_format=torch.channels_last)
    rows = out.permute(0, 2, 3, 1).view(batch, height, width * channels)  # long rows: a broadcast over three is not vectorised
    pieces = batch if images.device.type == "cpu" else 1  # a picture stays in the cache between the two passes
    for source, target in zip(images.view_as(rows).chunk(pieces), rows.chunk(pieces)):
        torch.addcmul(shift, target.copy_(source), scale, out=target)
    return out
