"""Recipes: loaded, checked, resolved and frozen.

All that is wrong with a recipe is told in one error, a place each::

    recipes/a.yaml:14: model.plugin: no model 'lrasp'
      did you mean 'lraspp_mobilenet_v3_large'?
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .contracts import Balance, Join, Source
from .errors import PluginError, RecipeError
from .manager import Found, PluginManager, get_manager
from .recipe_agreement import Agreement
from .recipe_schema import (
    NAMED,
    RESERVED,
    SEARCH,
    SINGLE,
    BatchSection,
    CheckpointSection,
    DataSection,
    EmaSection,
    EvaluationSection,
    Gate,
    ModelKeys,
    OptimizerKeys,
    Sections,
    SourceSection,
    TrainSection,
    core_keys,
)
from .recipe_sources import Key, Node, Place, Written, dotted, override, read_recipe
from .recipe_values import AnyModel, at, explain, keys_of, leaves, unknown_key, validate
from .recipe_values import compare as compare
from .taxonomies import Expanded

if TYPE_CHECKING:
    from .sample import Transform

DEFAULT = "default"
Classes = Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Chosen:
    """A plugin with its settings: ``config`` is an instance of its pydantic model, None where it has none."""

    found: Found
    config: Any

    def build(self, *context: Any) -> Any:
        """What its factory makes; the context is its kind's, see `drivetrain.declarations`."""
        return self.found.load_factory()(self.config, *context)


@dataclass(frozen=True)
class Recipe:
    """A recipe whose every value is known and right. Two are equal if they resolve to the same.

    ``sections``: typed, defaults filled in, plugins by their full names. ``model``, ``optimizer``: what the core knows of
    them. ``classes`` of each task. ``transforms``, ``metrics``, ``trackers``: by name, in their order. ``origins``: dotted key
    of each resolved value -> where it is from. ``notes``: what merging left out, and what a reader of the values would not
    see. ``written``: the text of the file, those of the files that it extends as comments after it.
    """

    sections: Sections
    model: ModelKeys = field(compare=False)
    optimizer: OptimizerKeys = field(compare=False)
    classes: Classes = field(compare=False)
    plugins: Mapping[str, Chosen] = field(compare=False)
    transforms: Mapping[str, Chosen] = field(compare=False)
    metrics: Mapping[str, Chosen] = field(compare=False)
    trackers: Mapping[str, Chosen] = field(compare=False)
    origins: Mapping[str, str] = field(compare=False, repr=False)
    source: str = field(compare=False)
    notes: tuple[str, ...] = field(compare=False)
    written: str = field(compare=False, repr=False)
    root: Node = field(compare=False, repr=False)

    @staticmethod
    def from_resolved(resolved: Mapping[str, Any], manager: PluginManager | None = None, source: str = "resolved") -> Recipe:
        """A frozen recipe again; ``source`` is its name in messages. Raises RecipeError, as where a plugin is gone."""
        root = Node.of(resolved, Place(source))
        return _Reading(Written(root, "", source), manager or get_manager()).recipe()

    def resolved(self) -> dict[str, Any]:
        """The whole as JSON, all defaults written out: what a run freezes, and what every rank reads."""
        return self.sections.model_dump(mode="json", by_alias=True)

    def plugin(self, section: str) -> Chosen:
        """Of the section model, loader, parallelism, optimizer or lr_schedule."""
        return self.plugins[section]

    def where(self, key: str) -> str:
        """Where ``key`` (dotted) was written, or else the mapping that it would be in: ``recipes/a.yaml:14: model.plugin``."""
        return self.root.where(tuple(key.split(".")))

    def data_spec_sources(self, split: str) -> tuple[Source, ...]:
        """The shard sets of ``split``, ``train`` or ``val``, as a loader takes them."""
        sources: Mapping[str, SourceSection] = getattr(self.data, split)
        return tuple(
            Source(name, s.addresses, _per_task({**self.data.taxonomy.get(name, {}), **s.taxonomy}, self.classes),
                   self.root.where(("data", split, name)), s.where, s.view, s.weight,
                   None if s.balance is None else Balance(s.balance.method, s.balance.threshold), tuple(s.overlays),
                   tuple(Join(n, j.addresses, round(1e6 * j.tolerance_ms)) for n, j in s.join.items()))
            for name, s in sources.items()
        )  # fmt: skip

    def build_transforms(self) -> dict[str, Transform]:
        """By name, in their order, told of the classes. Raises RecipeError for a setting that does not suit these."""
        built: dict[str, Transform] = {name: chosen.build() for name, chosen in self.transforms.items()}
        for name, transform in built.items():
            try:
                transform.prepare(self.classes)
            except RecipeError as error:
                where = self.root.where(("transforms", name))
                raise RecipeError(error.message, where=where, near=error.near, remedy=error.remedy) from error
        return built

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(self.classes)

    @property
    def about(self) -> Mapping[str, Any]:
        return self.sections.about

    @property
    def seed(self) -> int:
        return self.sections.seed

    @property
    def data(self) -> DataSection:
        return self.sections.data

    @property
    def batch(self) -> BatchSection:
        return self.sections.batch

    @property
    def precision(self) -> str:
        return self.sections.precision

    @property
    def ema(self) -> EmaSection | None:
        return self.sections.ema

    @property
    def train(self) -> TrainSection:
        return self.sections.train

    @property
    def evaluation(self) -> EvaluationSection:
        return self.sections.evaluation

    @property
    def checkpoint(self) -> CheckpointSection:
        return self.sections.checkpoint

    @property
    def gates(self) -> Mapping[str, Gate]:
        return self.sections.gates


