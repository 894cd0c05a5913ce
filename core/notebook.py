"""For notebooks: recipes, runs and shard sets, opened in one call."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .manager import get_manager
from .run import RunFolder

if TYPE_CHECKING:
    from .contracts import ShardSet
    from .recipe import Recipe


def open_recipe(path: str, *overrides: str) -> Recipe:
    """A recipe, checked; ``overrides`` are ``key.sub=value``. Raises RecipeError."""
    from .recipe import load_recipe

    return load_recipe(path, overrides, get_manager())


def open_run(path: str | Path) -> RunFolder:
    """A run's folder: ``records()``, ``resolved_recipe()``, ``checkpoints``... Raises UserError where it is none."""
    folder = RunFolder(Path(path))
    folder.info()
    return folder


def open_shards(path: str | Path, overlays: Iterable[str | Path] = ()) -> ShardSet:
    """A shard set: ``index`` (a table of its frames), ``frame(number)``, ``verify()``; ``overlays``: folders of labels that
    lie over its own. Raises DataError."""
    from .data import default_loader

    return default_loader().open(str(path), [str(overlay) for overlay in overlays])
