"""A shard set held against its own records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np

from drivetrain import Camera, DataError, View

from . import placement
from .checks import row_of
from .decode import draw_image
from .pool import over_shards
from .reader import ShardFile, ShardSet
from .rows import KeyColumn, hashes, repeated_hashes
from .shards import INDEX_FILE, SHARDS_FILE, Damage


def verify(shards: ShardSet, full: bool, progress: Callable[[int, int], None] | None, workers: int = 1) -> list[str]:
    """What is wrong, a line each, the shards in their order; each shard is looked at by one of ``workers`` processes."""
    wrong, done = list(_index(shards)), 0
    for number, lines in enumerate(over_shards(shards, partial(_look, full=full), workers)):
        wrong += lines
        done += int(shards.sizes[number])
        if progress:
            progress(done, len(shards))
    return wrong


def _look(shards: ShardSet, number: int, full: bool) -> list[str]:
    name = shards.name(number)
    try:
        shard = shards.file(number)
        wrong = list(_shard(shards.listed.slice(number, 1).to_pylist()[0], shard))
        return wrong + list(_samples(shards, number, shard)) if full else wrong
    except (Damage, DataError, OSError) as error:
        return [f"{name}: {error}"]


def _index(shards: ShardSet) -> Iterator[str]:
    if shards.info["order_id"] != shards.order_id():
        yield "dataset.json: order_id does not follow from the shards"
    try:
        keys = KeyColumn(shards.folder / INDEX_FILE, len(shards))
        found = [hashes(keys.group(number)) for number in range(keys.groups)]
    except DataError as error:
        yield error.message
        return
    if len(keys) != len(shards):
        yield f"{INDEX_FILE}: {len(keys)} rows for {len(shards)} samples"
    if repeated := len(repeated_hashes(found)):
        yield f"{INDEX_FILE}: {repeated} keys occur twice"


def _shard(record: Mapping[str, Any], shard: ShardFile) -> Iterator[str]:
    if len(shard.table) != record["samples"]:
        yield f"{record['name']}: {len(shard.table)} samples, {SHARDS_FILE} says {record['samples']}"
    if not shard.whole:
        yield f"{record['name']}: the tar is not {shard.table.tar_bytes} bytes long"
    if shard.table.checksum != record["checksum"]:
        yield f"{record['name']}: the offset table is not the one that {SHARDS_FILE} records"


def _samples(shards: ShardSet, number: int, shard: ShardFile) -> Iterator[str]:
    for place in range(len(shard.table)):
        name = f"{shards.name(number)}, sample {place}"
        try:
            frame = shard.frame(place)
            if frame.key != shards.key(number, place):
                yield f"{name}: key {frame.key!r}, {INDEX_FILE} says {shards.key(number, place)!r}"
            row_of(frame, shards.classes, name)
            for camera in frame.cameras.values():
                _decode(camera)
        except (Damage, DataError) as error:
            yield f"{name}: {error}"


def _decode(camera: Camera) -> None:
    assert camera.image is not None, "a stored camera has its image"
    size = camera.height, camera.width
    draw_image(camera.image, size, placement.place(View.identity(*size), *size, ()), np.empty((*size, 3), np.uint8))
