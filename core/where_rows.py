"""A `where` expression over rows of an index, in Arrow's kernels."""

from __future__ import annotations

import re
from collections.abc import Callable
from fnmatch import translate
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .errors import RecipeError
from .where import COLUMN_OF, Joined, Name, Not, Test, Tree

if TYPE_CHECKING:
    from .where import Rows

_KERNELS = {"==": pc.equal, "!=": pc.not_equal, "<": pc.less, "<=": pc.less_equal, ">": pc.greater, ">=": pc.greater_equal}
_ARROW_REFUSES = (pa.ArrowNotImplementedError, pa.ArrowInvalid, pa.ArrowTypeError)


def evaluate(tree: Tree, rows: Rows, mismatch: Callable[[Test], RecipeError]) -> np.ndarray:
    """bool [rows]. Raises ``mismatch(test)`` where text is held against numbers."""
    if isinstance(tree, Not):
        return ~evaluate(tree.part, rows, mismatch)
    if isinstance(tree, Joined):
        join = np.logical_and if tree.word == "and" else np.logical_or
        return reduce(join, (evaluate(part, rows, mismatch) for part in tree.parts))
    try:
        return _tested(_column(rows, tree.name), tree.sign, tree.value)
    except _ARROW_REFUSES:
        raise mismatch(tree) from None


def names_in(rows: Rows) -> tuple[set[str], set[str], dict[str, set[str]]]:
    """The tags, the labelled tasks, and per task the counted classes that occur, as far as their columns are there."""
    there = rows.schema.names
    tags = _keys(rows.column("tags")) if "tags" in there else set()
    tasks = set(pc.unique(pc.list_flatten(rows.column("labelled"))).to_pylist()) if "labelled" in there else set()
    counts = rows.column("class_counts") if "class_counts" in there else pa.array([], pa.map_(pa.string(), pa.null()))
    classes = {task: _keys(pc.map_lookup(counts, task, "first")) for task in _keys(counts)}
    return tags, tasks | classes.keys(), classes


def _column(rows: Rows, name: Name) -> Any:
    """The values of a name, null where a frame does not have it."""
    head, *rest = name.path
    column = rows.column(COLUMN_OF.get(head, head))
    if head == "labelled":
        return _contains(column, rest[0])
    if head == "tags":
        return pc.map_lookup(column, rest[0], "first")
    if head == "counts":
        of_task = pc.map_lookup(column, rest[0], "first")
        counts = pc.map_lookup(of_task, rest[1], "first")
        return pc.if_else(pc.and_(pc.is_valid(of_task), pc.is_null(counts)), 0, counts)
    return column


def _contains(column: Any, value: str) -> pa.Array:
    """bool [rows]: which lists hold ``value``."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    found = np.zeros(len(column), bool)
    hits = pc.equal(pc.list_flatten(column), value)
    found[pc.list_parent_indices(column).filter(hits).to_numpy()] = True
    return pa.array(found)


def _tested(column: Any, sign: str, value: Any) -> np.ndarray:
    if sign == "matches":
        return _matches(column, value)
    if sign == "is":
        return _filled(column)
    if sign == "in":
        return _filled(pc.is_in(column, pa.array(value, column.type)))
    if value is None:
        return _filled(pc.is_null(column) if sign == "==" else pc.is_valid(column))
    return _filled(_KERNELS[sign](column, value), missing=sign == "!=")


def _matches(column: Any, pattern: str) -> np.ndarray:
    if not pa.types.is_string(column.type) and not pa.types.is_large_string(column.type):
        raise pa.ArrowTypeError(f"{column.type} is no text")
    matches = re.compile(translate(pattern)).match
    return np.fromiter((text is not None and matches(text) is not None for text in column.to_pylist()), bool, len(column))


def _filled(mask: Any, missing: bool = False) -> np.ndarray:
    return np.asarray(mask.fill_null(missing).to_numpy(zero_copy_only=False), bool)


def _keys(column: Any) -> set[str]:
    """The keys that occur in a column of maps."""
    chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
    return {key for chunk in chunks for key in pc.unique(chunk.keys).to_pylist()}
