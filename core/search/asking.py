"""A recipe's section ``search``, checked against the recipe that it is to vary."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, get_args

from ..errors import RecipeError, UserError, near_matches
from ..manager import PluginManager, get_manager
from ..recipe import Chosen, Recipe, vary_recipe
from ..recipe_schema import SINGLE, Cost, ParameterSection, SearchSection
from ..recipe_sources import flow
from ..scoring import flat
from ..seeding import Rng
from .contracts import AlgorithmContext, SchedulerContext
from .space import Parameter, Space, Values
from .trials import Objectives

OF_TRAINING = "train"
"""What the names of figures of training begin with: ``train.loss`` is that of the last record."""
OF_COST = "cost"
"""Of what a model costs: ``cost.parameters``, as ``evaluation.cost`` measures it."""
FIGURES_OF_TRAINING = ("loss", "lr", "grad_norm", "skipped", "seconds", "samples_per_second", "waiting", "replaced",
                       "read_mb_per_second")  # fmt: skip
"""And ``losses.NAME``, ``loading.NAME``, whose names hang on the model and the loader."""
FOR_TRIALS = ("search=null", "gates=null", "evaluation.at_end=true", "checkpoint.at_end=true")
"""What every trial's recipe has: it leaves each rung evaluated and saved."""
THE_STUDYS = ("search", "train.steps", "train.stop_at", "evaluation.at_end", "checkpoint.at_end")
"""What is the same for all trials of a study."""
BELOW_A_RUNS_MODEL = ("seed", "data", "batch", "loader", "transforms", "model", "optimizer.plugin", "precision")
"""What population-based training cannot change within a trial: weights and the order of samples hang on it."""


@dataclass(frozen=True)
class Asked:
    """What a recipe asks a search for. ``algorithm`` is None where it is to be chosen."""

    recipe: Recipe
    section: SearchSection
    space: Space
    objectives: Objectives
    algorithm: Chosen | None
    scheduler: Chosen
    executor: Chosen

    def algorithm_context(self, level: int = 0) -> AlgorithmContext:
        number = len(self.objectives.directions)
        return AlgorithmContext(self.space, self.recipe.seed + level, number, self.section.trials, bool(self.objectives.limits))

    def scheduler_context(self) -> SchedulerContext:
        recipe = self.recipe
        return SchedulerContext(self.space, recipe.train.steps, recipe.seed, recipe.evaluation.every, self.section.trials)


def read_search(recipe: Recipe) -> Asked:
    """Raises RecipeError for what cannot be searched: no section, keys that the recipe has not, values that it refuses all of,
    objectives that none of its metrics gives."""
    section = recipe.sections.search
    if section is None:
        raise RecipeError(f"{recipe.source} has no section search", remedy="add: search: {space: {optimizer.lr: {low: 1e-4, "
                          "high: 1e-2, log: true}}, trials: 20}")  # fmt: skip
    space = _located(recipe, lambda: Space(tuple(_parameter(name, p) for name, p in section.space.items())))
    objectives = Objectives(dict(_objectives(recipe, section)), _limits(recipe, section))
    scheduler = recipe.plugin("trial_scheduler")
    asked = Asked(recipe, section, space, objectives, recipe.plugins.get("search_algorithm"), scheduler,
                  recipe.plugin("trial_executor"))  # fmt: skip
    _check_not_the_studys(asked)
    check_keys(asked)
    _check_ranks(asked)
    for number, point in enumerate(section.given):
        space.check(point, recipe.root.where(("search", "given", number)))
    if section.trials is None and section.budget is None:
        raise RecipeError("has neither trials nor a budget: it would never end", where=recipe.where("search"))
    if len(objectives.directions) > 1 and scheduler.found.declaration.default is False:
        raise RecipeError("trials with several objectives all run to their end: which one should a rung go by?",
                          where=recipe.where("search.scheduler"), remedy="leave search.scheduler out")  # fmt: skip
    return asked


def overrides_of(values: Values) -> list[str]:
    """A point as ``key=value``."""
    return [f"{name}={flow(value)}" for name, value in values.items()]


