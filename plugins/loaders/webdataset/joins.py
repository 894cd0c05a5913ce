"""Another sensor's shard set, joined: each frame is given the sensors of the frame that is nearest to it in time."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from drivetrain import DataError, Frame, Join, Source

from .reader import ShardSet, parse
from .shards import Damage, Wanted
from .storage.config import StorageConfig
from .timeline import NONE, nearest


@dataclass(frozen=True)
class Joined:
    """A set that is joined to another one. ``partners`` uint32 [frames of that one]: its frame for each, `NONE` where it has
    none within the tolerance, or one that was withdrawn: 4 bytes a frame."""

    name: str
    shards: ShardSet
    partners: np.ndarray

    @staticmethod
    def open(join: Join, source: Source, shards: ShardSet, storage: StorageConfig | None) -> Joined:
        """Raises DataError where there is no such set, where a set does not say when its frames were taken, and where no frame
        has a partner."""
        other = ShardSet(join.shards, storage)
        scenes = pa.chunked_array([*_column(shards, "scene").chunks, *_column(other, "scene").chunks])
        numbers = scenes.combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        partners = nearest(numbers[: len(shards)], _times(shards), numbers[len(shards) :], _times(other), join.tolerance)
        gone = [number for number in np.unique(partners[partners != NONE]) if other.locate(int(number)) in other.withdrawn]
        partners[np.isin(partners, gone)] = NONE
        if (partners == NONE).all():
            raise DataError(f"no frame of source {source.name!r} has a partner in {other.path} within "
                            f"{join.tolerance / 1e6:g} ms in its scene", where=source.where,
                            remedy=f"raise join.{join.name}.tolerance_ms, or see whether scenes are named alike")  # fmt: skip
        return Joined(join.name, other, partners)

    def place_of(self, number: int) -> tuple[int, int]:
        """The shard, and the place in it, of the partner of frame ``number``."""
        return self.shards.locate(int(self.partners[number]))

    def add(self, frame: Frame, number: int, wanted: Wanted) -> Frame:
        """``frame``, which has this ``number``, with its partner's sensors. Raises Damage for bad bytes of the partner."""
        parts = self.shards.read(*self.place_of(number), wanted)
        partner = self.shards.layers.apply(parse(parts))
        if both := {*frame.cameras, *frame.lidars} & {*partner.cameras, *partner.lidars}:
            raise DataError(f"frame {frame.key!r} and frame {partner.key!r} of {self.shards.path}, which is joined to it, both "
                            f"have the sensor {', '.join(sorted(both))}")  # fmt: skip
        try:
            return dataclasses.replace(
                frame, cameras={**frame.cameras, **partner.cameras}, lidars={**frame.lidars, **partner.lidars}
            )
        except ValueError as error:
            raise Damage(str(error)) from error


def _column(shards: ShardSet, name: str) -> pa.ChunkedArray:
    return pa.chunked_array([batch.column(name) for batch in shards.rows([name])], None if len(shards) else pa.string())


def _times(shards: ShardSet) -> np.ndarray:
    """int64 [frames], ns."""
    times = _column(shards, "timestamp")
    if times.null_count or not len(shards):
        raise DataError(f"{times.null_count} of {len(shards)} frames have no timestamp: they cannot be joined in time",
                        where=shards.path)  # fmt: skip
    return times.to_numpy()
