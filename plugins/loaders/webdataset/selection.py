"""Which samples of a source are drawn from, and how often: its ``where``, its view, its balance of classes.

Repeat-factor sampling is that of LVIS (Gupta, Dollar, Girshick 2019): a frame is seen ``max(1, sqrt(t / f))`` times as
often, f the share of frames that hold its rarest class. CBGS is that of Zhu et al. 2019: frames are repeated so that every
class is drawn equally often; frames without any are left out. A fraction of a repeat is rounded by a hash of the key, so the
number of samples in an epoch is fixed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from drivetrain import Balance, DataError, Known, RecipeError, Where, near_matches

from .samples import OpenSource
from .timeline import NONE

EXCLUDED_FILE = "excluded.parquet"
"""In a view's folder: the keys, column ``key``, of the frames that are left out."""


@dataclass(frozen=True)
class Selection:
    """``sizes`` int64 [shards]: how many samples are drawn of each shard; ``places`` uint32 [sizes.sum()]: which ones, shard
    by shard, ascending, a repeated one several times."""

    sizes: np.ndarray
    places: np.ndarray

    def digest(self) -> str:
        """Of the content, as 16 hex digits."""
        content = xxhash.xxh3_64(self.sizes.astype("<i8").tobytes())
        content.update(self.places.astype("<u4").tobytes())
        return content.hexdigest()


def selects(source: OpenSource, training: bool) -> bool:
    """Whether anything but all of the source, each sample once, is meant."""
    asked = source.asked
    return bool(asked.select or asked.view or asked.joins or (training and asked.balance))


def select(source: OpenSource, shards: int, training: bool) -> Selection:
    """Over the first ``shards`` shards, the index read part by part. In evaluation classes are not balanced.

    Raises RecipeError for what the index does not have, DataError for a view of another set.
    """
    starts = np.concatenate([[0], np.cumsum(source.shards.sizes[:shards])])
    sizes, places = np.zeros(shards, np.int64), []
    for first, repeats in _Chooser(source, int(starts[-1]), training).repeats():
        chosen = np.repeat(np.arange(first, first + len(repeats)), repeats)
        shard = np.searchsorted(starts, chosen, "right") - 1
        sizes += np.bincount(shard, minlength=shards)
        places.append((chosen - starts[shard]).astype(np.uint32))
    return Selection(sizes, np.concatenate([np.zeros(0, np.uint32), *places]))


