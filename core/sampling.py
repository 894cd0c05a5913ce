"""A model's maps read at the pixels of original pictures."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .batch import CameraBatch


def sample_at_original(maps: Tensor, camera: CameraBatch, index: int, size: tuple[int, int] | None = None) -> Tensor:
    """``maps`` float32 [1, C, h, w], which lie over ``size`` (height, width) of the batch's picture ``index`` (None: over all
    of it, padding included), read bilinearly at the centre of each original pixel: [1, C, H, W]. Points outside the part that
    the picture fills are moved to its edge.

    Equal to `torch.nn.functional.interpolate` where the picture was stretched and not padded, at the same cost.
    """
    to_original = camera.to_original[index].double()
    size = size or (camera.images.shape[1], camera.images.shape[2])
    axes = []
    for axis, dim in ((1, 0), (0, 1)):  # y with heights, x with widths
        original = torch.arange(int(camera.original_sizes[index, dim]), device=maps.device) + 0.5
        inside = (original - to_original[axis, 2]) / to_original[axis, axis]
        filled = camera.sizes[index, dim]
        inside = inside.clamp(min=0.0).minimum(filled.to(inside.dtype))
        axes.append((2 * inside / size[dim] - 1).float())
    grid = torch.stack(torch.meshgrid(*axes, indexing="ij")[::-1], -1)
    return F.grid_sample(maps, grid[None], mode="bilinear", padding_mode="border", align_corners=False)


def classes_at_original(logits: Tensor, camera: CameraBatch, size: tuple[int, int] | None = None) -> list[np.ndarray]:
    """Per picture uint8 [H, W], the likeliest class of each original pixel, from ``logits`` [B, C, h, w] that lie over ``size``
    as the maps of `sample_at_original` do."""
    each = (sample_at_original(logits[i : i + 1], camera, i, size)[0] for i in range(len(logits)))
    return [one.argmax(0).to(torch.uint8).cpu().numpy() for one in each]
