"""A study as an Optuna storage, which optuna-dashboard opens and `optuna.load_study` reads."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..files import new_file, write_aside
from ..progress import Progress
from .folder import StudyFolder
from .space import Parameter
from .story import Story
from .trials import COMPLETE, PAUSED, PRUNED, RUNNING, WAITING, Trial

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial, TrialState

_MOST = 1e12
"""What stands for a violation without end, which a data base does not hold."""
_FEW = 100
"""Trials that are written in no time: some milliseconds each."""


def export_optuna(folder: StudyFolder, out: Path) -> str:
    """Write ``folder``'s study as SQLite to ``out``; returns its name there. All trials, in their order: distributions, values,
    states, for one objective its value at every step, limits as constraints; what Optuna has no place for as attributes.

    A paused trial is PRUNED there, every failure FAIL; a population's trial has its last values. Times are those of the study's
    clock, which ended as its last record was written. Raises UserError where ``out`` exists."""
    import optuna

    new_file(out)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna calls experimental
        write_aside(out, lambda aside: _write(folder, f"sqlite:///{Path(aside).resolve()}"))
    return folder.path.resolve().name


def _write(folder: StudyFolder, url: str) -> None:
    import optuna
    from optuna.study import StudyDirection

    story, storage = Story(folder), optuna.storages.RDBStorage(url)
    study = optuna.create_study(
        storage=storage, study_name=folder.path.resolve().name,
        directions=[StudyDirection[f"{direction}imize".upper()] for direction in story.about["objectives"].values()],
    )  # fmt: skip
    study.set_metric_names(list(story.about["objectives"]))
    study.set_user_attr("rungs", story.about["rungs"])
    began = datetime.fromtimestamp(folder.journal.stat().st_mtime) - timedelta(seconds=story.ledger.spent)
    distributions = {p.name: distribution_of(p) for p in story.space.parameters}
    with Progress("exporting", len(story.ledger.trials), "trial", shown=len(story.ledger.trials) > _FEW) as progress:
        for trial in story.ledger.trials:
            study.add_trial(_frozen(story, trial, distributions, began))
            progress.advance(trial.number + 1)
    storage.engine.dispose()


def _frozen(story: Story, trial: Trial, distributions: Mapping[str, BaseDistribution], began: datetime) -> FrozenTrial:
    from optuna.trial import FrozenTrial, TrialState

    objectives, state = story.ledger.objectives, _state(trial)
    start, end = (began + timedelta(seconds=at) for at in story.times.get(trial.number, (0.0, 0.0)))
    is_valued = trial.losses is not None and state in (TrialState.COMPLETE, TrialState.PRUNED)
    values = list(objectives.shown(trial.losses or ()).values()) if is_valued else None
    frozen = FrozenTrial(
        number=-1, trial_id=-1, state=state, value=None, values=values,
        datetime_start=None if state == TrialState.WAITING else start, datetime_complete=end if state.is_finished() else None,
        params={name: told_to_optuna(story.space[name], value) for name, value in trial.values.items()},
        distributions={name: distributions[name] for name in trial.values}, user_attrs=_attributes(trial), system_attrs={},
        intermediate_values=_curve(story, trial),
    )  # fmt: skip
    if objectives.limits and is_valued:
        frozen.set_constraint("limits", min(objectives.violation(trial.figures), _MOST))
    return frozen


def _curve(story: Story, trial: Trial) -> dict[int, float]:
    """Step -> the only objective's figure; nothing for several, which Optuna cannot have."""
    if len(story.about["objectives"]) > 1:
        return {}
    return {step: value for step, losses in trial.curve for value in story.ledger.objectives.shown(losses).values()}


def _attributes(trial: Trial) -> dict[str, Any]:
    found = {"outcome": trial.state, "why": trial.why, "origin": trial.origin, "step": trial.step, "figures": trial.figures}
    return found | ({"weights": list(trial.weights)} if trial.weights is not None else {})


def _state(trial: Trial) -> TrialState:
    from optuna.trial import TrialState

    known = {COMPLETE: TrialState.COMPLETE, PRUNED: TrialState.PRUNED, PAUSED: TrialState.PRUNED, RUNNING: TrialState.RUNNING,
             WAITING: TrialState.WAITING}  # fmt: skip
    return known.get(trial.state, TrialState.FAIL)


def distribution_of(parameter: Parameter) -> BaseDistribution:
    """A parameter as Optuna has it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if parameter.choices:
        return CategoricalDistribution([_choice(one) for one in parameter.choices])
    if parameter.integer:
        return IntDistribution(int(parameter.low), int(parameter.high), parameter.log, int(parameter.step or 1))
    return FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)


def told_to_optuna(parameter: Parameter, value: Any) -> Any:
    """A value as `distribution_of` has it: of equal choices, such as mappings in another order, the one that is there."""
    return _choice(parameter.choices[parameter.choices.index(value)]) if parameter.choices else value


def _choice(value: Any) -> Any:
    """Optuna's choices are plain: lists and mappings are told as JSON."""
    return value if value is None or isinstance(value, (str, bool, int, float)) else json.dumps(value)