def load_recipe(path: str | os.PathLike[str], overrides: Iterable[str] = (), manager: PluginManager | None = None) -> Recipe:
    """The recipe in the file ``path`` (or the shipped one of that name), with ``key.sub=value`` overrides.

    Raises RecipeError that tells all that is wrong.
    """
    manager = manager or get_manager()
    return _Reading(read_recipe(path, overrides, lambda key: _implied_plugin(key, manager)), manager).recipe()


def vary_recipe(recipe: Recipe, overrides: Iterable[str], manager: PluginManager | None = None) -> Recipe:
    """``recipe`` with ``key.sub=value`` overrides over it, without reading its files again. Raises RecipeError."""
    manager = manager or get_manager()
    written = Written(recipe.root, recipe.written, recipe.source)
    override(written, overrides, lambda key: _implied_plugin(key, manager))
    return _Reading(written, manager).recipe()


def _implied_plugin(key: Key, manager: PluginManager) -> str | None:
    """The plugin of the mapping at ``key`` if it names none: the kind's default, or that of the entry's own name."""
    if len(key) == 2 and key[0] in NAMED:
        return str(key[1])
    try:
        return manager.default(str(key[0])).full_name if len(key) == 1 and key[0] in SINGLE else None
    except PluginError:
        return None


# ---------------------------------------------------------------- from a tree of nodes to a Recipe


