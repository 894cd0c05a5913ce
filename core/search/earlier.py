"""Trials of earlier studies: what an algorithm knows before it proposes the first one of this study."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache as cached
from functools import partial
from pathlib import Path
from typing import Any

from ..errors import RecipeError, near_matches
from ..recipe import Recipe, load_recipe, vary_recipe
from ..recipe_sources import dotted
from ..recipe_values import leaves
from .asking import Asked, overrides_of, trial_recipe
from .folder import StudyFolder
from .journal import read_journal
from .ledger import Ledger
from .space import Values
from .trials import COMPLETE, FAILURES, PAUSED, PRUNED, LossVector, Objectives, Trial

Evaluated = tuple[int, LossVector, float]
"""A step, the losses after it, and by how much they pass limits."""


@dataclass(frozen=True)
class Observation:
    """What is known of a point after ``step``. ``trial``: a number below 0, by which the trials of all earlier studies are told
    apart; none of this study's has it."""

    trial: int
    values: Values
    step: int
    losses: LossVector
    violation: float = 0.0


def observations_from(written: Iterable[dict[str, Any]]) -> list[Observation]:
    """As a study's journal keeps them."""
    return [Observation(**{**row, "losses": tuple(row["losses"])}) for row in written]


def read_earlier(asked: Asked, rungs: Sequence[int], say: Callable[[str], None]) -> list[Observation]:
    """What the studies in ``search.warm_start`` have seen that fits this one's space and ``rungs``; says how many trials that
    is, and why others are left out. What one of two studies does not vary is what its recipe says. Raises UserError for what is
    no study, and for one without this one's figures."""
    found: list[tuple[Values, list[Evaluated]]] = []
    for name in asked.section.warm_start:
        folder = StudyFolder(Path(name))
        _check_figures(asked, folder)
        trials, left_out = _evaluated(asked.objectives, folder), Counter[str]()
        recipe = cached(partial(load_recipe, folder.recipe))
        for trial, seen in trials:
            try:
                there = _comparable(trial, seen, rungs)
                found.append((_as_here(asked, recipe, trial.values), there))
            except (_MisfitError, RecipeError) as misfit:
                left_out[str(misfit).splitlines()[0]] += 1
        reasons = "".join(f"; left out: {n} ({why})" for why, n in left_out.most_common())
        say(f"warm start from {name}: {len(trials) - left_out.total()} of {len(trials)} trials{reasons}")
    return [Observation(-1 - n, values, *one) for n, (values, there) in enumerate(found) for one in there]


def _check_figures(asked: Asked, folder: StudyFolder) -> None:
    about, _ = folder.read()
    known, where = [*about["objectives"], *about["limits"]], asked.recipe.where("search.warm_start")
    for name in (*asked.objectives.directions, *asked.objectives.limits):
        if name not in known:
            raise RecipeError(f"the trials of {folder.path} have no figure {name!r}", where=where,
                              near=near_matches(name, known), remedy=f"they have: {', '.join(known)}")  # fmt: skip


def _evaluated(objectives: Objectives, folder: StudyFolder) -> list[tuple[Trial, list[Evaluated]]]:
    """The trials of a study with all that is known of each, as ``objectives`` see it."""
    ledger, seen = Ledger(objectives), defaultdict[int, list[Evaluated]](list)
    for record in read_journal(folder.journal)[1:]:
        trial = ledger.apply(record)
        if trial is not None and record["kind"] == "reported" and (losses := trial.losses_at(trial.step)) is not None:
            seen[trial.number].append((trial.step, losses, objectives.violation(trial.figures)))
    return [(trial, seen[trial.number]) for trial in ledger.trials]


class _MisfitError(Exception):
    """Why a trial teaches this study nothing."""


def _comparable(trial: Trial, seen: Sequence[Evaluated], rungs: Sequence[int]) -> list[Evaluated]:
    """What is known of it at steps where this study's trials are compared."""
    if trial.state in FAILURES:
        raise _MisfitError(trial.state)
    if trial.state not in (COMPLETE, PRUNED, PAUSED):
        raise _MisfitError("not ended")
    if trial.life:
        raise _MisfitError("its values changed on its way")
    there = [one for one in seen if one[0] in rungs and math.isfinite(one[2])]
    if not there:
        raise _MisfitError(f"no figures at the steps of this study, but at {seen[-1][0]}" if seen else "no figures")
    return there


def _as_here(asked: Asked, recipe: Callable[[], Recipe], theirs: Values) -> Values:
    """The point of this study's space that is a trial's, whose study had ``recipe``."""
    ours: dict[str, Any] = {}
    lookup = cached(lambda: _resolved(vary_recipe(recipe(), overrides_of(theirs))))
    for parameter in asked.space.parameters:
        name = parameter.name
        if not asked.space.is_active(parameter, ours):
            continue
        if name not in theirs and name not in lookup():
            raise _MisfitError(f"no value of {name}")
        ours[name] = theirs[name] if name in theirs else lookup()[name]
        if not parameter.admits(ours[name]):
            raise _MisfitError(f"{name} is not {parameter.told()}")
        ours[name] = parameter.nearest(ours[name])
    if others := theirs.keys() - ours.keys():
        here = _resolved(trial_recipe(asked.recipe, ours))
        if different := sorted(name for name in others if here.get(name) != theirs[name]):
            raise _MisfitError(f"another {', '.join(different)}")
    return ours


def _resolved(recipe: Recipe) -> dict[str, Any]:
    return {dotted(key): value for key, value in leaves(recipe.resolved())}
