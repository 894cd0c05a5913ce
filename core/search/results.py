"""What a study has taught: which parameters matter."""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from typing import Any

from ..errors import UserError
from .ledger import Ledger
from .trials import Trial


def importances(ledger: Ledger, parameters: Sequence[str], least: int = 8) -> dict[str, float]:
    """Share of the first objective's variance that a parameter explains by itself, the greatest first, over the trials at the
    furthest step that ``least`` of them have reached: PED-ANOVA (Watanabe et al. 2023). Raises UserError for too few."""
    step, trials = _compared(ledger, least)
    shared = [p for p in parameters if len({json.dumps(t.values[p]) for t in trials if p in t.values}) > 1
              and all(p in t.values for t in trials)]  # fmt: skip
    if not shared:
        raise UserError(f"no parameter has several values in the {len(trials)} trials at step {step}")
    return _ped_anova(trials, step, shared)


def _compared(ledger: Ledger, least: int) -> tuple[int, list[Trial]]:
    by_step: dict[int, list[Trial]] = {}
    for trial in ledger.trials:
        for step, _ in trial.curve:
            by_step.setdefault(step, []).append(trial)
    enough = [step for step, trials in by_step.items() if len(trials) >= least]
    if not enough:
        raise UserError(f"fewer than {least} trials have figures at the same step", remedy="wait for more trials")
    return max(enough), by_step[max(enough)]


def _ped_anova(trials: Sequence[Trial], step: int, parameters: Sequence[str]) -> dict[str, float]:
    import optuna
    from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution

    distributions: dict[str, BaseDistribution] = {}
    told: dict[str, list[Any]] = {}
    for name in parameters:
        values = [t.values[name] for t in trials]
        if all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values):
            log = min(values) > 0 and max(values) / min(values) > 50
            distributions[name], told[name] = FloatDistribution(min(values), max(values), log=log), [float(v) for v in values]
        else:
            told[name] = [json.dumps(v, sort_keys=True) for v in values]
            distributions[name] = CategoricalDistribution(sorted(set(told[name])))
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna calls experimental
        study = optuna.create_study()
        for n, trial in enumerate(trials):
            params = {name: told[name][n] for name in parameters}
            losses = trial.losses_at(step) or (0.0,)
            study.add_trial(optuna.trial.create_trial(value=losses[0], params=params, distributions=distributions))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(parameters))
    return dict(sorted(found.items(), key=lambda item: -item[1]))
