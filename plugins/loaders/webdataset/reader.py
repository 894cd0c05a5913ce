"""Shard sets, opened: any sample by one read at a known offset, its checksum always checked."""

from __future__ import annotations

import io
import os
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from threading import Event, Lock
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from drivetrain import TASKS, ClassInfo, DataError, Frame, frame_from_parts

from .about import classes_of, read_info
from .checks import refuse_strange
from .overlay import Layers
from .rows import KeyColumn
from .shards import (
    INDEX_FILE,
    SHARDS_FILE,
    WITHDRAWN_FILE,
    Damage,
    Piece,
    Table,
    Wanted,
    is_list,
    order_id,
    strange_names,
)
from .storage.ahead import Chunk
from .storage.cache import open_cache
from .storage.config import StorageConfig
from .storage.roots import Roots, StorageError, without_secrets
from .storage.stores import NotThere
from .tars.finding import find_tars
from .timeline import clip, previous

if TYPE_CHECKING:
    import pyarrow as pa

_OPEN_TABLES = 256


def parse(parts: Mapping[str, bytes | memoryview]) -> Frame:
    """The Frame of a sample's files. Raises Damage where they are not one."""
    try:
        frame = frame_from_parts(parts)
        refuse_strange(frame)
        return frame
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise Damage(f"the files are no frame: {error!r}") from error


class ShardFile:
    """One tar and its table, open while somebody holds it. ``path`` has no suffix; ``tar``: where that lies elsewhere.

    Raises Damage where the table is wrong, OSError where the files cannot be read.
    """

    def __init__(self, path: Path, tar: Path | None = None):
        self._fd = -1
        self.path = tar or path.with_name(f"{path.name}.tar")
        self.table = Table.read(path.with_name(f"{path.name}.idx"))
        self._fd = os.open(self.path, os.O_RDONLY)

    @property
    def whole(self) -> bool:
        """Whether the tar is as long as it was written."""
        return os.fstat(self._fd).st_size == self.table.tar_bytes

    def parts(self, place: int, wanted: Wanted | None = None) -> dict[str, memoryview]:
        """A sample's files, suffix -> bytes, those that are ``wanted`` (None: all). Raises Damage where they do not match
        their checksums."""
        parts: dict[str, memoryview] = {}
        for piece in self.table.pieces(place, wanted):
            if piece.offset + piece.length > os.fstat(self._fd).st_size:  # before memory is taken for what a table declares
                raise Damage(f"{self.path}, sample {place}: the tar ends before it")
            data = os.pread(self._fd, piece.length, piece.offset)
            if not piece.matches(data):
                raise Damage(f"{self.path}, sample {place}: the bytes do not match their checksum")
            parts |= piece.parts(data)
        return parts | self.table.given(place)

    def frame(self, place: int) -> Frame:
        return parse({suffix: bytes(part) for suffix, part in self.parts(place).items()})

    def __del__(self):
        if self._fd >= 0:
            os.close(self._fd)


