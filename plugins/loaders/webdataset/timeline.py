"""Frames in time: which came before one in its scene, and which of another sensor's set is nearest to it."""

from __future__ import annotations

import numpy as np

NONE = np.iinfo(np.uint32).max
"""Where a frame has no partner."""


def previous(scenes: np.ndarray, times: np.ndarray) -> np.ndarray:
    """uint32 [N]: per frame the number of the one before it in its scene, by time, and by number where times are equal; its
    own number where it is the first.

    Parameters: ``scenes`` int [N], equal for frames of one scene, which need not lie together; ``times`` int64 [N].
    """
    order = np.lexsort((times, scenes))
    before = np.empty(len(order), np.uint32)
    if len(order):
        begins = np.concatenate([[True], scenes[order[1:]] != scenes[order[:-1]]])
        before[order] = np.where(begins, order, np.concatenate([order[:1], order[:-1]]))
    return before


def clip(before: np.ndarray, number: int, frames: int, stride: int) -> list[int]:
    """The numbers of a clip's ``frames``, oldest first, that ends with ``number`` and goes back in steps of ``stride``.

    A clip does not leave its scene: where the scene begins too late, the oldest frame that there is stands in for the rest.
    """
    numbers = [number]
    while len(numbers) < frames:
        at = numbers[-1]
        for _ in range(stride):
            back = int(before[at])
            if back == at:
                at = numbers[-1]  # a part of a stride does not count
                break
            at = back
        numbers.append(at)
    return numbers[::-1]


def nearest(
    scenes: np.ndarray, times: np.ndarray, other_scenes: np.ndarray, other_times: np.ndarray, tolerance: int
) -> np.ndarray:
    """uint32 [N]: per frame the number of the other set's frame nearest in time in the same scene, the earlier of two that
    are equally near; `NONE` where the nearest is more than ``tolerance`` away.

    Parameters: ``scenes`` int [N] and ``other_scenes`` int [M] with the same numbers for the same scenes; ``times`` int64
    [N], ``other_times`` int64 [M] and ``tolerance`` in ns.
    """
    order = np.lexsort((other_times, other_scenes))
    found = np.full(len(scenes), NONE, np.uint32)
    begins, ends = (np.searchsorted(other_scenes[order], np.unique(scenes), side) for side in ("left", "right"))
    for scene, begin, end in zip(np.unique(scenes), begins, ends):
        if begin == end:
            continue
        mine = np.flatnonzero(scenes == scene)
        stretch = order[begin:end]
        later = np.searchsorted(other_times[stretch], times[mine]).clip(max=len(stretch) - 1)
        earlier = (later - 1).clip(min=0)
        gaps = [np.abs(other_times[stretch[at]] - times[mine]) for at in (earlier, later)]
        best = np.where(gaps[0] <= gaps[1], earlier, later)
        best = np.searchsorted(other_times[stretch], other_times[stretch[best]])  # the first of equal times
        found[mine] = np.where(np.minimum(*gaps) <= tolerance, stretch[best], NONE)
    return found
