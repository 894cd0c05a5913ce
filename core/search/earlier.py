"""Trials of earlier studies: what an algorithm knows before it proposes the first one of this study."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import RecipeError, near_matches
from .asking import Asked
from .folder import StudyFolder
from .journal import read_journal
from .ledger import Ledger
from .space import Space, Values
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
    is, and why others are left out. Raises UserError for what is no study, and for one without this one's figures."""
    found: list[tuple[Trial, list[Evaluated]]] = []
    for name in asked.section.warm_start:
        folder = StudyFolder(Path(name))
        _check_figures(asked, folder)
        trials, left_out = _evaluated(asked.objectives, folder), Counter[str]()
        for trial, seen in trials:
            there = [one for one in seen if one[0] in rungs and math.isfinite(one[2])]
            why = _misfit(asked.space, trial, seen, there)
            if why is None:
                found.append((trial, there))
            else:
                left_out[why] += 1
        reasons = "".join(f"; left out: {n} ({why})" for why, n in left_out.most_common())
        say(f"warm start from {name}: {len(trials) - left_out.total()} of {len(trials)} trials{reasons}")
    return [Observation(-1 - n, trial.values, *one) for n, (trial, there) in enumerate(found) for one in there]


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


def _misfit(space: Space, trial: Trial, seen: Sequence[Evaluated], there: Sequence[Evaluated]) -> str | None:
    """Why a trial teaches this study nothing; None: it does."""
    if trial.state in FAILURES:
        return trial.state
    if trial.state not in (COMPLETE, PRUNED, PAUSED):
        return "not ended"
    if trial.life:
        return "its values changed on its way"
    active = {p.name: p for p in space.active(trial.values)}
    for name, value in trial.values.items():
        if name not in active:
            return f"{name} is no parameter"
        if not active[name].admits(value):
            return f"{name} is not {active[name].told()}"
    if missing := active.keys() - trial.values.keys():
        return f"no value of {', '.join(sorted(missing))}"
    if not there:
        return f"no figures at the steps of this study, but at {seen[-1][0]}" if seen else "no figures"
    return None