class _Reading:
    """One recipe being checked; gathers all that is wrong before it says so."""

    def __init__(self, written: Written, manager: PluginManager):
        self.written, self.manager = written, manager
        self.taxonomies = Expanded(_with_empty_entries(written.root), manager)
        self.root = self.taxonomies.root
        self.plain: dict[str, Any] = self.root.plain
        self.errors: list[RecipeError] = list(self.taxonomies.errors)
        self.agreement = Agreement(manager, self.taxonomies, self.wrong)
        self.optimizer = OptimizerKeys.model_validate({})

    def recipe(self) -> Recipe:
        """Raises RecipeError."""
        sections = self.checked(Sections, self.plain, ())
        model = self.core_keys("model", ("model",)) if isinstance(self.plain.get("model"), dict) else None
        plugins = {s: chosen for s in SINGLE if (chosen := self.single(s))}
        named = {section: self.entries(section) for section in NAMED}
        plugins |= self.search_plugins(sections)
        tasks = self.agreement.tasks(model, plugins["model"]) if model and "model" in plugins else ()
        classes = self.agreement.classes(sections, tasks) if sections and tasks else {}
        if sections and classes:
            self.agreement.check_taxonomy(sections.data, classes)
            for message, key in (*sections.data.wrong_weights(), *sections.wrong_tiles(tasks)):
                self.wrong(message, key)
            self.agreement.check_metrics(sections, named["metrics"], tasks)
        self.complain()
        assert sections and model
        optimizer = self.optimizer
        model = model.model_copy(update={"plugin": plugins["model"].found.full_name, "task": None, "tasks": list(tasks)})
        sections = _normalised(sections, classes, model, optimizer, plugins, named)
        return Recipe(
            sections, model, optimizer, classes, plugins, named["transforms"], named["metrics"], named["tracker"],
            self.origins(sections), self.written.source, (*self.written.notes, *_scaling_notes(optimizer, sections.batch)),
            self.written.text, self.root,
        )  # fmt: skip

    def wrong(self, message: str, key: Key, near: Iterable[str] = (), remedy: str | None = None) -> None:
        self.errors.append(RecipeError(message, where=self.root.where(key), near=near, remedy=remedy))

    def complain(self) -> None:
        if len(self.errors) == 1:
            raise self.errors[0]
        if self.errors:
            texts = [error.text() for error in sorted(self.errors, key=_reading_order)]
            raise RecipeError("\n".join([f"{self.written.source}: {len(texts)} mistakes", *texts]))

    def checked(self, model: type[AnyModel], data: Any, key: Key, also: Iterable[str] = ()) -> AnyModel | None:
        """``data``, which was written at ``key``, as ``model``; ``also``: further keys that may stand there."""
        try:
            return validate(model, data)
        except ValidationError as error:
            self.errors += explain(error, model, data, key, self.root.where, also)
            return None

    # ---- plugins

    def single(self, section: str) -> Chosen | None:
        """The plugin of a section, where it is right."""
        raw = self.plain.get(section)
        if raw is None and section != "model":
            return self.choose(section, None, {}, (section,))
        if not isinstance(raw, dict) or (section == "model" and not isinstance(raw.get("plugin"), str)):
            return None  # told of already
        keys: Any = {} if section == "model" else self.core_keys(section, (section,))
        if section == "optimizer" and keys is not None:
            self.optimizer = keys
        return None if keys is None else self.choose(section, raw.get("plugin"), raw, (section,))

    def search_plugins(self, sections: Sections | None) -> dict[str, Chosen]:
        """Kind -> plugin, of a search's. An algorithm that is not named is chosen when the study begins."""
        if sections is None or sections.search is None:
            return {}
        written = {key: getattr(sections.search, key) for key in SEARCH}
        asked = {key: raw for key, raw in written.items() if key != "algorithm" or raw}
        chosen = {SEARCH[key]: self.choose(SEARCH[key], raw.get("plugin"), raw, ("search", key)) for key, raw in asked.items()}
        return {kind: one for kind, one in chosen.items() if one}

    def entries(self, section: str) -> dict[str, Chosen]:
        """The entries of a named section that are enabled and right."""
        chosen = {}
        raw = self.plain.get(section)
        for name, entry in raw.items() if isinstance(raw, dict) else ():
            keys = self.core_keys(section, (section, name)) if isinstance(entry, dict) else None
            if keys and keys.enabled:
                chosen[name] = self.choose(NAMED[section], keys.plugin or name, entry, (section, name))
        return {name: one for name, one in chosen.items() if one}

    def core_keys(self, section: str, key: Key) -> Any:
        """The core's keys in the mapping at ``key``, checked; None where one is wrong."""
        model = core_keys(section)
        raw = at(self.plain, key)
        return self.checked(model, {k: v for k, v in raw.items() if k in keys_of(model)}, key)

    def choose(self, kind: str, name: str | None, raw: Mapping[str, Any], key: Key) -> Chosen | None:
        """The plugin of a kind, with what of ``raw`` is its own as its config."""
        where = self.root.where((*key, "plugin"))
        try:
            found = self.manager.resolve(kind, name, where) if name else self.manager.default(kind, where)
            config = found.load_config()
        except PluginError as error:
            place = error.where or where
            self.errors.append(RecipeError(error.message, where=place, near=error.near, remedy=error.remedy))
            return None
        cores = keys_of(core_keys(str(key[0])))
        own = {k: v for k, v in raw.items() if k not in cores}
        if config is not None:
            checked = self.checked(config, own, key, also=cores)
            return checked and Chosen(found, checked)
        self.errors += [unknown_key((*key, name), cores, self.root.where) for name in own]
        return Chosen(found, None)

    # ---- origins

    def origins(self, sections: Sections) -> dict[str, str]:
        resolved = sections.model_dump(mode="json", by_alias=True)
        return {dotted(key): self.origin(key, value) for key, value in leaves(resolved)}

    def origin(self, key: Key, value: Any) -> str:
        """Where the resolved ``value`` is from: the place of its key, or of a written value that it is part of."""
        nodes = self.root.along(key)
        node, depth = nodes[-1], len(nodes) - 1
        if key == ("model", "tasks") and depth < 2:
            return self.origin(("model", "task"), value)
        if key[-1] == "plugin" and key[0] in NAMED and depth == 2:
            return str(node.place)  # the entry's own name
        is_written = depth == len(key) or not isinstance(node.value, dict)
        is_default = not is_written or (node.value is None and value is not None)
        return DEFAULT if is_default else str(node.place)


