"""Samples put together as a batch, in buffers that are leased and written again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from threading import RLock
from typing import Any

import numpy as np
import torch
from torch import Tensor

from drivetrain import TASKS, Batch, CameraBatch, CameraSample, LidarBatch, LidarSample, Sample, UserError

from .rasters import Raster

_ROUND = 32  # pictures of unequal sizes are padded to a multiple of it, so that few shapes occur
_POISON = 0xA5
_BYTE = np.dtype(np.uint8)
_HELD = 128  # batches that a consumer may hold at once


class Ring:
    """uint8 buffers, reused by shape and pinned if ``pin``. When none is free another one is made, so that nobody waits;
    no more are kept than were ever leased at once. DRIVETRAIN_POISON=1 spoils what is given back, to find late readers."""

    def __init__(self, pin: bool):
        self.pin, self._poison = pin, os.environ.get("DRIVETRAIN_POISON") == "1"
        self.ahead = 1  # batches that are made ahead, on lease beside those that are held
        self._free: list[Tensor] = []
        self._leased = self._peak = self._batches = 0
        self._lock = RLock()  # a lease that the garbage collector finds may be forgotten while this thread takes a buffer

    def lease(self) -> Lease:
        """For one batch. Raises UserError where `_HELD` are out: the consumer keeps batches and releases none."""
        with self._lock:
            if self._batches >= _HELD + self.ahead - 1:  # the next one is one of those
                raise UserError(
                    f"{_HELD} batches are held and were not released: the loader makes no more",
                    remedy="call batch.release() once a batch is used; what is to stay is a copy: batch.keep()",
                )
            self._batches += 1
        return Lease(self)

    def take(self, shape: tuple[int, ...]) -> Tensor:
        with self._lock:
            self._leased += 1
            self._peak = max(self._peak, self._leased)
            for i in range(len(self._free) - 1, -1, -1):
                if self._free[i].shape == shape:
                    return self._free.pop(i)
        return self._new(shape)

    def give_back(self, buffers: Sequence[Tensor]) -> None:
        for buffer in buffers if self._poison else ():
            buffer.fill_(_POISON)
        with self._lock:
            self.forget(len(buffers))
            self._free.extend(buffers)
            del self._free[: -self._peak or None]

    def forget(self, buffers: int) -> None:
        """A lease of so many buffers has ended."""
        with self._lock:
            self._leased -= buffers
            self._batches -= 1

    def close(self) -> None:
        """Keep no buffer any more: whoever holds the ring, in a cycle of references, may be found by the garbage collector
        long after."""
        with self._lock:
            self._peak = 0
            self._free.clear()

    def scratch(self, lease: Lease, shape: tuple[int, ...]) -> np.ndarray:
        """Memory for one picture that no canvas holds."""
        return np.empty(shape, np.uint8)

    def _new(self, shape: tuple[int, ...]) -> Tensor:
        return torch.empty(shape, dtype=torch.uint8, pin_memory=self.pin)


class Lease:
    """The buffers of one batch. Called, it gives them back; called again, it does nothing. Where it is forgotten instead,
    its buffers are nobody's: the tensors may still be read, so they are not used again."""

    def __init__(self, ring: Ring):
        self._ring = ring
        self._buffers: list[Tensor] | None = []

    def take(self, shape: tuple[int, ...], dtype: np.dtype[Any] = _BYTE) -> Tensor:
        """``shape`` of ``dtype``; other types than bytes lie in a buffer of bytes."""
        assert self._buffers is not None, "the lease has ended"
        self._buffers.append(self._ring.take(_in_bytes(shape, dtype)))
        buffer = self._buffers[-1]
        return buffer if dtype == _BYTE else torch.from_numpy(_as(buffer.numpy(), shape, dtype))

    def scratch(self, shape: tuple[int, ...], dtype: np.dtype[Any] = _BYTE) -> np.ndarray:
        return _as(self._ring.scratch(self, _in_bytes(shape, dtype)), shape, dtype)

    def __call__(self) -> None:
        buffers, self._buffers = self._buffers, None
        if buffers is not None:
            self._ring.give_back(buffers)

    def __del__(self):
        if self._buffers is not None:
            self._ring.forget(len(self._buffers))


