"""A set's ``dataset.json``: read, and where it cannot be, why."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from drivetrain import ClassInfo, DataError, class_info, near_matches

from .shards import DATASET_FILE, FORMAT_VERSION, INDEX_FILE, PLAN_FILE
from .storage.roots import Roots
from .storage.stores import NotThere


def classes_of(info: Mapping[str, Any], where: str) -> Mapping[str, Sequence[ClassInfo]]:
    """Task -> classes. Raises DataError where they cannot be read."""
    try:
        classes = {task: [class_info(values) for values in infos] for task, infos in info["classes"].items()}
        for one in (one for infos in classes.values() for one in infos):
            if not isinstance(one.name, str) or type(one.id) is not int or one.id < 0:
                raise ValueError(f"class {one.name!r} has the id {one.id!r}")
        return classes
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise DataError(f"{DATASET_FILE}: its classes cannot be read: {error!r}", where=where,
                        remedy="restore it, or write the set again") from error  # fmt: skip


def read_info(roots: Roots, folder: Path, path: str) -> dict[str, Any]:
    """Raises DataError where there is none, saying what there is instead, or it is no such file."""
    try:
        info = json.loads(roots.get(DATASET_FILE))
    except NotThere:
        if "://" in path:
            raise DataError(f"there is no shard set at {path}: no root has a {DATASET_FILE}",
                            remedy="name the address that holds dataset.json and the shards; plain WebDataset tars are read "
                            "from folders only: mount, copy or convert them") from None  # fmt: skip
        raise _missing(folder) from None
    except ValueError as error:
        raise DataError(f"{DATASET_FILE} is no JSON: {error}", where=path, remedy="write the set again") from error
    if not isinstance(info, dict):
        raise DataError(f"{DATASET_FILE} is no mapping", where=path, remedy="write the set again")
    if info.get("format_version") != FORMAT_VERSION:
        raise DataError(f"format version {info.get('format_version')}, this reads {FORMAT_VERSION}", where=path,
                        remedy="write the set again, or update drivetrain")  # fmt: skip
    kinds = {"classes": dict, "cameras": dict, "order_id": str, "content_id": str}
    lacking = [name for name, kind in kinds.items() if not isinstance(info.get(name), kind)]
    if lacking:
        raise DataError(f"{DATASET_FILE} says nothing of {', '.join(lacking)}", where=path, remedy="write the set again")
    return info


def _missing(folder: Path) -> DataError:
    """Why ``folder`` cannot be opened: a half-written set, a folder of sets, something else, or nothing at all."""
    if (folder / PLAN_FILE).exists():
        return DataError(f"{folder} is a half-written shard set: it has no {DATASET_FILE} yet",
                         remedy="repeat the same `drivetrain data shard`: whole shards are kept")  # fmt: skip
    inside = sorted(str(path.parent) for path in folder.glob(f"*/{DATASET_FILE}"))
    if inside:
        return DataError(f"{folder} is no shard set, it holds some", near=inside)
    siblings: list[str] = []
    with contextlib.suppress(OSError):
        siblings = [path.name for path in folder.parent.iterdir() if (path / DATASET_FILE).exists()]
    near = [str(folder.parent / name) for name in near_matches(folder.name, siblings)]
    what = f"has no {DATASET_FILE}" if folder.is_dir() else "does not exist"
    return DataError(
        f"there is no shard set at {folder}: it {what}", near=near,
        remedy=f"a shard set is a folder with {DATASET_FILE}, {INDEX_FILE} and shard-*.tar; plain WebDataset tars do too\n"
        "write one from a dataset with `drivetrain data shard`, or a synthetic one with `drivetrain data synth`",
    )  # fmt: skip
