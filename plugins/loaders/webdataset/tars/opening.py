"""Plain tars as the roots of a set: the tars where their owner has them, what is known of them in a folder of ours."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from drivetrain import TASKS, DataError, near_matches

from ..storage.config import StorageConfig
from ..storage.roots import Check, Roots
from ..storage.stores import NotThere
from .finding import CLASSES_FILE, Tars
from .indexing import index_of

_EXAMPLE = '{"classes": {"semantic_segmentation": ["road", {"name": "car", "id": 7}]}}'


class TarRoots(Roots):
    """``index``: the folder with all but the tars."""

    def __init__(self, tars: Tars, storage: StorageConfig | None = None):
        super().__init__(tars.folders, storage)
        self.index = index_of(tars, storage)

    def get(self, name: str, check: Check | None = None) -> bytes:
        """Of the index; what it does not hold, such as ``classes.json``, from beside the tars."""
        try:
            data = (self.index / name).read_bytes()
        except FileNotFoundError:
            if not name.endswith(".idx"):
                return super().get(name, check)
            data = None
        if data is None or (check and not check(data)):
            raise DataError(f"{name} is {'not there' if data is None else 'damaged'}", where=str(self.index),
                            remedy="delete this folder: the tars are indexed again")  # fmt: skip
        return data

    def read(self, name: str, offset: int, length: int, check: Check) -> bytes:
        return super().read(unquote(name), offset, length, check)

    def path(self, name: str) -> Path:
        return super().path(unquote(name))


def with_classes(info: Mapping[str, Any], roots: Roots, where: str) -> Mapping[str, Any]:
    """``info`` with the classes that ``classes.json`` declares. Raises DataError where it cannot be read."""
    try:
        declared = json.loads(roots.get(CLASSES_FILE))["classes"]
        classes = {task: [_class(values, number) for number, values in enumerate(infos)] for task, infos in declared.items()}
    except NotThere:
        return info
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{CLASSES_FILE} cannot be read: {error!r}", where=where, remedy=f"expected {_EXAMPLE}") from error
    for task, infos in classes.items():
        _check(task, infos, where)
    return {**info, "classes": {**info["classes"], **classes}}


def _class(values: str | Mapping[str, Any], number: int) -> dict[str, Any]:
    """A mere name takes its place in the list as id."""
    found: dict[str, Any] = {"id": number, "name": values} if isinstance(values, str) else {"id": number, **values}
    return {**found, "name": str(found["name"]), "id": int(found["id"])}


def _check(task: str, infos: list[dict[str, Any]], where: str) -> None:
    if task not in TASKS:
        raise DataError(f"{CLASSES_FILE}: no task {task!r}", where=where, near=near_matches(task, TASKS),
                        remedy=f"tasks: {', '.join(TASKS)}")  # fmt: skip
    for field in ("name", "id"):
        values = [info[field] for info in infos]
        if twice := [value for value in values if values.count(value) > 1]:
            raise DataError(f"{CLASSES_FILE}: {task}: {field} {twice[0]!r} is given twice", where=where)