class Canvas:
    """One camera's pictures of a batch of ``count`` with the same ``size`` (height, width), and the ``rasters`` of its
    tasks. ``arrays``: the images, then of each raster all of the batch's; ``rows``: the same of each sample, to be written by
    several threads."""

    def __init__(self, lease: Lease, count: int, size: tuple[int, int], rasters: tuple[Raster, ...]):
        self.size, self.rasters = size, rasters
        self.arrays = [lease.take((count, *size, 3)), *(lease.take((count, *size), raster.dtype) for raster in rasters)]
        self.rows: list[tuple[np.ndarray, ...]] = list(zip(*(array.numpy() for array in self.arrays)))

    @property
    def targets(self) -> dict[str, dict[str, Tensor]]:
        return {raster.task: {raster.target: array} for raster, array in zip(self.rasters, self.arrays[1:])}

    def holds(self, samples: Sequence[CameraSample]) -> bool:
        return len(samples) == len(self.rows) and all(sample.image.shape[:2] == self.size for sample in samples)

    def write(self, row: int, sample: CameraSample) -> None:
        """Copy what does not lie here already; the rest of the row is black, and ignored or unknown."""
        image, *drawn = self.rows[row]
        _write(image, sample.image, 0)
        for raster, place in zip(self.rasters, drawn):
            _write(place, sample.targets[raster.task][raster.target], raster.outside)


