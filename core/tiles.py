"""Evaluation in tiles: a large picture is predicted piece by piece at its own resolution, and put together again.

A tile is a picture of its own for the model: its original is the part of the original that it shows. Boxes are moved back
and held against those of other tiles; masks and depth are taken from the tile in which a pixel lies furthest from an inner
edge. Every picture of a recipe has the same number of tiles, so that ranks make the same number of forwards.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from .batch import Batch, CameraBatch
from .frame import Boxes, CameraLabels
from .geometry import map_boxes
from .prediction import Prediction

if TYPE_CHECKING:
    from .recipe import Recipe
    from .recipe_schema import TilesSection

Predict = Callable[[Batch], list[Prediction]]
_SAME = 0.5  # overlap of two boxes of one class above which they are one object
_EDGE = 2.0  # pixels of the batch within which a box ends at its tile's edge
_STITCHED = ("semantic", "drivable", "depth")


def tiled(predict: Predict, recipe: Recipe) -> Predict:
    """``predict``, tile by tile where the recipe asks for it."""
    tiles = recipe.evaluation.tiles
    return predict if tiles is None else TiledPredict(predict, tiles)


class Stretch(NamedTuple):
    """Along one axis, in pixels of the batch: a tile is [start, end), of which [low, high) is taken from it."""

    start: int
    end: int
    low: float
    high: float


def stretches(length: int, count: int, overlap: float) -> list[Stretch]:
    """``count`` equal stretches that cover ``length`` and share ``overlap`` of their own length with the next."""
    own = min(length, int(np.ceil(length / (count - (count - 1) * overlap))))
    starts = [round(i * (length - own) / max(1, count - 1)) for i in range(count)]
    inner = [(later + earlier + own) / 2 for earlier, later in pairwise(starts)]
    return [Stretch(s, s + own, low, high) for s, low, high in zip(starts, [-np.inf, *inner], [*inner, np.inf])]


class TiledPredict:
    """Predictions of ``predict`` over the tiles of each picture, and over the ``whole`` picture made as small as a tile,
    which alone finds what is larger than a tile."""

    def __init__(self, predict: Predict, tiles: TilesSection):
        self._predict, self._tiles = predict, tiles

    def __call__(self, batch: Batch) -> list[Prediction]:
        height, width = batch.camera.images.shape[1:3]
        rows, columns = (stretches(n, count, self._tiles.overlap) for n, count in zip((height, width), self._tiles.grid))
        parts = [self._part(batch, row, column) for row in rows for column in columns]
        whole = self._whole(batch, rows[0], columns[0]) if self._tiles.whole else None
        return [
            Prediction(key, {batch.camera_name: _together(batch, i, [part[i] for part in parts], whole[i] if whole else None)})
            for i, key in enumerate(batch.keys)
        ]

    def _part(self, batch: Batch, row: Stretch, column: Stretch) -> list[_Part]:
        camera = batch.camera
        found = [_original(camera, i, row, column) for i in range(len(batch))]
        images = camera.images[:, row.start : row.end, column.start : column.end].contiguous()
        start = torch.tensor([row.start, column.start])
        sizes = (camera.sizes.cpu() - start).clamp(min=torch.tensor(1), max=torch.tensor(images.shape[1:3]))
        low = np.array([one.shown[:2] for one in found])
        to_original = camera.to_original.double() @ _shift(column.start, row.start).to(camera.to_original.device)
        to_original[:, :2, 2] -= torch.from_numpy(low).to(to_original)
        tile = CameraBatch(
            images, sizes.to(camera.sizes), torch.tensor([one.size for one in found]).to(camera.original_sizes),
            to_original.to(camera.to_original),
            intrinsics=camera.intrinsics if camera.intrinsics is None
            else _shift(-column.start, -row.start).to(camera.intrinsics) @ camera.intrinsics,
        )  # fmt: skip
        return [one._replace(said=said) for one, said in zip(found, self._said(batch, tile))]

    def _whole(self, batch: Batch, row: Stretch, column: Stretch) -> list[CameraLabels]:
        """What is said of the pictures made as small as a tile."""
        camera, size = batch.camera, (row.end - row.start, column.end - column.start)
        small = F.interpolate(camera.images.permute(0, 3, 1, 2).float(), size, mode="bilinear", antialias=True)
        images = small.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
        y, x = (old / new for old, new in zip(camera.images.shape[1:3], size))
        back = torch.diag(torch.tensor([x, y, 1.0])).to(camera.to_original)
        sizes = (camera.sizes / torch.tensor([y, x]).to(camera.sizes.device)).round().long().clamp(min=1)
        intrinsics = None if camera.intrinsics is None else back.inverse() @ camera.intrinsics
        return self._said(batch, CameraBatch(images, sizes, camera.original_sizes, camera.to_original @ back,
                                             intrinsics=intrinsics))  # fmt: skip

    def _said(self, batch: Batch, camera: CameraBatch) -> list[CameraLabels]:
        name = batch.camera_name
        return [one.cameras[name] for one in self._predict(replace(batch, cameras={name: camera}, on_release=None))]


class _Part(NamedTuple):
    """One tile of one picture, in the original's whole pixels: what it has ``shown``, what is ``taken`` from it (x1 y1 x2
    y2), which of its edges are inner ones, how near to these a box ends there; and what the model ``said`` of it."""

    shown: tuple[int, int, int, int]
    taken: tuple[int, int, int, int]
    inner: tuple[bool, bool, bool, bool]
    edge: float
    said: CameraLabels | None = None

    @property
    def size(self) -> tuple[int, int]:
        x1, y1, x2, y2 = self.shown
        return max(1, y2 - y1), max(1, x2 - x1)


def _original(camera: CameraBatch, index: int, row: Stretch, column: Stretch) -> _Part:
    """Outer edges are the original's own, also where the view does not reach them."""
    to_original = camera.to_original[index].double().cpu().numpy()
    height, width = camera.original_sizes[index].tolist()
    most = np.array([width, height, width, height])
    tile = np.array([[column.start, row.start, column.end, row.end], [column.low, row.low, column.high, row.high]], float)
    outer = np.isinf(tile[1])
    tile[1, outer] = tile[0, outer]
    shown, taken = map_boxes(to_original, tile).astype(np.float64)
    mirrored = np.diag(to_original)[:2] < 0
    outer = np.where(np.tile(mirrored, 2), outer[[2, 3, 0, 1]], outer)
    ends = np.array([0, 0, width, height])
    shown = np.where(outer, ends, np.concatenate([np.floor(shown[:2]), np.ceil(shown[2:])]).clip(0, most)).astype(int)
    taken = np.where(outer, ends, np.round(taken).clip(0, most)).astype(int)
    edge = _EDGE * float(np.abs(np.diag(to_original)[:2]).max())
    return _Part(_four(shown), _four(taken), _four(~outer), edge)


