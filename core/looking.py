"""Pictures of data: contact sheets of shards and of batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from .building import build_loader, data_spec
from .contracts import ShardSet, TrainingStream
from .errors import DataError, UserError, near_matches
from .evaluate import drawn_classes, panel_of
from .frame import Boxes, CameraLabels
from .lanes import Lanes
from .pictures import contact_sheet, draw_labels, save_png
from .recipe import Recipe
from .seeding import hash_array, hash_key
from .tasks import TASKS


def sheet_of_shards(shards: ShardSet, count: int, columns: int, out: Path, keys: Sequence[str] = (),
                    shuffle: int | None = None) -> None:  # fmt: skip
    """Frames of a shard set, every camera with its labels in the dataset's own classes: those of ``keys``, else ``count`` of
    them, spread over the set, or drawn by the seed ``shuffle``. Raises DataError for a key that is not in the set."""
    if keys:
        numbers = numbers_of(keys, shards)
    elif shuffle is not None:
        there = shards.readable()
        numbers = there[np.argsort(hash_array(hash_key("view", shuffle), there))[:count]]
    else:
        there = shards.readable()
        numbers = there[np.unique(np.linspace(0, len(there) - 1, min(count, len(there))).round().astype(int))]
    tiles, captions = [], []
    for number in numbers:
        frame = shards.frame(int(number))
        for name, camera in frame.cameras.items():
            panel = panel_of(None, dataclasses.replace(frame, cameras={name: camera}))
            tiles.append(draw_labels(panel.image, panel.truth, shards.classes))
            captions.append(" ".join([frame.key, *([name] if len(frame.cameras) > 1 else []), *frame.tags.values()]))
    save_png(out, contact_sheet(tiles, columns, captions))


def numbers_of(keys: Sequence[str], shards: ShardSet) -> np.ndarray:
    import pyarrow as pa
    import pyarrow.compute as pc

    known = shards.index.column("key").combine_chunks()
    numbers = pc.index_in(pa.array(keys, pa.string()), value_set=known)
    if numbers.null_count:
        strange = next(key for key, number in zip(keys, numbers.to_pylist()) if number is None)
        raise DataError(f"there is no frame {strange!r}", where=shards.path,
                        near=near_matches(strange, known[:10_000].to_pylist()))  # fmt: skip
    return numbers.to_numpy(zero_copy_only=False)


def whole_stream(recipe: Recipe, saved: Mapping[str, Any] | None, threads: int) -> TrainingStream:
    """All slots of a recipe's steps, as one rank would read them; with ``saved``, a loader's state, as that run did.

    Raises UserError where the data is not that run's any more."""
    stream = build_loader(recipe).training(
        data_spec(recipe, "train"), batch_global=recipe.batch.global_, batch_micro=recipe.batch.micro,
        rank=0, world=1, threads=threads, pin=False,
    )  # fmt: skip
    if saved is not None and (differences := stream.resume(saved, replay=True)):
        stream.close()
        raise UserError("the order of samples is not that of the run any more:\n  " + "\n  ".join(differences),
                        remedy="bring the shards back that it was trained on")  # fmt: skip
    return stream


def sheet_of_step(recipe: Recipe, step: int, out: Path, saved: Mapping[str, Any] | None = None) -> list[str]:
    """Inputs and targets of all slots of a step (counted from 1) as the model gets them; returns the keys. ``saved``: the
    loader's state in a run's checkpoint, which knows which weights and shards held when."""
    stream = whole_stream(recipe, saved, threads=1)
    classes = drawn_classes(recipe, build_loader(recipe))
    tiles, captions = [], []
    try:
        for batch in islice(stream.batches(step - 1), recipe.batch.slots):
            camera = batch.camera
            for i, key in enumerate(batch.keys):
                height, width = camera.sizes[i].tolist()
                labels = _labels_of_targets(camera.targets, i, (height, width), recipe)
                tiles.append(draw_labels(camera.images[i, :height, :width].numpy().copy(), labels, classes))
                captions.append(key)
            batch.release()
    finally:
        stream.close()
    save_png(out, contact_sheet(tiles, recipe.batch.micro, captions))
    return captions


def _labels_of_targets(targets: dict[str, dict[str, Any]], i: int, size: tuple[int, int], recipe: Recipe) -> CameraLabels:
    labels = CameraLabels()
    for task, of_all in targets.items():
        fields = {name: tensor[i].numpy() for name, tensor in of_all.items()}
        if task == "object_detection":
            labels.boxes = _boxes_of_targets(fields, recipe.classes[task])
        elif task == "lane_detection":
            found = [line[valid] for line, valid in zip(fields["points"], fields["points_valid"])]
            names = [recipe.classes[task][c] for c in fields["classes"]]
            labels.lanes = Lanes(found, names).select(fields["valid"])
        else:
            (pixels,) = fields.values()
            setattr(labels, TASKS[task].prediction, pixels[: size[0], : size[1]].copy())
    return labels


def _boxes_of_targets(fields: dict[str, np.ndarray], classes: Sequence[str]) -> Boxes:
    valid, ignored = fields["valid"], fields["ignore_valid"]
    names = [classes[c] for c in fields["classes"][valid].tolist()]
    boxes = np.concatenate([fields["boxes"][valid], fields["ignore_boxes"][ignored]])
    flags = np.arange(len(boxes)) >= len(names)
    return Boxes(boxes, names + ["ignore"] * int(flags.sum()), ignore=flags)
