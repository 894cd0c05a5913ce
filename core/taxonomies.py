"""Taxonomies that dataset plugins ship, ``DATASET:NAME``: from their own class names to names that others use too."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

from .errors import PluginError, RecipeError, near_matches
from .manager import PluginManager
from .recipe_sources import Key, Node


def shipped_taxonomies(manager: PluginManager) -> dict[str, Mapping[str, str]]:
    """All of them: ``DATASET:NAME`` -> own class -> class, ``ignore`` or ``drop``. Those that do not load are left out: naming
    one says why."""
    out: dict[str, Mapping[str, str]] = {}
    for found in manager.found("dataset"):
        with contextlib.suppress(PluginError):
            out |= {f"{found.declaration.name}:{name}": mapping for name, mapping in found.load_taxonomies().items()}
    return out


def find_taxonomy(name: str, manager: PluginManager, where: str | None = None) -> Mapping[str, str]:
    """Own class -> class, ``ignore`` or ``drop``. Raises RecipeError with near matches, PluginError for one that is broken."""
    dataset, _, own = name.rpartition(":")
    hits = [found for found in manager.found("dataset") if dataset in (found.declaration.name, found.full_name)]
    if len(hits) > 1:
        raise PluginError(f"dataset {dataset!r} is offered by {' and '.join(found.full_name for found in hits)}", where=where)
    if hits and own in (table := hits[0].load_taxonomies()):
        return table[own]
    raise RecipeError(f"no taxonomy {name!r}", where=where, near=near_matches(name, shipped_taxonomies(manager)),
                      remedy="all of them: drivetrain data taxonomies; or a mapping of your own, {THEIRS: OURS}")  # fmt: skip


class Expanded:
    """A recipe's tree with mappings where taxonomies were named, alone or in a list whose later members go before. ``named``:
    key of an entry -> the taxonomy that it is from; ``errors``: names that are none."""

    def __init__(self, root: Node, manager: PluginManager):
        self.manager, self.root = manager, root
        self.named: dict[Key, str] = {}
        self.errors: list[RecipeError] = []
        for key in list(_written(root)):
            *_, parent, node = root.along(key)
            parent.value[key[-1]] = self._mapping(key, node)

    def _mapping(self, key: Key, node: Node) -> Node:
        parts = node.value if isinstance(node.value, list) else [node]
        if not all(isinstance(part.value, (str, dict)) for part in parts):
            return node  # the check of types tells of it
        out: dict[str, Node] = {}
        for part in parts:
            shipped = isinstance(part.value, str)
            entries = self._named(key, part) if shipped else part.value
            self.named |= {(*key, name): part.value if shipped else "" for name in entries}
            out |= entries
        return Node(out, node.place)

    def _named(self, key: Key, part: Node) -> dict[str, Node]:
        where = part.place.of(key)
        try:
            found = find_taxonomy(part.value, self.manager, where)
        except (RecipeError, PluginError) as error:
            self.errors.append(RecipeError(error.message, where=where, near=error.near, remedy=error.remedy))
            return {}
        return {name: Node(target, part.place) for name, target in found.items()}


def _written(root: Node) -> Iterator[Key]:
    """Where taxonomies stand: ``data.taxonomy.SOURCE`` and ``data.SPLIT.SOURCE.taxonomy``."""
    for name in _names(root, ("data", "taxonomy")):
        yield "data", "taxonomy", name
    for split in ("train", "val"):
        for name in _names(root, ("data", split)):
            if "taxonomy" in _names(root, ("data", split, name)):
                yield "data", split, name, "taxonomy"


def _names(root: Node, key: Key) -> list[str]:
    nodes = root.along(key)
    return list(nodes[-1].value) if len(nodes) > len(key) and isinstance(nodes[-1].value, dict) else []