def _together(batch: Batch, index: int, parts: Sequence[_Part], whole: CameraLabels | None) -> CameraLabels:
    size = tuple(batch.camera.original_sizes[index].tolist())
    out = CameraLabels()
    for name in _STITCHED:
        if isinstance(getattr(parts[0].said, name, None), np.ndarray):
            setattr(out, name, _stitched(parts, name, size))
    if parts[0].said is not None and parts[0].said.boxes is not None:
        out.boxes = _boxes(parts, whole)
    return out


def _stitched(parts: Sequence[_Part], name: str, size: tuple[int, ...]) -> np.ndarray:
    out = np.zeros(size, getattr(parts[0].said, name).dtype)
    for part in parts:
        (x1, y1, x2, y2), (left, top, _, _) = part.taken, part.shown
        out[y1:y2, x1:x2] = getattr(part.said, name)[y1 - top : y2 - top, x1 - left : x2 - left]
    return out


def _boxes(parts: Sequence[_Part], whole: CameraLabels | None) -> Boxes:
    """The boxes of all tiles without those that another tile, or the whole picture, has found better."""
    found = [(part.said.boxes, part) for part in parts if part.said is not None and part.said.boxes is not None]
    xyxy = [boxes.xyxy + np.array(part.shown[:2] * 2, np.float32) for boxes, part in found]
    cut = [_is_cut(moved, part) for moved, (_, part) in zip(xyxy, found)]
    sets = [boxes for boxes, _ in found]
    if whole is not None and whole.boxes is not None:
        sets, xyxy, cut = [*sets, whole.boxes], [*xyxy, whole.boxes.xyxy], [*cut, np.zeros(len(whole.boxes), bool)]
    names = [name for boxes in sets for name in boxes.names]
    scores = np.concatenate([np.ones(len(b), np.float32) if b.scores is None else b.scores for b in sets])
    tiles = np.repeat(np.arange(len(sets)), [len(boxes) for boxes in sets])
    together = np.concatenate(xyxy)
    kept = best(together, scores, np.unique(names, return_inverse=True)[1].reshape(-1), tiles, np.concatenate(cut))
    return Boxes(together, names, scores=scores).select(kept)


def _is_cut(xyxy: np.ndarray, part: _Part) -> np.ndarray:
    """bool [N]: boxes that end at an inner edge of their tile: more of the object lies beyond it."""
    return ((np.abs(xyxy - np.array(part.shown)) <= part.edge) & np.array(part.inner)).any(1)


def best(xyxy: np.ndarray, scores: np.ndarray, classes: np.ndarray, tiles: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """int64 [M], by score: of boxes [N, 4] of one class from different ``tiles`` that show one object, the best.

    Those that no tile has ``cut`` come first, then by score. Whole ones are one object above an intersection over union of
    0.5; a cut one is part of whatever covers half of it; of two cut ones the smaller counts (intersection over the smaller,
    as in SAHI: Akyon et al. 2022). What one tile says twice is the model's own affair.
    """
    area = (xyxy[:, 2:] - xyxy[:, :2]).clip(0).prod(1)
    order = np.lexsort((-scores, cut))
    alive = np.ones(len(order), bool)
    for place in order:
        if alive[place]:
            lows, highs = np.maximum(xyxy[place, :2], xyxy[:, :2]), np.minimum(xyxy[place, 2:], xyxy[:, 2:])
            shared = (highs - lows).clip(0).prod(1)
            least = np.where(cut, area, area + area[place] - shared)
            if cut[place]:
                least = np.minimum(area, area[place])
            same = (classes == classes[place]) & (tiles != tiles[place]) & (shared > _SAME * least)
            same[place] = False
            alive &= ~same
    kept = np.flatnonzero(alive)
    return kept[np.argsort(-scores[kept], kind="stable")]


def _shift(x: float, y: float) -> torch.Tensor:
    return torch.tensor([[1.0, 0, x], [0, 1, y], [0, 0, 1]], dtype=torch.float64)


def _four(values: np.ndarray) -> tuple:
    return tuple(values.tolist())
