"""What a shard set holds, counted: from its index, and from its frames' json files for what only boxes tell."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa

from drivetrain import Boxes, Camera

from .pool import over_shards
from .reader import ShardSet, parse
from .rows import index_groups
from .shards import Damage, Wanted

SIZES = ("small", "medium", "large")
SIZE_LIMITS = (32**2, 96**2)
"""px^2: below the first a box is small, from the second on large (COCO, Lin et al. 2014)."""
HEIGHTS = (0, *(round(2 ** (k / 2)) for k in range(4, 23)))
"""px: where the bins of box heights begin, half an octave each; the last has no end."""

_META = Wanted(frozenset())


def statistics(shards: ShardSet, frames: bool, progress: Callable[[int, int], None] | None, workers: int) -> dict[str, Any]:
    """Counts of a set; with ``frames`` also what needs every frame's json file, none of its pictures.

    The index is read a row group at a time, the frames by ``workers`` processes a shard at a time: memory is bounded by
    the numbers of scenes and classes. Frames that cannot be read are counted as damaged.
    """
    counts: Counter[tuple] = Counter()
    for table in index_groups(shards.folder, len(shards)):
        _count_rows(table, counts)
    found = {"path": shards.path, "frames": len(shards), "shards": shards.shards} | _of_index(counts, shards)
    return found | _of_frames(_count_frames(shards, progress, workers)) if frames else found


# ---------------------------------------------------------------- the index


def _count_rows(table: pa.Table, counts: Counter[tuple]) -> None:
    """Whole columns at once: 10^7 rows as Python objects would take minutes and gigabytes."""
    for entry in table.column("scene").value_counts().to_pylist():
        counts["scene", entry["values"]] += entry["counts"]
    for chunk in table.column("labelled").chunks:
        for entry in chunk.flatten().value_counts().to_pylist():
            counts["labelled", entry["values"]] += entry["counts"]
    for chunk in table.column("tags").chunks:
        pairs = pa.table({"tag": chunk.keys, "value": chunk.items})
        for row in pairs.group_by(["tag", "value"]).aggregate([([], "count_all")]).to_pylist():
            counts["tag", row["tag"], row["value"]] += row["count_all"]
    for chunk in table.column("class_counts").chunks:
        classes = chunk.items
        task = chunk.keys.take(np.repeat(np.arange(len(classes)), np.diff(classes.offsets)))
        triples = pa.table({"task": task, "name": classes.keys, "n": classes.items})
        for row in triples.group_by(["task", "name"]).aggregate([("n", "sum"), ("n", "count")]).to_pylist():
            counts["class", row["task"], row["name"]] += row["n_sum"]
            counts["class frames", row["task"], row["name"]] += row["n_count"]


def _of_index(counts: Counter[tuple], shards: ShardSet) -> dict[str, Any]:
    scenes = _nested(counts, "scene")
    return {
        "scenes": len(scenes), "cameras": shards.info["cameras"], "labelled_frames": _nested(counts, "labelled"),
        "class_counts": _nested(counts, "class"), "class_frames": _nested(counts, "class frames"),
        "tags": _nested(counts, "tag"), "frames_by_scene": scenes,
    }  # fmt: skip


def _nested(counts: Counter[tuple], kind: str) -> dict[str, Any]:
    """What was counted as (``kind``, a, b...) as a[b...], the most frequent first, outer names sorted where nested."""
    found: dict[str, Any] = {}
    keys = sorted((key for key in counts if key[0] == kind), key=lambda key: (key[1:-1], -counts[key], key[-1]))
    for key in keys:
        inner = found
        for name in key[1:-1]:
            inner = inner.setdefault(name, {})
        inner[key[-1]] = counts[key]
    return found


# ---------------------------------------------------------------- the frames


def _count_frames(shards: ShardSet, progress: Callable[[int, int], None] | None, workers: int) -> Counter[tuple]:
    counts: Counter[tuple] = Counter()
    done = 0
    for number, part in enumerate(over_shards(shards, _count_shard, workers)):
        counts.update(part)
        done += int(shards.sizes[number])
        if progress:
            progress(done, len(shards))
    return counts


def _count_shard(shards: ShardSet, number: int) -> Counter[tuple]:
    counts: Counter[tuple] = Counter()
    try:
        shard = shards.file(number)
    except (Damage, OSError):
        return Counter({("damaged",): int(shards.sizes[number])})
    boxes: list[Boxes] = []
    for place in range(len(shard.table)):
        try:
            frame = parse(shard.parts(place, _META))
        except (Damage, OSError):
            counts["damaged",] += 1
            continue
        labelled = [_count_camera(name, camera, counts) for name, camera in frame.cameras.items()]
        found = [one for one in labelled if one is not None]
        if found:
            counts["a frame", sum(map(_valid, found))] += 1
        boxes += found
    _count_boxes(boxes, counts)
    return counts


def _count_camera(name: str, camera: Camera, counts: Counter[tuple]) -> Boxes | None:
    counts["image", name, f"{camera.width}x{camera.height}"] += 1
    return camera.boxes


def _valid(boxes: Boxes) -> int:
    assert boxes.ignore is not None, "Boxes makes it"
    return int((~boxes.ignore).sum())


def _count_boxes(boxes: list[Boxes], counts: Counter[tuple]) -> None:
    """All boxes of a shard at once. Those to be ignored (crowds, DontCare) are only counted."""
    if not boxes:
        return
    names = np.array([name for one in boxes for name in one.names], object)
    xyxy = np.concatenate([one.xyxy for one in boxes]).astype(np.float64)
    ignore = np.concatenate([one.ignore for one in boxes])  # type: ignore[arg-type]
    counts["ignored",] += int(ignore.sum())
    width, height = (xyxy[~ignore, 2:] - xyxy[~ignore, :2]).T
    sizes = np.searchsorted(SIZE_LIMITS, width * height, "right")
    bins = np.searchsorted(HEIGHTS, height, "right") - 1
    counts.update(("size", name, SIZES[size]) for name, size in zip(names[~ignore], sizes))
    counts.update(("height", name, int(bin)) for name, bin in zip(names[~ignore], bins))


def _of_frames(counts: Counter[tuple]) -> dict[str, Any]:
    sizes, heights = _nested(counts, "size"), _nested(counts, "height")
    return {
        "image_sizes": _nested(counts, "image"), "damaged_frames": counts["damaged",],
        "boxes": {
            "ignored": counts["ignored",], "a_frame": dict(sorted(_nested(counts, "a frame").items())),
            "size_limits_px2": list(SIZE_LIMITS),
            "sizes": {name: {size: found.get(size, 0) for size in SIZES} for name, found in sizes.items()},
            "height_bins_px": list(HEIGHTS),
            "heights": {name: [found.get(bin, 0) for bin in range(len(HEIGHTS))] for name, found in heights.items()},
        },
    }  # fmt: skip