def trial_recipe(recipe: Recipe, values: Values, manager: PluginManager | None = None) -> Recipe:
    """Raises RecipeError where the recipe refuses the point."""
    return vary_recipe(recipe, [*FOR_TRIALS, *_measured(recipe), *overrides_of(values)], manager)


def _measured(recipe: Recipe) -> list[str]:
    """What each trial is to measure of its model, for figures of cost."""
    section = recipe.sections.search
    asked = [] if section is None else [*_directions(section.objective), *section.constraints]
    costs = [name.partition(".")[2] for name in asked if name.partition(".")[0] == OF_COST]
    every = list(dict.fromkeys([*recipe.evaluation.cost, *costs]))
    return [f"evaluation.cost={flow(every)}"] if costs else []


def choose_algorithm(asked: Asked, manager: PluginManager | None = None) -> tuple[Chosen, str]:
    """The one that the recipe names, or that suits the study best; and how it came to that, in words."""
    if asked.algorithm is not None:
        return asked.algorithm, "as asked"
    context = asked.algorithm_context()
    trials = f"{context.trials} trials" if context.trials else "trials without a limit"
    points = f"{asked.space.size} points" if asked.space.size else "endless points"
    why = f"chosen for {len(asked.space.parameters)} parameters ({points}), {trials}, {context.objectives} objective(s)"
    return suited(context, manager), why


def suited(context: AlgorithmContext, manager: PluginManager | None = None) -> Chosen:
    """The algorithm that says it suits a study best, with its default settings."""
    found = [f for f in (manager or get_manager()).found("search_algorithm") if f.declaration.suits]
    if not found:
        raise UserError("no search algorithm is installed that could be chosen", remedy="name one in search.algorithm")
    best = max(found, key=lambda f: f.load_suits()(context))
    config = best.load_config()
    return Chosen(best, None if config is None else config.model_validate({}))


@contextmanager
def told_at(recipe: Recipe, key: str) -> Iterator[None]:
    """Mistakes that are told within, by plugins above all, get the place of ``key`` (dotted) in the recipe's file."""
    try:
        yield
    except UserError as error:
        if error.where not in (None, key):
            raise
        raise type(error)(error.message, where=recipe.where(key), near=error.near, remedy=error.remedy) from error


# ---------------------------------------------------------------- the space


def _parameter(name: str, p: ParameterSection) -> Parameter:
    when = tuple((other, tuple(v) if isinstance(v, list) else (v,)) for other, v in p.when.items())
    if p.choices:
        return Parameter(name, choices=tuple(p.choices), when=when)
    assert p.low is not None and p.high is not None
    kind = int if p.is_integer else float
    step = None if p.step is None else kind(p.step)
    return Parameter(name, low=kind(p.low), high=kind(p.high), log=p.log, step=step, integer=p.is_integer, when=when)


def _check_not_the_studys(asked: Asked) -> None:
    """Raises RecipeError for keys that a study itself sets, and for mappings that have one of them."""
    for name in (p.name for p in asked.space.parameters):
        if _touches(name, THE_STUDYS):
            raise RecipeError("cannot vary: all trials of a study have the same steps, and are evaluated and saved where they "
                              "leave", where=asked.recipe.root.where(("search", "space", name)),
                              remedy="how far a trial goes is the scheduler's: search.scheduler: {plugin: asha}")  # fmt: skip


def _touches(name: str, keys: Iterable[str]) -> bool:
    """Whether ``name`` is one of ``keys``, lies below one, or is a mapping that may hold one."""
    return any(f"{key}.".startswith(f"{name}.") or name.startswith(f"{key}.") for key in keys)


def _check_ranks(asked: Asked) -> None:
    """Raises RecipeError for a number of ranks with which every trial would be refused."""
    ranks, slots = asked.section.ranks, asked.recipe.batch.slots
    if slots % ranks and not any(p.name.partition(".")[0] == "batch" for p in asked.space.parameters):
        raise RecipeError(f"{ranks} ranks do not divide the {slots} micro-batches of a step",
                          where=asked.recipe.where("search.ranks"),
                          remedy="their number is batch.global / batch.micro")  # fmt: skip


