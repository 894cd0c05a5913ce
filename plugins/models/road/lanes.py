"""The head of lanes: in each row, where each lane crosses it, and whether it does.

Qin et al., Ultra Fast Structure-aware Deep Lane Detection (2020): a lane is a place in each of a few rows, chosen among
columns. Theirs come from one matrix over the whole map, for one size of pictures; ours from convolutions over a grid of rows
and columns that also know where in the picture they are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from drivetrain import CameraBatch, Lanes

from .heads import Head, Maps, Terms
from .layers import ConvNorm
from .multitask_config import LaneConfig

TASK = "lane_detection"
_STRIDE = 8
_FINER = (2, 4)
"""Rows and columns of logits that a cell of the map gives."""
_ONE_MORE = {"points": (0, 0, 0, 2, 0, 1), "points_valid": (0, 2, 0, 1), "classes": (0, 1), "valid": (0, 1)}
"""Padding of the targets by a lane of two points that are not valid: without lanes there would be nothing to look through."""


class Rows(NamedTuple):
    """What is said of S lanes: ``columns`` float32 [B, S, R, K], logits of where they cross each row; ``present`` [B, S, R],
    logits of whether they do; ``ys`` [R], the rows, from the top, and ``width`` of a column, in the batch's pixels."""

    columns: Tensor
    present: Tensor
    ys: Tensor
    width: float