class _Chooser:
    """How often each of a source's first ``rows`` frames is drawn in an epoch."""

    def __init__(self, source: OpenSource, rows: int, training: bool):
        self._source, self._rows = source, rows
        asked = source.asked
        self._where = Where.parse(asked.select, asked.where) if asked.select else None
        self._balance = asked.balance if training else None
        there = source.shards.index_names
        wanted = ["key"] if asked.view or self._balance or asked.joins else []
        wanted += ["class_counts"] if self._balance else []
        self._columns = list(dict.fromkeys([*wanted, *(self._where.columns(there) if self._where else ())]))

    def repeats(self) -> Iterator[tuple[int, np.ndarray]]:
        """(first row, int64 [rows]), part by part."""
        rates = None if self._balance is None else self._class_rates(self._balance)
        first = 0
        for batch, kept in self._parts():
            if rates is None:
                yield first, kept.astype(np.int64)
            else:
                yield first, kept * _rounded(_frame_rates(rates, self._present(batch), self._balance), batch.column("key"))
            first += len(batch)

    def _parts(self) -> Iterator[tuple[pa.RecordBatch, np.ndarray]]:
        """Parts of the index, and which of their frames are kept. What the names are held against is the whole of it."""
        known, found, done = Known(self._declared), 0, 0
        for batch in self._source.shards.rows(self._columns):
            batch = batch.slice(0, self._rows - done)
            kept = np.ones(len(batch), bool)
            for joined in self._source.joins:
                kept &= joined.partners[done : done + len(batch)] != NONE
            done += len(batch)
            if self._where:
                known.see(batch)
                kept &= self._where.among(batch)
            if self._source.asked.view:
                out = pc.is_in(batch.column("key"), self._excluded).to_numpy(zero_copy_only=False)
                found += int(out.sum())
                kept &= ~out
            yield batch, kept
            if done == self._rows:
                break
        if self._where:
            self._where.check(known)
        if self._source.asked.view and len(self._excluded) and not found:
            raise DataError(f"none of the {len(self._excluded)} frames that {self._source.asked.view} excludes is in "
                            f"{self._source.shards.path}", where=self._source.asked.where,
                            remedy="a view belongs to the set that it was made of")  # fmt: skip

    def _class_rates(self, balance: Balance) -> np.ndarray:
        """float64 [C]: how often a frame of each class is drawn."""
        if missing := self._source.readers.keys() - self._source.shards.counted.keys():
            raise RecipeError(f"source {self._source.name!r} cannot be balanced: no index counts the {', '.join(missing)} of "
                              f"{self._source.shards.path}", where=self._source.asked.where,
                              remedy="take balance out, or write a shard set of it")  # fmt: skip
        with_class, frames = 0, 0
        for batch, kept in self._parts():
            with_class = with_class + self._present(batch)[kept].sum(0)
            frames += int(kept.sum())
        counts = np.maximum(np.asarray(with_class, np.float64), 1)
        if balance.method == "repeat_factor":
            return np.maximum(1, np.sqrt(balance.threshold * frames / counts))
        occurring = np.asarray(with_class) > 0
        return np.where(occurring, np.sum(with_class) / max(1, occurring.sum()) / counts, 0)

    def _present(self, batch: pa.RecordBatch) -> np.ndarray:
        """bool [rows, C]: which of the recipe's classes, of all tasks, a frame holds by the source's own counts."""
        columns = []
        for task, reader in self._source.readers.items():
            counts = pc.map_lookup(batch.column("class_counts"), task, "first")
            for number in range(len(reader.taxonomy.classes)):
                present = np.zeros(len(batch), bool)
                for name in (name for name, target in reader.taxonomy.to_id.items() if target == number):
                    present |= pc.fill_null(pc.map_lookup(counts, name, "first"), 0).to_numpy(zero_copy_only=False) > 0
                columns.append(present)
        return np.stack(columns, 1)

    @property
    def _declared(self) -> Mapping[str, list[str]]:
        return {task: [info.name for info in infos] for task, infos in self._source.shards.counted.items()}

    @cached_property
    def _excluded(self) -> pa.Array:
        """The keys that the view leaves out. Raises DataError where it is no view."""
        folder = Path(str(self._source.asked.view))
        try:
            return pq.read_table(folder / EXCLUDED_FILE, columns=["key"]).column("key").combine_chunks()
        except (OSError, pa.ArrowException) as error:
            beside = [str(path.parent) for path in folder.parent.glob(f"*/{EXCLUDED_FILE}")]
            raise DataError(f"{folder} is no view: {EXCLUDED_FILE} cannot be read: {error}",
                            where=self._source.asked.where, near=near_matches(str(folder), beside)) from error  # fmt: skip


def _frame_rates(rates: np.ndarray, present: np.ndarray, balance: Balance | None) -> np.ndarray:
    """float64 [rows], out of those of the classes that each frame holds."""
    assert balance is not None
    if balance.method == "cbgs":
        return present @ rates
    return np.where(present, rates, 1).max(1, initial=1)


def _rounded(rates: np.ndarray, keys: pa.Array) -> np.ndarray:
    """int64 [rows]: up or down by a hash of the key, so that the mean stays."""
    chance = np.zeros(len(rates))
    parts = np.flatnonzero(rates != np.floor(rates))
    hashes = [xxhash.xxh3_64_intdigest(key.encode()) >> 11 for key in keys.take(pa.array(parts)).to_pylist()]
    chance[parts] = np.array(hashes, np.float64) * 2.0**-53
    return np.floor(rates + chance).astype(np.int64)
