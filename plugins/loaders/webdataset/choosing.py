"""Which of a dataset's frames a conversion takes: one side of a split by scene, or those that a set does not have yet."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import accumulate
from typing import Any

import numpy as np
import pyarrow as pa

from drivetrain import DataError, Dataset, hash_key

from .plan import Plan
from .reader import ShardSet
from .rows import KeyColumn
from .shards import INDEX_FILE, PLAN_FILE, WORK_FOLDER

SIDES = ("train", "val", "test")
_AT_ONCE = 4096


def side_of(scene: str, fractions: str) -> str:
    """The side that a scene falls on: a matter of its name and the ``fractions`` (``80:20``, ``8:1:1``) alone, so that a
    dataset that grows moves no scene."""
    shares = [float(share) for share in fractions.split(":")]
    at = hash_key("split by scene", scene) / 2**64 * sum(shares)
    return next((side for side, end in zip(SIDES, accumulate(shares)) if at < end), SIDES[len(shares) - 1])


def of_side(dataset: Dataset, refs: Sequence[Any], side: str, fractions: str, workers: int) -> list[Any]:
    """The frames of one side. Raises DataError for a frame that names no scene."""
    sides: dict[str, str] = {}
    chosen = []
    for ref, (key, scene) in zip(refs, identified(dataset, refs, workers)):
        if not scene:
            raise DataError(f"frame {key!r} belongs to no scene, so scenes cannot be divided",
                            remedy="leave --split-by-scene out, or name scenes in the dataset")  # fmt: skip
        if scene not in sides:
            sides[scene] = side_of(scene, fractions)
        if sides[scene] == side:
            chosen.append(ref)
    return chosen


def beyond(shards: ShardSet, plan: Plan, dataset: Dataset, refs: Sequence[Any], workers: int) -> tuple[list[Any], Plan]:
    """The frames whose keys ``shards`` does not have, and the plan of the shards that they make. Raises DataError where
    the set was made in another way."""
    difference = replace(plan, samples=len(shards)).difference(shards.info)
    if not difference and shards.classes != {task: list(infos) for task, infos in dataset.classes.items()}:
        difference = "its classes differ"
    if difference:
        raise DataError(f"{shards.path} holds another shard set: {difference}",
                        remedy="frames are appended with the options that the set was made with")  # fmt: skip
    _tidy(shards)
    import pyarrow.compute as pc  # it takes a while, and no other conversion needs it

    keys = pa.array([key for key, _ in identified(dataset, refs, workers)], pa.string())
    known, column = np.zeros(len(refs), bool), KeyColumn(shards.folder / INDEX_FILE, len(shards))
    for number in range(column.groups):
        known |= pc.is_in(keys, value_set=column.group(number).combine_chunks()).to_numpy(zero_copy_only=False)
    new = [refs[i] for i in np.flatnonzero(~known).tolist()]
    return new, replace(plan, samples=len(new), first_shard=shards.shards, first_sample=len(shards))


def _tidy(shards: ShardSet) -> None:
    """Remove the work folder of a conversion that was killed after its set was whole."""
    begun = shards.folder / PLAN_FILE
    if begun.exists() and json.loads(begun.read_text()).get("first_shard", 0) < shards.shards:
        shutil.rmtree(shards.folder / WORK_FOLDER, ignore_errors=True)


def identified(dataset: Dataset, refs: Sequence[Any], workers: int) -> Iterator[tuple[str, str]]:
    """Key and scene of each frame. A dataset with a method ``identify(ref)`` tells them without reading pictures; of any
    other every frame is loaded, in threads, and let go again."""
    identify = getattr(dataset, "identify", None)
    if identify is not None:
        yield from map(identify, refs)
        return
    with ThreadPoolExecutor(workers) as pool:
        for first in range(0, len(refs), _AT_ONCE):
            frames = pool.map(dataset.load, refs[first : first + _AT_ONCE])
            yield from ((frame.key, frame.scene) for frame in frames)