class LaneHead(Head):
    """``config.lanes_per_class`` lanes of each class, where there are several from left to right."""

    field = "lanes"

    def __init__(self, config: LaneConfig, width: int, classes: tuple[str, ...]):
        super().__init__()
        self.config, self.classes = config, classes
        count = len(classes) * config.lanes_per_class
        self.body = nn.Sequential(ConvNorm(width + 2, width), ConvNorm(width, width))
        self.locate = nn.Conv2d(width, count * _FINER[0] * _FINER[1], 1)
        self.decide = nn.Conv1d(2 * width, count, 3, padding=1)

    def forward(self, maps: Maps) -> Rows:
        x = maps.middle
        height, width = x.shape[-2:]
        top = int(self.config.top * height)
        rows, columns = self.config.rows, self.config.columns
        x = self.body(torch.cat([x[:, :, top:], _places(x[:, :, top:])], 1))
        place = F.interpolate(_spread(self.locate(x).float()), size=(rows, columns), mode="bilinear", align_corners=False)
        row = self.decide(torch.cat([x.amax(3), x.mean(3)], 1)).float()
        present = F.interpolate(row, size=rows, mode="linear", align_corners=False)
        ys = torch.arange(rows, device=x.device) + 0.5
        return Rows(place, present, _STRIDE * (top + ys * ((height - top) / rows)), _STRIDE * width / columns)

    def losses(self, said: Rows, camera: CameraBatch) -> Terms:
        """``lane_rows``: cross entropy of the place in rows that a lane crosses, the truth shared by the two columns next to
        it; ``lane_presence``: binary cross entropy of whether it does, of the classes that were looked for."""
        xs, there = self.targets(camera, said)
        place = xs / said.width - 0.5
        near = place.clamp(0, self.config.columns - 1)
        left = near.floor().clamp(max=self.config.columns - 2)
        share = near - left
        log_p = said.columns.log_softmax(3)
        both = log_p.gather(3, torch.stack([left, left + 1], 3).long())
        entropy = -(both[..., 0] * (1 - share) + both[..., 1] * share)
        known = camera.labelled_classes[TASK][..., None].expand(-1, -1, self.config.lanes_per_class).flatten(1)[..., None]
        wrong = F.binary_cross_entropy_with_logits(said.present, there.float(), reduction="none")
        return {
            "lane_rows": ((entropy * there).sum(), there.sum().float()),
            "lane_presence": ((wrong * known).sum(), known.expand_as(wrong).sum().float()),
        }

    @torch.no_grad()
    def targets(self, camera: CameraBatch, said: Rows) -> tuple[Tensor, Tensor]:
        """Where lane S crosses row R, in the batch's pixels, float32 [B, S, R], and whether it does, within the picture."""
        fields = {name: F.pad(values, _ONE_MORE[name]) for name, values in camera.targets[TASK].items()}
        known = camera.labelled_classes[TASK].gather(1, fields["classes"])
        valid = fields["valid"] & known
        xs, there = crossings(fields["points"], fields["points_valid"] & valid[..., None], said.ys)
        there = there & (xs >= 0) & (xs < camera.sizes[:, 1, None, None])
        lanes = said.columns.shape[1]
        slot = slots(fields["points"], fields["classes"], valid, self.config.lanes_per_class)
        chosen = slot[:, None] == torch.arange(lanes, device=slot.device)[:, None]  # [B, S, L]
        wanted = (chosen[..., None] & there[:, None]).float()
        return (wanted * xs[:, None]).sum(2), wanted.sum(2) > 0

    def predict(self, said: Rows, camera: CameraBatch) -> list[Lanes]:
        return self.predict_from(self.exported(said), camera)

    def predict_from(self, outputs: Mapping[str, Tensor], camera: CameraBatch) -> list[Lanes]:
        xs, present, ys = outputs["xs"], outputs["present"], outputs["ys"].flip(0)
        to_original = camera.to_original.double()
        scale, shift = to_original.diagonal(dim1=1, dim2=2)[:, :2], to_original[:, :2, 2]
        xs = xs.flip(2) * scale[:, 0, None, None] + shift[:, 0, None, None]
        ys = ys * scale[:, 1, None] + shift[:, 1, None]
        limits = camera.original_sizes.cpu().numpy()
        found = (t.float().cpu().numpy() for t in (xs, ys, present.flip(2)))
        return [self._lanes(*one) for one in zip(*found, limits)]

    def exported(self, said: Rows, size: tuple[int, int] | None = None) -> dict[str, Tensor]:
        """``xs`` and ``present`` [B, S, R], as of `decode`, and ``ys`` [R] of the rows."""
        xs, present = self.decode(said)
        return {"xs": xs, "present": present, "ys": said.ys}

    def decode(self, said: Rows) -> tuple[Tensor, Tensor]:
        """Where each lane crosses each row, in the batch's pixels, and how sure that it does, float32 [B, S, R]: the mean
        place of the likeliest column and of those beside it."""
        best = said.columns.argmax(3, keepdim=True)
        columns = torch.arange(said.columns.shape[3], device=best.device)
        p = said.columns.masked_fill((columns - best).abs() > 1, -torch.inf).softmax(3)
        return ((p * columns).sum(3) + 0.5) * said.width, said.present.sigmoid()

    def _lanes(self, xs: np.ndarray, ys: np.ndarray, present: np.ndarray, size: np.ndarray) -> Lanes:
        """One picture's: ``xs`` and ``present`` [S, R], ``ys`` [R] from near to far, ``size`` (height, width)."""
        inside = (ys >= 0) & (ys <= size[0]) & (xs >= 0) & (xs <= size[1])
        crossed = (present >= self.config.threshold) & inside
        seen = np.flatnonzero(crossed.sum(1) >= self.config.least_rows)
        points = [np.stack([xs[i, crossed[i]], ys[crossed[i]]], 1) for i in seen]
        names = [self.classes[i // self.config.lanes_per_class] for i in seen]
        return Lanes(points, names, scores=np.array([present[i, crossed[i]].mean() for i in seen], np.float32))


def crossings(points: Tensor, valid: Tensor, ys: Tensor) -> tuple[Tensor, Tensor]:
    """Where polylines ``points`` [B, L, K, 2], of ``valid`` [B, L, K] points, cross the rows ``ys`` [R]: x float32 [B, L, R]
    and whether they do. Of several crossings of a row it is the first along the line."""
    begin, end = points[:, :, :-1, None], points[:, :, 1:, None]  # [B, L, K - 1, 1, 2]
    (x1, y1), (x2, y2) = begin.unbind(-1), end.unbind(-1)
    crossed = (torch.minimum(y1, y2) <= ys) & (ys <= torch.maximum(y1, y2))
    crossed = crossed & (valid[:, :, :-1] & valid[:, :, 1:])[..., None]
    flat = y2 == y1
    x = x1 + (x2 - x1) * ((ys - y1) / torch.where(flat, 1.0, y2 - y1))
    first = crossed.float().argmax(2, keepdim=True)
    return x.gather(2, first)[:, :, 0], crossed.any(2)


def slots(points: Tensor, classes: Tensor, valid: Tensor, per_class: int) -> Tensor:
    """Which of a model's lanes learns each labelled one, int64 [B, L], -1 for none: its class's, and among those of one class
    by how many of them begin farther left."""
    x = points[:, :, 0, 0]
    same = (classes[:, :, None] == classes[:, None]) & valid[:, None] & valid[:, :, None]
    order = torch.arange(x.shape[1], device=x.device)
    before = (x[:, None] < x[:, :, None]) | ((x[:, None] == x[:, :, None]) & (order < order[:, None]))
    rank = (same & before).sum(2)
    return torch.where(valid & (rank < per_class), classes * per_class + rank, -1)


def _spread(x: Tensor) -> Tensor:
    """[B, S * r * c, H, W] as [B, S, r * H, c * W], r and c being `_FINER`."""
    (batch, channels, height, width), (r, c) = x.shape, _FINER
    x = x.view(batch, channels // (r * c), r, c, height, width).permute(0, 1, 4, 2, 5, 3)
    return x.reshape(batch, channels // (r * c), r * height, c * width)


def _places(x: Tensor) -> Tensor:
    """How far each cell is to the right and down, -1 to 1, as two channels [B, 2, H, W] (Liu et al., CoordConv, 2018)."""
    height, width = x.shape[-2:]
    axes = (torch.linspace(-1, 1, n, device=x.device, dtype=x.dtype) for n in (width, height))
    right, down = (a.expand(height, width) if i == 0 else a[:, None].expand(height, width) for i, a in enumerate(axes))
    return torch.stack([right, down]).expand(len(x), 2, height, width)