def check_keys(asked: Asked) -> None:
    """Each parameter is tried on the recipe at a few of its values, the first possible ones of all others given. Raises
    RecipeError for a key that is none, for a choice that is none, and for a key none of whose values the recipe accepts."""
    for parameter in asked.space.parameters:
        refused = [(values[parameter.name], r) for values in _samples(asked.space, parameter)
                   if (r := _refusal(asked.recipe, values)) is not None]  # fmt: skip
        unknown = [r for _, r in refused if "no such key" in r.text() and parameter.name in (r.where or "")]
        misspelt = [r for value, r in refused if r.near and not unknown and not _passes_with_others(asked, parameter, value)]
        all_refused = len(refused) == len(_values(parameter)) and not _passes_with_others(asked, parameter)
        if unknown or misspelt or all_refused:
            error = [*unknown, *misspelt, *(r for _, r in refused)][0]
            where = asked.recipe.root.where(("search", "space", parameter.name))
            remedy = "\n".join([*_condition(parameter), error.remedy or ""]) if unknown else error.remedy
            raise RecipeError(error.message, where=where, near=error.near, remedy=remedy and remedy.rstrip())


def _condition(parameter: Parameter) -> list[str]:
    """What to say of a key that the recipe's plugin has not."""
    section = parameter.name.partition(".")[0]
    return [f"where it is a key of some plugins alone, say so: when: {{{section}.plugin: NAME}}"] if section in SINGLE else []


def _passes_with_others(asked: Asked, parameter: Parameter, value: Any = None, draws: int = 50) -> bool:
    """Whether some random point with this parameter (and its ``value``) is accepted: one value may need another one's."""
    fixed = None if value is None else {parameter.name: value}
    points = (asked.space.draw(Rng(asked.recipe.seed, "check", n), fixed) for n in range(draws))
    return any(parameter.name in values and _refusal(asked.recipe, values) is None for values in points)


def _values(parameter: Parameter) -> list[Any]:
    return list(parameter.choices) if parameter.choices else [parameter.low, parameter.high]


def _samples(space: Space, parameter: Parameter) -> Iterator[dict[str, Any]]:
    """Points with each of its `_values`, in which nothing is set but what it depends on."""
    needed = _conditions(space, parameter)
    yield from ({**needed, parameter.name: parameter.at(parameter.unit(v)) if not parameter.choices else v}
                for v in _values(parameter))  # fmt: skip


def _conditions(space: Space, parameter: Parameter) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, wanted in parameter.when:
        out |= {**_conditions(space, space[name]), name: wanted[0]}
    return out


def _refusal(recipe: Recipe, values: Values) -> RecipeError | None:
    try:
        trial_recipe(recipe, values)
    except RecipeError as error:
        return error
    return None


def _located(recipe: Recipe, make: Any) -> Any:
    """Mistakes of the space with their place in the file."""
    try:
        return make()
    except UserError as error:
        name = (error.where or "").removeprefix("search.space.").removesuffix(".when")
        where = recipe.root.where(("search", "space", name, "when"))
        raise RecipeError(error.message, where=where, near=error.near, remedy=error.remedy) from error


# ---------------------------------------------------------------- the objectives


def _objectives(recipe: Recipe, section: SearchSection) -> Iterator[tuple[str, str]]:
    """Each figure with its direction."""
    asked = section.objective
    if not asked:
        names = [recipe.checkpoint.best] if recipe.checkpoint.best else list(recipe.metrics)
        if len(names) != 1:
            raise RecipeError("is needed: the figure to search for", where=recipe.where("search.objective"),
                              remedy=f"metrics: {', '.join(names) or 'none'}")  # fmt: skip
        asked = names[0]
    for name, direction in _directions(asked).items():
        _check_figure(recipe, name, "search.objective")
        yield name, direction or _direction(recipe, name)


def _directions(asked: str | Sequence[str] | Mapping[str, str] | None) -> dict[str, str | None]:
    """Figure -> its direction, None where nothing is said of it."""
    if isinstance(asked, Mapping):
        return dict(asked)
    return dict.fromkeys([asked] if isinstance(asked, str) else asked or ())


def _limits(recipe: Recipe, section: SearchSection) -> dict[str, tuple[float | None, float | None]]:
    for name in section.constraints:
        _check_figure(recipe, name, "search.constraints")
    return {name: (limit.min, limit.max) for name, limit in section.constraints.items()}


