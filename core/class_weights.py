"""Weights of classes that are rare, from what shard sets' indexes count."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from .building import build_loader
from .errors import DataError, UserError, near_matches
from .recipe import Recipe
from .taxonomy import Taxonomy

RULES: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "log": lambda share: 1 / np.log(1.1 + share),
    "median": lambda share: np.median(share) / share,
}
"""From each class's share of all pixels: Paszke et al., ENet (2016), whose 1.02 is 1.1 here, which spreads weights less; median
frequency balancing (Eigen and Fergus 2015)."""


def class_weights(recipe: Recipe, task: str | None, rule: str) -> dict[str, float]:
    """Class -> weight, their mean 1, from the pixels (boxes, lanes) of each in the training sources of ``recipe``.

    Frames count once each, whatever a source's weight and ``where``. Raises UserError for a task or a rule that is not there,
    DataError where a class has not a single pixel.
    """
    task = _task(recipe, task)
    if rule not in RULES:
        raise UserError(f"no rule {rule!r}", near=near_matches(rule, RULES), remedy=f"rules: {', '.join(RULES)}")
    counts = count_classes(recipe, task)
    missing = [name for name, count in counts.items() if not count]
    if missing:
        raise DataError(f"{task}: nothing in the training sources is {' or '.join(missing)}", where=recipe.where("data.train"),
                        remedy="leave the class out of data.classes, or map one to it in data.taxonomy")  # fmt: skip
    share = np.array(list(counts.values()), np.float64)
    weights = RULES[rule](share / share.sum())
    return {name: round(float(w), 3) for name, w in zip(counts, weights / weights.mean())}


def count_classes(recipe: Recipe, task: str) -> dict[str, int]:
    """Pixels (boxes, lanes) of each of the recipe's classes, over all sources of training."""
    classes, loader = recipe.classes[task], build_loader(recipe)
    counts = dict.fromkeys(classes, 0)
    for source in recipe.data_spec_sources("train"):
        opened = loader.open(source.shards, source.overlays)
        infos, mapping = opened.classes.get(task, ()), source.taxonomy.get(task, {})
        taxonomy = Taxonomy.build(source.name, task, infos, classes, mapping, source.where)
        for name, count in opened.statistics(False)["class_counts"].get(task, {}).items():
            if 0 <= (found := taxonomy.to_id.get(name, -1)) < len(classes):
                counts[classes[found]] += count
    return counts


def _task(recipe: Recipe, task: str | None) -> str:
    having = [name for name, classes in recipe.classes.items() if classes]
    if task is None and len(having) == 1:
        return having[0]
    if task not in having:
        said = "the recipe has several tasks" if task is None else f"the recipe has no task {task!r} with classes"
        raise UserError(said, near=near_matches(task or "", having), remedy=f"--task: {', '.join(having)}")
    return task
