"""What ships: a line of each recipe, and what it aims at."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .recipe import Recipe, load_recipe
from .recipe_sources import shipped_recipes


@dataclass(frozen=True)
class Row:
    """A recipe in words: ``pictures`` [height x width] as they are trained on, ``schedule`` as batch x steps."""

    name: str
    what: str
    tasks: str
    model: str
    pictures: str
    schedule: str
    aim: str

    @staticmethod
    def of(name: str, recipe: Recipe) -> Row:
        model = recipe.plugin("model")
        size = getattr(model.config, "size", None)
        return Row(
            name, str(recipe.about.get("what", "")), ", ".join(task.replace("_", " ") for task in recipe.tasks),
            model.found.declaration.name + (f" {size}" if size else ""), _pictures(recipe),
            f"{recipe.batch.global_} x {recipe.train.steps:,}", _aim(recipe.about),
        )  # fmt: skip


def rows() -> Iterator[Row]:
    """Of every shipped recipe."""
    return (Row.of(name, load_recipe(name)) for name in shipped_recipes())


def table(shown: list[Row]) -> str:
    """As Markdown."""
    heads = ("recipe", "task", "model", "pictures", "batch x steps", "aims at")
    cells = [(f"`{r.name}`", r.tasks, f"`{r.model}`", r.pictures, r.schedule, r.aim) for r in shown]
    return "".join(f"| {' | '.join(line)} |\n" for line in (heads, ["---"] * len(heads), *cells))


def _pictures(recipe: Recipe) -> str:
    configs = [chosen.config for chosen in recipe.transforms.values()]
    sizes = [" x ".join(map(str, config.size)) for config in configs if getattr(config, "size", None)]
    sides = [f"shorter side {config.shortest}" for config in configs if hasattr(config, "shortest")]
    return [*sides, *sizes][-1] if sides or sizes else "as they are"


def _aim(about: Mapping[str, Any]) -> str:
    """The published figure of the same model; for a model that has none that of a peer, or why there is none."""
    for key, words in (("published", ""), ("peer", "its own is not published; beside ")):
        match about.get(key):
            case {"figure": figure, "value": value, "source": source}:
                return f"{words}{figure} {value:g}: {source}"
            case str(why):
                return why
    return ""