def _check_figure(recipe: Recipe, name: str, key: str) -> None:
    entry, _, figure = name.partition(".")
    own = {OF_TRAINING: FIGURES_OF_TRAINING, OF_COST: get_args(Cost)}
    if entry in recipe.metrics or (entry == OF_TRAINING and figure.startswith(("losses.", "loading."))):
        return
    if entry not in own:
        near = near_matches(entry, recipe.metrics) or near_matches(f"{OF_COST}.{name}", _dotted(own))
        remedy = "a metric's name, METRIC.FIGURE, cost.FIGURE of the model, or train.loss and others of training's records"
        raise RecipeError(f"no metric {entry!r} in metrics", where=recipe.where(key), near=near, remedy=remedy)
    if figure not in own[entry]:
        raise RecipeError(f"{entry} has no figure {figure!r}", where=recipe.where(key), near=near_matches(name, _dotted(own)),
                          remedy=f"figures: {', '.join(own[entry])}")  # fmt: skip


def _dotted(figures: Mapping[str, Sequence[str]]) -> list[str]:
    return [f"{entry}.{figure}" for entry, names in figures.items() for figure in names]


def _direction(recipe: Recipe, name: str) -> str:
    entry, _, figure = name.partition(".")
    if name == f"{OF_TRAINING}.loss" or entry == OF_COST:
        return "min"
    if figure or entry == OF_TRAINING:
        raise RecipeError(f"is more of {name} better, or less?", where=recipe.where("search.objective"),
                          remedy=f"objective: {{{name}: max}}, or min")  # fmt: skip
    return recipe.metrics[entry].found.declaration.direction


def check_figures(asked: Asked) -> None:
    """Raises RecipeError for figures that the metrics do not have. Builds those that are asked for more than their own."""
    names = [name.partition(".") for name in (*asked.objectives.directions, *asked.objectives.limits)]
    inner = [(entry, figure) for entry, _, figure in names if figure and entry not in (OF_TRAINING, OF_COST)]
    if not inner:
        return  # and torch is not needed
    from ..evaluate import build_metrics
    from ..gates import named_figures

    metrics = build_metrics(asked.recipe)
    for entry, figure in inner:
        known = named_figures(metrics[entry].compute())
        if figure not in known:
            raise RecipeError(f"{entry} has no figure {figure!r}", where=asked.recipe.where("search"),
                              near=near_matches(figure, known), remedy=f"figures: {', '.join(known)}")  # fmt: skip


def figures_of(names: Iterable[str], evaluation: Mapping[str, Any], training: Mapping[str, Any],
               own: Mapping[str, str]) -> dict[str, float | None]:  # fmt: skip
    """The figures ``names`` of an evaluation's record and of the last record of training before it; ``own``: metric -> the
    name of its own figure."""
    return {name: _figure(name, evaluation, training, own) for name in names}


def _figure(name: str, evaluation: Mapping[str, Any], training: Mapping[str, Any], own: Mapping[str, str]) -> float | None:
    entry, _, figure = name.partition(".")
    of_entry = training if entry == OF_TRAINING else evaluation.get(entry, {})
    value = {".".join(path): value for path, value in flat(of_entry)}.get(figure or own.get(entry, entry))
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def check_population(asked: Asked) -> None:
    """Raises RecipeError for parameters that a trial cannot change on its way."""
    fixed = [p.name for p in asked.space.parameters if _touches(p.name, BELOW_A_RUNS_MODEL)]
    if fixed:
        raise RecipeError(
            f"{', '.join(fixed)} cannot change while a trial goes on",
            where=asked.recipe.where("search.scheduler"),
            remedy="population-based training is for rates, schedules and losses; take asha for what shapes the model",
        )


def told(values: Values) -> str:
    """A point in one line, keys by their last part where it is no other's too."""
    ends = Counter(name.rpartition(".")[2] for name in values)
    names = {name: end if ends[end := name.rpartition(".")[2]] == 1 else name for name in values}
    shown = {names[name]: f"{v:.4g}" if isinstance(v, float) else v for name, v in values.items()}
    return "  ".join(f"{name} {v if isinstance(v, str) else json.dumps(v)}" for name, v in shown.items())