class ShardSet:
    """Shards in a folder or at an address, or placed over several (`drivetrain.ShardSet`). Safe to read from several
    threads. ``sizes`` int64: samples a shard; ``folder`` is the first root's; ``overlays``: folders of labels that lie over
    its own, the later ones on top. ``plain``: the tars are others', and ``folder`` is that of the index that was made of them.

    Raises DataError where there is no whole shard set, tars cannot be used, or an overlay is none of this set.
    """

    def __init__(self, path: str | Path | Sequence[str], storage: StorageConfig | None = None, overlays: Sequence[str] = ()):
        self.addresses, self.storage = [str(path)] if isinstance(path, (str, Path)) else list(path), storage
        self.path = ", ".join(map(without_secrets, self.addresses))
        self.roots, self.folder = _opened(self.addresses, storage)
        self.cache = open_cache(storage.cache if storage else None, bool(self.roots.remote))
        self.info: Mapping[str, Any] = read_info(self.roots, self.folder, self.path)
        self.plain = "plain" in self.info
        if self.plain:
            from .tars.opening import with_classes

            self.info = with_classes(self.info, self.roots, self.path)
        self.classes = classes_of(self.info, self.path)
        listed = self._parquet(SHARDS_FILE, ["name", "samples", "checksum"])
        if not is_list(listed):
            raise self._unreadable(SHARDS_FILE, ValueError("its columns are not names, numbers of samples and checksums"))
        self._names = listed.column("name").combine_chunks()  # Arrow's own memory: a million names cost 20 MB
        if strange := strange_names(self._names):
            raise DataError(f"{SHARDS_FILE} names {strange[0]!r}, which is no file's name", where=self.path,
                            remedy="restore it, or write the set again")  # fmt: skip
        self.sizes: np.ndarray = listed.column("samples").to_numpy()
        self._checksums: np.ndarray = listed.column("checksum").to_numpy()
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self._tables: OrderedDict[int, Table] = OrderedDict()
        self._lock = Lock()
        self.layers = Layers.open(overlays, self.classes, self.info, lambda: self.index.column("key").to_pylist())
        self.classes = self.layers.classes

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def shards(self) -> int:
        return len(self.sizes)

    def name(self, shard: int) -> str:
        return self._names[shard].as_py()

    @cached_property
    def index(self) -> pa.Table:
        return self._parquet(INDEX_FILE)

    @cached_property
    def index_names(self) -> list[str]:
        """The columns of the index."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            return pq.read_schema(self._file(INDEX_FILE)).names
        except (NotThere, OSError, pa.ArrowException) as error:
            raise self._unreadable(INDEX_FILE, error) from error

    def rows(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        """Some columns of the index in stored order, part by part: memory stays bounded."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            left = len(self)  # more are being appended
            with pq.ParquetFile(self._file(INDEX_FILE)) as file:
                for batch in file.iter_batches(columns=columns):
                    yield batch.slice(0, left)
                    left -= len(batch)
                    if left <= 0:
                        return
        except (NotThere, OSError, pa.ArrowException) as error:
            raise self._unreadable(INDEX_FILE, error) from error

    def listed_keys(self, name: str) -> pa.Array | None:
        """The column ``key`` of a list beside the set; None where there is no such list."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            data = self.roots.get(name)
        except NotThere:
            return None
        try:
            return pq.read_table(io.BytesIO(data), columns=["key"]).column("key").combine_chunks()
        except (OSError, KeyError, pa.ArrowException) as error:  # it must not be passed over
            raise DataError(f"{name} cannot be read: {error}", where=self.path, remedy="restore it") from error

    def order_id(self, shards: int | None = None) -> str:
        """Of the set as it was when it had so many ``shards``; None: all, in which case it should be that of ``info``."""
        listed = self.listed.slice(0, shards)
        names, samples = (listed.column(name).to_pylist() for name in ("name", "samples"))
        if not self.plain:
            return order_id(list(zip(names, samples)))
        from .tars.listing import order_of

        return order_of(names, samples, listed.column("checksum").to_pylist())

    def file(self, shard: int) -> ShardFile:
        """Of a local set. Raises as `ShardFile` does."""
        name = self.name(shard)
        return ShardFile(self.folder / name, self.roots.path(f"{name}.tar"))

    @property
    def counted(self) -> Mapping[str, Sequence[ClassInfo]]:
        """The classes of the tasks whose labels the index counts: of plain tars no mask is decoded for it."""
        return {task: infos for task, infos in self.classes.items() if not self.plain or not TASKS[task].is_mask}

    def lacks(self, task: str) -> bool:
        """Whether nothing here is labelled for ``task``; plain tars may hold masks of it without a list of classes."""
        return task not in self.classes and not (self.plain and self.info["plain"]["labelled"].get(task))

    @cached_property
    def listed(self) -> pa.Table:
        """One row a shard: name, samples, bytes, checksum of its table."""
        return self._parquet(SHARDS_FILE)

    @cached_property
    def tar_bytes(self) -> int:
        """Of all shards."""
        return int(self._parquet(SHARDS_FILE, ["bytes"]).column("bytes").to_numpy().sum())

    def key(self, shard: int, place: int) -> str:
        with self._lock:
            return self._keys[self.number(shard, place)]

    @cached_property
    def _keys(self) -> KeyColumn:
        return KeyColumn(self._file(INDEX_FILE))

    @cached_property
    def before(self) -> np.ndarray:
        """uint32 [frames]: the number of the frame before each in its scene, by time (`timeline.previous`)."""
        rows = self._parquet(INDEX_FILE, ["scene", "timestamp"])
        scenes = rows.column("scene").combine_chunks().dictionary_encode().indices.to_numpy(zero_copy_only=False)
        times = rows.column("timestamp").fill_null(0).to_numpy()
        return previous(scenes, times)

    def clip(self, shard: int, place: int, frames: int, stride: int) -> list[tuple[int, int]]:
        """Where the frames of a clip lie that ends with this one, oldest first (`timeline.clip`)."""
        if frames == 1:
            return [(shard, place)]
        with self._lock:
            before = self.before
        return [self.locate(number) for number in clip(before, self.number(shard, place), frames, stride)]

    def number(self, shard: int, place: int) -> int:
        """Of the sample in the stored order."""
        return int(self._starts[shard]) + place

    @cached_property
    def withdrawn(self) -> frozenset[tuple[int, int]]:
        """(shard, place) of the samples that were withdrawn, by the keys that the set lists."""
        keys = self.listed_keys(WITHDRAWN_FILE)
        if keys is None:
            return frozenset()
        import pyarrow.compute as pc

        found, first = [], 0
        for batch in self.rows(["key"]):
            found += (first + np.flatnonzero(pc.is_in(batch.column("key"), keys).to_numpy(zero_copy_only=False))).tolist()
            first += len(batch)
        return frozenset(self.locate(number) for number in found if number < len(self))

    def locate(self, number: int) -> tuple[int, int]:
        """The shard that holds sample ``number``, and its place inside."""
        if not 0 <= number < len(self):
            raise IndexError(f"{self.path} has {len(self)} samples, there is no number {number}")
        shard = int(np.searchsorted(self._starts, number, "right")) - 1
        return shard, number - int(self._starts[shard])

    def read(self, shard: int, place: int, wanted: Wanted | None = None) -> dict[str, memoryview]:
        """A sample's files, those that are ``wanted`` (None: all). Raises Damage for bad bytes; StorageError, an OSError,
        where no root serves it."""
        name, parts = f"{self.name(shard)}.tar", dict[str, memoryview]()
        try:
            table = self._table(shard)
            for piece in table.pieces(place, wanted):
                data = self._cached(table, piece)
                if data is None:
                    data = self.roots.read(name, piece.offset, piece.length, piece.matches)
                parts |= piece.parts(data)
            parts |= table.given(place)
        except Damage as damage:
            raise Damage(f"sample {place} of {damage}") from damage
        except NotThere as error:
            raise StorageError(str(error), remedy="restore the shard from a copy, or name its root too") from error
        return parts

    def chunks(self, shard: int, place: int) -> list[Chunk]:
        """The chunks of the cache, if there is one, that a sample lies in. Raises as `read` does."""
        if self.cache is None:
            return []
        table = self._table(shard)
        [sample] = table.pieces(place)

        def chunk(number: int) -> Chunk:
            return Chunk((table.checksum, number), lambda stop: self._bring(shard, table, number, stop))

        return [chunk(number) for number in self.cache.chunks(sample.offset, sample.length)]

    def _bring(self, shard: int, table: Table, number: int, stop: Event) -> BinaryIO | None:
        assert self.cache is not None
        name = f"{self.name(shard)}.tar"

        def fetch(offset: int, length: int) -> bytes:
            def whole(data: bytes) -> bool:
                return len(data) == length

            try:  # so that a root's bad bytes are found while another one can be asked
                return self.roots.read(name, offset, length, lambda data: whole(data) and table.matches(offset, data))
            except Damage:
                return self.roots.read(name, offset, length, whole)  # the rest of it is good

        length = min(self.cache.chunk, table.tar_bytes - number * self.cache.chunk)
        return self.cache.bring(table.checksum, number, length, fetch, stop)

    def _cached(self, table: Table, piece: Piece) -> bytes | None:
        """From the cache, None where it has not got it; a chunk with wrong bytes is dropped."""
        if self.cache is None:
            return None
        data = self.cache.read(table.checksum, piece.offset, piece.length)
        if data is None or piece.matches(data):
            return data
        self.cache.drop(table.checksum, piece.offset, piece.length)
        return None

    def frame(self, number: int) -> Frame:
        """The Frame in place ``number``, checksum checked. Raises DataError where it is damaged or was withdrawn."""
        shard, place = self.locate(number)
        if (shard, place) in self.withdrawn:
            raise DataError(f"sample {number} ({self.key(shard, place)!r}) was withdrawn", where=self.path)
        try:
            return self.layers.apply(parse({suffix: bytes(part) for suffix, part in self.read(shard, place).items()}))
        except Damage as error:
            raise DataError(f"sample {number} ({self.key(shard, place)!r}) is damaged: {error}", where=self.path,
                            remedy="restore the shard from a copy, or write the set again") from error  # fmt: skip

    def readable(self) -> np.ndarray:
        """int64: the numbers of all frames but those that were withdrawn."""
        return np.setdiff1d(np.arange(len(self)), [self.number(*at) for at in self.withdrawn])

    def verify(self, full: bool, progress: Callable[[int, int], None] | None = None, workers: int = 1) -> list[str]:
        """What is wrong, a line each. Fast: index and sizes; ``full``: every checksum and every decode."""
        from .verify import verify

        self._refuse_unless_local("verify")
        return verify(self, full, progress, workers)

    def statistics(self, frames: bool, progress: Callable[[int, int], None] | None = None, workers: int = 1) -> dict[str, Any]:
        """Counts, from the index; with ``frames`` also from every frame's json file (`statistics.statistics`)."""
        from .statistics import statistics

        self._refuse_unless_local("stats")
        return statistics(self, frames, progress, workers)

    def withdraw(self, keys: Sequence[str]) -> int:
        """List ``keys`` as withdrawn; how many are new. Raises DataError, changing nothing, for keys not in the set."""
        from .withdraw import withdraw

        self._refuse_unless_local("withdraw")
        if self.plain:
            raise DataError("tars that are not ours are left as they are: nothing can be withdrawn from them", where=self.path,
                            remedy=f"list the keys in a {WITHDRAWN_FILE} (one column, key) beside the tars, or in a folder\n"
                            "that shards: [TARS, FOLDER] names too; or write a shard set of them")  # fmt: skip
        return withdraw(self, keys)

    def _refuse_unless_local(self, command: str) -> None:
        if self.roots.remote or (len(self.roots.roots) > 1 and not self.plain):
            raise DataError(f"`data {command}` works in one folder, this set is at {self.path}",
                            remedy="run it where the shards lie")  # fmt: skip

    def _parquet(self, name: str, columns: list[str] | None = None) -> pa.Table:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            table = pq.read_table(self._file(name), columns=columns)
            table.select(columns or [])  # a column that is not there is left out in silence
            rows = self.info.get({SHARDS_FILE: "shards", INDEX_FILE: "samples"}[name])
            return table.slice(0, rows) if isinstance(rows, int) and rows >= 0 else table  # more are being appended
        except (NotThere, OSError, KeyError, pa.ArrowException) as error:
            raise self._unreadable(name, error) from error

    def _file(self, name: str) -> Path | io.BytesIO:
        """A local file is mapped, not copied."""
        local = self.folder / name
        return local if local.is_file() else io.BytesIO(self.roots.get(name))

    def _unreadable(self, name: str, error: Exception) -> DataError:
        return DataError(f"{name} cannot be read: {error}", where=self.path, remedy="restore it, or write the set again")

    def _table(self, shard: int) -> Table:
        with self._lock:
            if shard in self._tables:
                self._tables.move_to_end(shard)
                return self._tables[shard]
        name = f"{self.name(shard)}.idx"
        try:
            table = Table.from_bytes(self.roots.get(name, lambda data: _is_table(data, name)), name)
        except NotThere as error:
            raise StorageError(str(error), remedy="restore the shard from a copy, or name its root too") from error
        if len(table) != self.sizes[shard] or table.checksum != self._checksums[shard]:  # two shards were swapped
            raise Damage(f"{name} is not the table that {SHARDS_FILE} records")
        with self._lock:
            self._tables[shard] = table
            if len(self._tables) > _OPEN_TABLES:
                self._tables.popitem(last=False)
        return table


def _opened(addresses: Sequence[str], storage: StorageConfig | None) -> tuple[Roots, Path]:
    """The roots of a set, and the folder of its index."""
    tars = find_tars(addresses)
    if tars is None:
        return Roots(addresses, storage), Path(addresses[0])
    from .tars.opening import TarRoots

    roots = TarRoots(tars, storage)
    return roots, roots.index


def _is_table(data: bytes, name: str) -> bool:
    try:
        Table.from_bytes(data, name)
    except Damage:
        return False
    return True
