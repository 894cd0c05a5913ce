"""Rows of a parquet file, one at a time. In memory are the pages that hold them: sweeps have small ones, while pictures can be
one page for a thousand, as pyarrow writes them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from drivetrain import DataError, read_table

TIME = "key.frame_timestamp_micros"
_BUFFER = 1 << 20  # bytes


class Rows:
    """The rows of a component by their keys (frame's time and ``sensor``'s number). In the file's order they are streamed,
    ``batch`` at a time; going back begins anew. Raises DataError for a file that is missing or wrong."""

    def __init__(self, path: Path, sensor: str, columns: Sequence[str], batch: int):
        self.path, self.columns, self.batch = path, list(columns), batch
        keys = read_table(path, [TIME, sensor])
        self.places = {key: i for i, key in enumerate(zip(keys[TIME].to_pylist(), keys[sensor].to_pylist()))}
        self._from: int = 0
        self._rows: Any = ()  # those of the batch that begins there
        self._batches: Iterator[Any] | None = None

    def of(self, time: int) -> list[int]:
        """The numbers of the sensors that have a row at ``time``, in µs."""
        return sorted(sensor for at, sensor in self.places if at == time)

    def read(self, time: int, sensor: int) -> dict[str, Any]:
        """Column -> value; arrays are numpy's. Raises DataError where the columns are not all there, or broken."""
        place = self.places[time, sensor]
        try:
            if self._batches is None or place < self._from:
                self._from, self._rows, self._batches = 0, (), self._open()
            while place >= self._from + len(self._rows):
                self._from += len(self._rows)
                self._rows = next(self._batches)
        except (OSError, pa.ArrowException, StopIteration) as error:
            raise DataError(f"cannot be read: {error!r}", where=str(self.path)) from error
        return {name: _value(self._rows[name][place - self._from]) for name in self.columns}

    def _open(self) -> Iterator[pa.RecordBatch]:
        file = parquet.ParquetFile(self.path, buffer_size=_BUFFER, pre_buffer=False)  # else whole columns are read at once
        if missing := [name for name in self.columns if name not in file.schema_arrow.names]:
            raise DataError(f"has no column {missing[0]!r}", where=str(self.path))
        return file.iter_batches(self.batch, columns=self.columns, use_threads=False)


def _value(scalar: pa.Scalar) -> Any:
    if isinstance(scalar, (pa.ListScalar, pa.FixedSizeListScalar)):
        return None if scalar.values is None else scalar.values.to_numpy(zero_copy_only=False)
    return scalar.as_py()


def matrix(values: Any) -> np.ndarray:
    """float64 [4, 4] of a transform's 16 numbers, row by row."""
    return np.asarray(values, np.float64).reshape(4, 4)
