"""A shard set held against its own records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from drivetrain import Camera, DataError, View

from . import placement
from .checks import row_of
from .decode import draw_image
from .reader import ShardFile, ShardSet
from .shards import INDEX_FILE, SHARDS_FILE, Damage, order_id


def verify(shards: ShardSet, full: bool, progress: Callable[[int, int], None] | None) -> list[str]:
    """What is wrong, a line each."""
    wrong, done = list(_index(shards)), 0
    listed = shards.listed
    for number, name in enumerate(listed.column("name").to_pylist()):
        try:
            shard = ShardFile(shards.folder / name)
            wrong += _shard(listed.slice(number, 1).to_pylist()[0], shard)
            if full:
                wrong += _samples(shards, number, shard)
        except (Damage, OSError) as error:
            wrong.append(f"{name}: {error}")
        done += int(shards.sizes[number])
        if progress:
            progress(done, len(shards))
    return wrong


def _index(shards: ShardSet) -> Iterator[str]:
    if shards.info["order_id"] != order_id(list(zip(shards.listed.column("name").to_pylist(), shards.sizes.tolist()))):
        yield "dataset.json: order_id does not follow from the shards"
    try:
        index = shards.index
    except DataError as error:
        yield error.message
        return
    if len(index) != len(shards):
        yield f"{INDEX_FILE}: {len(index)} rows for {len(shards)} samples"
    repeated = len(index) - len(index.column("key").unique())
    if repeated:
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