def _in_bytes(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[int, ...]:
    return shape if dtype == _BYTE else (*shape, dtype.itemsize)


def _as(buffer: np.ndarray, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray:
    return buffer if dtype == _BYTE else buffer.view(dtype).reshape(shape)


def _write(row: np.ndarray, content: np.ndarray, padding: int) -> None:
    if content is row:
        return
    if content.shape != row.shape:
        row.fill(padding)
    row[: content.shape[0], : content.shape[1]] = content


def collate(samples: Sequence[Sample], canvases: dict[str, Canvas], lease: Lease, pin: bool, step: int, slot: int,
            filler: bool) -> Batch:  # fmt: skip
    """The batch of ``samples``; ``canvases`` are those that they were drawn on, by picture (`Sample.pictures`)."""
    drawn = [sample.pictures for sample in samples]
    pictures = {name: _camera([d[name] for d in drawn], canvases[name], lease) for name in drawn[0]}
    cameras = {name: pictures[name] for name in samples[0].cameras}
    past = range(len(samples[0].history), 0, -1)
    history = tuple({name: pictures[f"{name}@{back}"] for name in cameras} for back in past)
    lidars = {name: _lidar([sample.lidars[name] for sample in samples]) for name in samples[0].lidars}
    frames = [sample.frame for sample in samples if sample.frame is not None]
    positions = torch.tensor([sample.position for sample in samples])
    batch = Batch(
        [sample.key for sample in samples], positions, cameras, step, slot, frames or None, filler, lease, lidars, history
    )
    return batch.map(lambda t: t if t.is_pinned() else t.pin_memory()) if pin else batch


def _lidar(sweeps: list[LidarSample]) -> LidarBatch:
    unknown = np.full((4, 4), np.nan)
    poses = np.stack([unknown if sweep.sensor_to_ego is None else sweep.sensor_to_ego for sweep in sweeps])
    return LidarBatch(
        points=torch.from_numpy(np.concatenate([sweep.points for sweep in sweeps])),
        lengths=torch.tensor([len(sweep.points) for sweep in sweeps]),
        sensor_to_ego=torch.from_numpy(poses.astype(np.float32)),
    )


def _camera(samples: list[CameraSample], canvas: Canvas, lease: Lease) -> CameraBatch:
    if not canvas.holds(samples):
        canvas = Canvas(lease, len(samples), _common_size(samples), canvas.rasters)
    for row, sample in enumerate(samples):
        canvas.write(row, sample)
    tasks = samples[0].labelled_classes
    classes = {task: torch.from_numpy(np.stack([s.labelled_classes[task] for s in samples])) for task in tasks}
    targets = canvas.targets
    for task in tasks:
        if task in _PADDED:
            targets[task] = _PADDED[task]([sample.targets[task] for sample in samples])
    inverse = np.linalg.inv(np.stack([sample.view.matrix for sample in samples]))
    return CameraBatch(
        images=canvas.arrays[0],
        sizes=torch.tensor([sample.image.shape[:2] for sample in samples]),
        original_sizes=torch.tensor([sample.original_size for sample in samples]),
        to_original=torch.from_numpy(inverse.astype(np.float32)),
        targets=targets,
        labelled={task: _labelled(task, mask, targets[task]) for task, mask in classes.items()},
        labelled_classes=classes,
        intrinsics=torch.from_numpy(_intrinsics(samples)),
    )


def _intrinsics(samples: Sequence[CameraSample]) -> np.ndarray:
    unknown = np.zeros((3, 3))
    found = [sample.view.intrinsics for sample in samples]
    return np.stack([unknown if one is None else one for one in found]).astype(np.float32)


def _labelled(task: str, classes: Tensor, targets: dict[str, Tensor]) -> Tensor:
    """bool [B]: where a class was looked for; of a task without classes, where its pixels say anything."""
    if TASKS[task].has_classes:
        return classes.any(1)
    (pixels,) = targets.values()
    return pixels.flatten(1).any(1)


def _common_size(samples: Sequence[CameraSample]) -> tuple[int, int]:
    sizes = {sample.image.shape[:2] for sample in samples}
    height, width = (max(lengths) for lengths in zip(*sizes))
    return (height, width) if len(sizes) == 1 else (_rounded(height), _rounded(width))


def _rounded(length: int) -> int:
    return -(-length // _ROUND) * _ROUND


def _boxes(targets: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    boxes, valid = _padded([target["boxes"] for target in targets], torch.float32)
    classes, _ = _padded([target["classes"] for target in targets], torch.int64)
    ignore_boxes, ignore_valid = _padded([target["ignore_boxes"] for target in targets], torch.float32)
    return {"boxes": boxes, "classes": classes, "valid": valid, "ignore_boxes": ignore_boxes, "ignore_valid": ignore_valid}


def _lanes(targets: Sequence[dict[str, np.ndarray]]) -> dict[str, Tensor]:
    most = max(target["points"].shape[1] for target in targets)
    widths = [(0, most - target["points"].shape[1]) for target in targets]
    lines = [np.pad(target["points"], ((0, 0), width, (0, 0))) for target, width in zip(targets, widths)]
    there = [np.pad(target["points_valid"], ((0, 0), width)) for target, width in zip(targets, widths)]
    points, valid = _padded(lines, torch.float32)
    points_valid, _ = _padded(there, torch.bool)
    classes, _ = _padded([target["classes"] for target in targets], torch.int64)
    return {"points": points, "points_valid": points_valid, "classes": classes, "valid": valid}


_PADDED = {"object_detection": _boxes, "lane_detection": _lanes}


def _padded(rows: Sequence[np.ndarray], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """``rows`` [n, ...] as one tensor [B, N, ...] padded with zeros, and which entries are real, bool [B, N]."""
    longest = max(len(row) for row in rows)
    out = torch.zeros((len(rows), longest, *rows[0].shape[1:]), dtype=dtype)
    valid = torch.zeros((len(rows), longest), dtype=torch.bool)
    for i, row in enumerate(rows):
        out[i, : len(row)] = torch.from_numpy(row)
        valid[i, : len(row)] = True
    return out, valid
