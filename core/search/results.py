"""What a study has taught: which parameters matter."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from ..errors import UserError
from .ledger import Ledger
from .optuna_export import distribution_of, told_to_optuna
from .space import Parameter, Space, key_of
from .trials import Trial


def importances(ledger: Ledger, space: Space, least: int = 8) -> dict[str, float]:
    """Share of the first objective's variance that a parameter of ``space`` explains by itself, the greatest first, over the
    trials at the furthest step that ``least`` of them have reached: PED-ANOVA (Watanabe et al. 2023). Parameters that some of
    these trials do not have are left out. Raises UserError for too few."""
    step, trials = _compared(ledger, least)
    shared = [p for p in space.parameters if all(p.name in t.values for t in trials)]
    varied = [p for p in shared if len({key_of({p.name: t.values[p.name]}) for t in trials}) > 1]
    if not varied:
        raise UserError(f"no parameter has several values in the {len(trials)} trials at step {step}")
    return _ped_anova(trials, step, varied)


def _compared(ledger: Ledger, least: int) -> tuple[int, list[Trial]]:
    by_step: dict[int, list[Trial]] = {}
    for trial in ledger.trials:
        for step, _ in trial.curve:
            by_step.setdefault(step, []).append(trial)
    enough = [step for step, trials in by_step.items() if len(trials) >= least]
    if not enough:
        raise UserError(f"fewer than {least} trials have figures at the same step", remedy="wait for more trials")
    return max(enough), by_step[max(enough)]


def _ped_anova(trials: Sequence[Trial], step: int, parameters: Sequence[Parameter]) -> dict[str, float]:
    """With the space's own distributions: a few numbers told as a range would look important whatever they do."""
    import optuna

    distributions = {p.name: distribution_of(p) for p in parameters}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what Optuna calls experimental
        study = optuna.create_study()
        for trial in trials:
            params = {p.name: told_to_optuna(p, trial.values[p.name]) for p in parameters}
            losses = trial.losses_at(step) or (0.0,)
            study.add_trial(optuna.trial.create_trial(value=losses[0], params=params, distributions=distributions))
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator, params=list(distributions))
    return dict(sorted(found.items(), key=lambda item: -item[1]))
