"""What must agree in a recipe: the model and its tasks, these and classes, classes and taxonomies, metrics and gates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from .errors import near_matches
from .manager import PluginManager
from .recipe_schema import RESERVED, DataSection, Gate, ModelKeys, Sections
from .recipe_sources import Key
from .tasks import TASKS
from .taxonomies import Expanded

if TYPE_CHECKING:
    from .recipe import Chosen, Classes


class Agreement:
    """``wrong(message, key, near, remedy)`` takes what does not agree."""

    def __init__(self, manager: PluginManager, taxonomies: Expanded, wrong: Callable[..., None]):
        self.manager, self.taxonomies, self.wrong = manager, taxonomies, wrong

    def tasks(self, keys: ModelKeys, model: Chosen) -> tuple[str, ...]:
        """What the model is trained for; empty where that is wrong."""
        able = sorted(model.found.declaration.tasks)
        name = model.found.declaration.name
        tasks = tuple(keys.tasks or ([keys.task] if keys.task else able))
        key = ("model", "task") if keys.task else ("model", "tasks") if keys.tasks else ("model",)
        if keys.task and keys.tasks:
            self.wrong("expected task or tasks, not both", ("model", "tasks"))
        elif key == ("model",) and len(able) > 1:
            self.wrong(f"{name} has several tasks", key, remedy=f"set model.task to one of: {', '.join(able)}")
        elif len(set(tasks)) < len(tasks):
            self.wrong("a task is named twice", key)
        elif all(self._is_able(name, task, able, key) for task in tasks):
            return tasks
        return ()

    def _is_able(self, model: str, task: str, able: list[str], key: Key) -> bool:
        if task not in TASKS:
            self.wrong(f"no task {task!r}", key, near_matches(task, TASKS), f"tasks: {', '.join(TASKS)}")
        elif task not in able:
            others = [f.declaration.name for f in self.manager.found("model") if task in f.declaration.tasks]
            self.wrong(f"{model} does {' and '.join(able)}, not {task}", key,
                       remedy=f"models for {task}: {', '.join(others) or 'none'}")  # fmt: skip
        return task in TASKS and task in able

    def classes(self, sections: Sections, tasks: tuple[str, ...]) -> Classes:
        """Per task; empty where the recipe's tasks and those with classes are not the same."""
        written, key = sections.data.classes, ("data", "classes")
        having = [task for task in tasks if TASKS[task].has_classes]
        if isinstance(written, list):
            if len(having) > 1:
                self.wrong(f"expected classes for each task: {', '.join(tasks)}", key)
                return {}
            written = dict.fromkeys(having or tasks, written)
        for task in having:
            if task not in written:
                self.wrong("is needed, since the model has this task", (*key, task))
        for task, names in written.items():
            place = (*key, task) if isinstance(sections.data.classes, dict) else key
            if task not in tasks:
                self.wrong(f"the model has no task {task!r}", place, near_matches(task, tasks))
            elif bool(names) != TASKS[task].has_classes:
                self.wrong(f"{task} needs a class" if not names else f"{task} has no classes: expected []", place)
        return {task: tuple(written.get(task, ())) for task in tasks} if {*having} <= {*written} <= {*tasks} else {}

    def check_taxonomy(self, data: DataSection, classes: Classes) -> None:
        """Taxonomies are of sources that there are, and map to classes that there are."""
        targets = [*dict.fromkeys(name for names in classes.values() for name in names), *RESERVED]
        mappings: dict[Key, Mapping[str, str]] = {("data", "taxonomy", name): m for name, m in data.taxonomy.items()}
        for split, sources in (("train", data.train), ("val", data.val)):
            mappings |= {("data", split, name, "taxonomy"): s.taxonomy for name, s in sources.items()}
        for key, mapping in mappings.items():
            for name, target in mapping.items():
                if target not in targets:
                    shipped = self.taxonomies.named.get((*key, name))
                    remedy = (
                        f"add it to data.classes, or after it in a list: [{shipped}, {{{name}: ignore}}]" if shipped else None
                    )
                    self.wrong(f"no class {target!r}", (*key, name), near_matches(target, targets), remedy)
        sources = {**data.train, **data.val}
        for name in data.taxonomy:
            if name not in sources:
                self.wrong(f"no source {name!r} in data", ("data", "taxonomy", name), near_matches(name, sources))
        if not any(s.enabled for s in data.train.values()):
            self.wrong("no source is enabled", ("data", "train"))

    def check_metrics(self, sections: Sections, metrics: Mapping[str, Chosen], tasks: tuple[str, ...]) -> None:
        """Metrics are of the recipe's tasks and have data; gates and the best checkpoint are of its metrics."""
        for name, metric in metrics.items():
            scored = metric.found.declaration
            if scored.task not in tasks:
                able = [f.declaration.name for f in self.manager.found("metric") if f.declaration.task in tasks]
                self.wrong(f"{scored.name} scores {scored.task}, which the model does not do", ("metrics", name),
                           remedy=f"metrics for {' and '.join(tasks)}: {', '.join(able) or 'none'}")  # fmt: skip
        if (metrics or sections.evaluation.every) and not any(s.enabled for s in sections.data.val.values()):
            self.wrong("is needed, since the recipe evaluates", ("data", "val"))
        wanted: dict[Key, str | None] = {("gates", name): gate.metric or name for name, gate in sections.gates.items()}
        wanted["checkpoint", "best"] = sections.checkpoint.best
        enabled = [name for name, entry in sections.metrics.items() if entry.get("enabled") is not False]
        for key, best in wanted.items():
            if best is not None and best not in enabled:
                self.wrong(f"no metric {best!r} in metrics", key, near_matches(best, enabled))
        for name, gate in sections.gates.items():
            self._check_gate(name, gate, sections.evaluation.slices, metrics)

    def _check_gate(self, name: str, gate: Gate, slices: Mapping[str, str], metrics: Mapping[str, Chosen]) -> None:
        """Its slice is there; a limit of change of the metric's own figure is one for the worse."""
        key, metric = ("gates", name), metrics.get(gate.metric or name)
        if gate.slice is not None and gate.slice not in slices:
            self.wrong(f"no slice {gate.slice!r} in evaluation.slices", (*key, "slice"), near_matches(gate.slice, slices))
        if metric is None or gate.figure is not None:
            return
        scored = metric.found.declaration
        wrong, right = ("max_rise", "max_drop") if scored.direction == "max" else ("max_drop", "max_rise")
        if getattr(gate, wrong) is not None:
            better = "more" if scored.direction == "max" else "less"
            self.wrong(f"of {scored.name} {better} is better", (*key, wrong), remedy=f"use {right}")
