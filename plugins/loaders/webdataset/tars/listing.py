"""Tars that have been read, as a set: its list of shards, its index and its ``dataset.json``."""

from __future__ import annotations

import json
import os
import shutil
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import drivetrain
from drivetrain import TASKS, DataError

from ..assembly import add_sizes, write_shards
from ..rows import IndexWriter, ShardRows, hashes, repeated_hashes
from ..shards import DATASET_FILE, FORMAT_VERSION, INDEX_FILE, content_id, order_id, write_atomically
from .finding import CLASSES_FILE, Tar, Tars
from .walking import Notes


def write_set(out: Path, tars: Tars, parts: Sequence[ShardRows], tables: Path) -> list[str]:
    """Write the set of ``tars``, whose ``parts`` of the index and offset ``tables`` there are, into the folder ``out``.

    Returns what must be said of it, a line each. Raises DataError where two samples have one key, and where there are none."""
    _refuse_split(tars, parts)
    used = [(tar, rows) for tar, rows in zip(tars.tars, parts) if len(rows.table)]
    if not used:
        found = "\n".join(["a picture is KEY.jpg or KEY.cam_front.png; what was found:", *_notes(parts)])
        raise DataError(f"none of {len(tars.tars)} tars holds a sample with a picture", where=tars.where, remedy=found)
    _refuse_duplicates(used)
    with IndexWriter(out / INDEX_FILE) as index:
        starts = np.cumsum([0] + [len(rows.table) for _, rows in used])
        for start, (_, rows) in zip(starts, used):
            numbers = pa.array(start + np.arange(len(rows.table)), pa.int64())
            index.add(rows.table.set_column(rows.table.schema.get_field_index("number"), "number", numbers))
    listed = [(tar.shard, len(rows.table), rows.bytes, rows.checksum) for tar, rows in used]
    for tar, _ in used:
        _link(tables / f"{tar.id}.idx", out / f"{tar.shard}.idx")
    write_shards(out, list(zip(*listed)))
    info = _info(listed, [rows for _, rows in used])
    write_atomically(out / DATASET_FILE, (json.dumps(info, indent=1) + "\n").encode())
    return _said(tars, info, parts, len(tars.tars) - len(used))


def _info(listed: Sequence[tuple[str, int, int, int]], parts: Sequence[ShardRows]) -> dict[str, Any]:
    names, samples, sizes_of_tars, checksums = zip(*listed)
    labelled: Counter[str] = Counter()
    sizes: dict[str, set[tuple[int, ...]]] = {}
    named: dict[str, set[str]] = {}
    for rows in parts:
        labelled.update(task for chunk in rows.table.column("labelled").chunks for task in chunk.flatten().to_pylist())
        counts = map(dict, rows.table.column("class_counts").to_pylist())
        for task, found in (pair for count in counts for pair in count.items()):
            named.setdefault(task, set()).update(name for name, _ in found)
        add_sizes(sizes, rows)
    classes = {task: [{"name": name, "id": number} for number, name in enumerate(sorted(names))]
               for task, names in named.items()} | {task: [] for task in labelled if not TASKS[task].has_classes}  # fmt: skip
    return {
        "format_version": FORMAT_VERSION, "tool_version": drivetrain.__version__, "dataset": "tars", "split": "",
        "samples": sum(samples), "shards": len(names), "bytes": sum(sizes_of_tars), "plain": {"labelled": dict(labelled)},
        "classes": classes,
        "cameras": {camera: sorted(found) for camera, found in sorted(sizes.items())},
        "order_id": order_of(names, samples, checksums), "content_id": content_id(checksums),
    }  # fmt: skip


def order_of(names: Sequence[str], samples: Sequence[int], checksums: Sequence[int]) -> str:
    """Of tars that others may write anew: one that holds something else is another one."""
    return order_id([(f"{name}@{checksum:016x}", count) for name, count, checksum in zip(names, samples, checksums)])


# ---------------------------------------------------------------- what is refused, and what is said


def _refuse_split(tars: Tars, parts: Sequence[ShardRows]) -> None:
    ends = [(tar, rows.more["first"], rows.more["last"]) for tar, rows in zip(tars.tars, parts) if rows.more["first"]]
    for (tar, _, last), (following, first, _) in pairwise(ends):
        if last == first:
            raise DataError(f"sample {last!r} is at the end of {tar.path} and at the beginning of {following.path}",
                            remedy="a sample's files lie in one tar: write these again, with whole samples")  # fmt: skip


def _refuse_duplicates(used: Sequence[tuple[Tar, ShardRows]]) -> None:
    """Equal hashes are looked up as keys, since two different keys may share one."""
    found = [hashes(rows.table.column("key")) for _, rows in used]
    suspects, seen = repeated_hashes(found), dict[str, Tar]()
    for (tar, rows), part in zip(used, found) if len(suspects) else ():
        for place in np.flatnonzero(np.isin(part, suspects)).tolist():
            key = rows.table.column("key")[place].as_py()
            if key in seen:
                raise DataError(f"two samples have the key {key!r}, in {seen[key].path} and in {tar.path}",
                                remedy="keys are unique in a set: write them with other ones, such as the tar's name before "
                                "each, or make the tars several sources")  # fmt: skip
            seen[key] = tar


def _said(tars: Tars, info: dict[str, Any], parts: Sequence[ShardRows], empty: int) -> list[str]:
    counts, samples = info["plain"]["labelled"], info["samples"]
    cameras = ", ".join(info["cameras"]) or "no camera"
    lines = [f"{samples} samples in {info['shards']} tars, of {cameras}"]
    for task in TASKS:
        if task in counts and (without := samples - counts[task]):
            lines.append(f"{without} of them have no labels of {task}: they count as not labelled, not as empty")
    if none := [task for task in TASKS if task not in counts]:
        lines.append(f"{samples} of them have no labels of {', '.join(none)}: they count as not labelled, not as empty")
    if counts.get("semantic_segmentation") and not any((Path(folder) / CLASSES_FILE).exists() for folder in tars.folders):
        lines.append(f"there are masks, and no {CLASSES_FILE} that says what their ids mean")
    lines += [f"{empty} tars hold no sample with a picture, and are left out"] if empty else []
    return lines + [f"left out: {line}" if "damaged" not in line else line for line in _notes(parts)]


def _notes(parts: Sequence[ShardRows]) -> list[str]:
    notes = Notes()
    for rows in parts:
        notes.merge(rows.more["notes"])
    return [f"{count} {what}, such as {example}" for what, (count, example) in sorted(notes.found.items())]


def _link(table: Path, path: Path) -> None:
    try:
        os.link(table, path)
    except OSError:
        shutil.copyfile(table, path)
