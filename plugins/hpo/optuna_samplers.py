"""Optuna's samplers, asked and told. Optuna keeps nothing: its study is in memory, made again from the journal."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from drivetrain import AlgorithmContext, LossVector, Parameter, SearchAlgorithm, Values, hash_key

from .config import CmaEsConfig, Nsga2Config, QmcConfig, StartupConfig, TpeConfig

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Sampler(SearchAlgorithm):
    """A sampler with a study of its own. Choices are told by their index, so that they may be anything."""

    def __init__(self, context: AlgorithmContext, sampler: optuna.samplers.BaseSampler):
        self.space, self.constrained = context.space, context.constrained
        self.study = optuna.create_study(sampler=sampler, directions=["minimize"] * context.objectives)
        self._asked: optuna.Trial | None = None
        self._running: dict[int, optuna.Trial | None] = {}
        self._distributions = {p.name: _distribution(p) for p in self.space.parameters}

    def ask(self, number: int) -> Values:
        self._drop()
        self._asked = trial = self.study.ask()
        values: dict[str, Any] = {}
        for parameter in self.space.parameters:
            if self.space.is_active(parameter, values):
                told = trial._suggest(parameter.name, self._distributions[parameter.name])
                values[parameter.name] = _value(parameter, told)
        self._proposed = values
        return values

    def begin(self, number: int, values: Values) -> None:
        if self._asked is not None and values == self._proposed:
            self._running[number], self._asked = self._asked, None
            return
        self._drop()
        self._running[number] = None

    def tell(self, number: int, values: Values, losses: LossVector | None, violation: float = 0.0) -> None:
        trial = self._running.pop(number, None)
        if trial is None:
            self.study.add_trial(self._frozen(values, losses, violation))
            return
        for name, value in self._constraints(violation).items():
            trial.set_constraint(name, value)
        if losses is None:
            self.study.tell(trial, state=TrialState.FAIL)
        else:
            self.study.tell(trial, list(losses))

    def forget(self, number: int) -> None:
        trial = self._running.pop(number, None)
        if trial is not None:
            self.study.tell(trial, state=TrialState.FAIL)

    def _constraints(self, violation: float) -> dict[str, float]:
        """Optuna's: above 0 is too much; what is without end it cannot compare."""
        return {"limits": min(violation, 1e12)} if self.constrained else {}

    def _drop(self) -> None:
        if self._asked is not None:
            self.study.tell(self._asked, state=TrialState.FAIL)
            self._asked = None

    def _frozen(self, values: Values, losses: LossVector | None, violation: float) -> FrozenTrial:
        told = {name: _told(self.space[name], value) for name, value in values.items()}
        return create_trial(
            state=TrialState.FAIL if losses is None else TrialState.COMPLETE, values=None if losses is None else list(losses),
            params=told, distributions={name: self._distributions[name] for name in told},
            constraints=self._constraints(violation),
        )  # fmt: skip


def _distribution(parameter: Parameter) -> BaseDistribution:
    if parameter.choices:
        return CategoricalDistribution(range(len(parameter.choices)))
    if parameter.integer:
        return IntDistribution(int(parameter.low), int(parameter.high), parameter.log, int(parameter.step or 1))
    return FloatDistribution(parameter.low, parameter.high, parameter.log, parameter.step)


def _value(parameter: Parameter, told: Any) -> Any:
    return parameter.choices[told] if parameter.choices else told


def _told(parameter: Parameter, value: Any) -> Any:
    return parameter.choices.index(value) if parameter.choices else value


def _quietly(make: Callable[..., SearchAlgorithm]) -> Callable[..., SearchAlgorithm]:
    """Without Optuna's warnings of what it calls experimental: their names are pinned by our tests."""

    @functools.wraps(make)
    def made(config: Any, context: AlgorithmContext) -> SearchAlgorithm:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return make(config, context)

    return made


def _seed(context: AlgorithmContext, name: str) -> int:
    return hash_key(context.seed, name) % 2**32


@_quietly
def tpe(config: TpeConfig, context: AlgorithmContext) -> SearchAlgorithm:
    """Bergstra et al. 2011, as Optuna has it: multivariate, running trials counted as bad ones."""
    has_conditions = any(p.when for p in context.space.parameters)
    return Sampler(context, optuna.samplers.TPESampler(
        n_startup_trials=config.startup, n_ei_candidates=config.candidates, seed=_seed(context, "tpe"), multivariate=True,
        group=has_conditions,
    ))  # fmt: skip


@_quietly
def gp(config: StartupConfig, context: AlgorithmContext) -> SearchAlgorithm:
    return Sampler(context, optuna.samplers.GPSampler(
        seed=_seed(context, "gp"), n_startup_trials=config.startup, deterministic_objective=False,
        warn_independent_sampling=False,
    ))  # fmt: skip


@_quietly
def cmaes(config: CmaEsConfig, context: AlgorithmContext) -> SearchAlgorithm:
    """Hansen and Ostermeier 2001. Choices are drawn at random: it knows numbers alone."""
    return Sampler(context, optuna.samplers.CmaEsSampler(
        seed=_seed(context, "cmaes"), n_startup_trials=config.startup, sigma0=config.sigma, warn_independent_sampling=False,
    ))  # fmt: skip


@_quietly
def qmc(config: QmcConfig, context: AlgorithmContext) -> SearchAlgorithm:
    """Numbers fill the space evenly, choices are drawn at random."""
    return Sampler(context, optuna.samplers.QMCSampler(
        qmc_type=config.sequence, scramble=True, seed=_seed(context, "qmc"), warn_independent_sampling=False,
        warn_asynchronous_seeding=False,
    ))  # fmt: skip


@_quietly
def nsga2(config: Nsga2Config, context: AlgorithmContext) -> SearchAlgorithm:
    """Deb et al. 2002."""
    return Sampler(context, optuna.samplers.NSGAIISampler(
        population_size=config.population, mutation_prob=config.mutation, seed=_seed(context, "nsga2"),
    ))  # fmt: skip