def _reading_order(error: RecipeError) -> tuple[str, int]:
    """By file and line; the command line is its own."""
    source, _, rest = (error.where or "").partition(":")
    line = rest.partition(":")[0]
    return source, int(line) if line.isdigit() else 0


def _with_empty_entries(root: Node) -> Node:
    """Named entries without a value, such as ``metrics: {miou: }``, have default settings; they are not left out."""
    for key in (*((name,) for name in NAMED), ("data", "train"), ("data", "val")):
        nodes = root.along(key)
        if len(nodes) > len(key) and isinstance(nodes[-1].value, dict):
            nulls = {name: node for name, node in nodes[-1].value.items() if node.value is None}
            nodes[-1].value.update({name: Node({}, node.place) for name, node in nulls.items()})
    return root


def _normalised(sections: Sections, classes: Classes, model: ModelKeys, optimizer: OptimizerKeys,
                plugins: Mapping[str, Chosen], named: Mapping[str, Mapping[str, Chosen]]) -> Sections:  # fmt: skip
    """With one form for what may be written in several, without what is not enabled, with plugins' defaults."""
    data = sections.data
    enabled = {split: {n: s for n, s in getattr(data, split).items() if s.enabled} for split in ("train", "val")}
    changed: dict[str, Any] = {s: _written_out(plugins[s]) for s in SINGLE}
    if sections.search is not None:
        named_there = {key: _written_out(plugins[kind]) for key, kind in SEARCH.items() if kind in plugins}
        changed["search"] = sections.search.model_copy(update=named_there)
    changed |= {s: {name: _written_out(chosen) for name, chosen in entries.items()} for s, entries in named.items()}
    changed["model"] = model.model_dump(mode="json", exclude={"task"}) | changed["model"]
    changed["optimizer"] = optimizer.model_dump(mode="json") | changed["optimizer"]
    changed["data"] = data.model_copy(update={"classes": {task: list(names) for task, names in classes.items()}, **enabled})
    return sections.model_copy(update=changed)


def _scaling_notes(optimizer: OptimizerKeys, batch: BatchSection) -> Iterator[str]:
    if (factor := optimizer.lr_factor(batch.global_)) != 1:
        yield (f"optimizer.lr is multiplied by {factor:.4g}: {optimizer.lr_scaling} scaling from a batch of "
               f"{optimizer.reference_batch} to batch.global {batch.global_}")  # fmt: skip


def _written_out(chosen: Chosen) -> dict[str, Any]:
    own = {} if chosen.config is None else chosen.config.model_dump(mode="json", by_alias=True)
    return {"plugin": chosen.found.full_name, **own}


def _per_task(mapping: Mapping[str, str], classes: Classes) -> dict[str, dict[str, str]]:
    """A flat taxonomy per task: an entry is a task's if its target is one of that task's classes, or ignore or drop."""
    return {task: {k: v for k, v in mapping.items() if v in (*names, *RESERVED)} for task, names in classes.items()}
