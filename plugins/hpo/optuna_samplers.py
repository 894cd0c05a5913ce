"""Optuna's samplers, asked and told. Optuna keeps nothing: its study is in memory, made again from the journal."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from drivetrain import AlgorithmContext, LossVector, Parameter, SearchAlgorithm, UserError, Values, hash_key

from .config import CmaEsConfig, Nsga2Config, QmcConfig, StartupConfig, TpeConfig

optuna.logging.set_verbosity(optuna.logging.ERROR)


class Sampler(SearchAlgorithm):
    """A sampler with a study of its own. Choices are told by their index, so that they may be anything. ``replays``: it knows
    more than trials and losses (a trial's generation, how many points were drawn), so it is asked again for what others have
    proposed and for what the journal holds, and takes these in its own answer's place."""

    def __init__(self, context: AlgorithmContext, sampler: optuna.samplers.BaseSampler, replays: bool = False):
        self.space, self.constrained, self.replays = context.space, context.constrained, replays
        self.study = optuna.create_study(sampler=sampler, directions=["minimize"] * context.objectives)
        self._asked: optuna.Trial | None = None
        self._running: dict[int, optuna.Trial | None] = {}
        self._distributions = {p.name: _distribution(p) for p in self.space.parameters}

    def ask(self, number: int) -> Values:
        self._drop()
        self._asked, self._proposed = self._ask()
        return self._proposed

    def begin(self, number: int, values: Values) -> None:
        if self.replays and self._asked is None:
            for _ in range(self.ASKS):
                if self.ask(number) == values:
                    break
        if self._asked is not None and values == self._proposed:
            self._running[number], self._asked = self._asked, None
            return
        self._drop()
        self._running[number] = self._ask(values)[0] if self.replays else None

    def tell(self, number: int, values: Values, losses: LossVector | None, violation: float = 0.0) -> None:
        if self.replays and number not in self._running:  # an earlier study's, or come up from a rung: a member like others
            self._running[number] = self._ask(values)[0]
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

    def _ask(self, instead: Values | None = None) -> tuple[optuna.Trial, Values]:
        if instead is not None:
            self.study.enqueue_trial({name: _told(self.space[name], value) for name, value in instead.items()})
        trial, values = self.study.ask(), dict[str, Any]()
        _ = trial.relative_params  # it counts a trial as it draws, which Optuna leaves out where all values are given
        for parameter in self.space.parameters:
            if self.space.is_active(parameter, values):
                told = trial._suggest(parameter.name, self._distributions[parameter.name])
                values[parameter.name] = _value(parameter, told)
        return trial, values

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
    high = parameter.high if parameter.step is None else parameter.at(1.0)  # of a step that does not divide the range, too
    if parameter.integer:
        return IntDistribution(int(parameter.low), int(high), parameter.log, int(parameter.step or 1))
    return FloatDistribution(parameter.low, high, parameter.log, parameter.step)


def _value(parameter: Parameter, told: Any) -> Any:
    return parameter.choices[told] if parameter.choices else parameter.nearest(told)


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


class CmaEs(Sampler):
    """Where a warm start has ``ENOUGH`` trials, their best tenth gives the first distribution (Nomura et al. 2021)."""

    ENOUGH = 10

    def __init__(self, config: CmaEsConfig, context: AlgorithmContext):
        made = functools.partial(optuna.samplers.CmaEsSampler, seed=_seed(context, "cmaes"), warn_independent_sampling=False)
        super().__init__(context, made(n_startup_trials=config.startup, sigma0=config.sigma), replays=True)
        self._earlier: list[FrozenTrial] = []
        self._taught = made(n_startup_trials=1, source_trials=self._earlier)
        self._learns = config.sigma is None and not any(p.when for p in self.space.parameters)

    def tell(self, number: int, values: Values, losses: LossVector | None, violation: float = 0.0) -> None:
        if number >= 0:
            super().tell(number, values, losses, violation)
        elif self._learns:
            numbers = {n: v for n, v in values.items() if not (self.space[n].choices or self._distributions[n].single())}
            self._earlier.append(self._frozen(numbers, losses, violation))
            if len(self._earlier) == self.ENOUGH:
                self.study.sampler = self._taught


@_quietly
def cmaes(config: CmaEsConfig, context: AlgorithmContext) -> SearchAlgorithm:
    """Hansen and Ostermeier 2001. Choices are drawn at random: it knows numbers alone. Raises UserError for several
    objectives."""
    if context.objectives > 1:
        raise UserError("cmaes knows one objective", where="search.algorithm", remedy="name another plugin, such as nsga2, or "
                        "leave search.algorithm out")  # fmt: skip
    return CmaEs(config, context)


class Qmc(Sampler):
    is_sequence = True


@_quietly
def qmc(config: QmcConfig, context: AlgorithmContext) -> SearchAlgorithm:
    """Points that fill the space evenly; nothing teaches it."""
    return Qmc(context, optuna.samplers.QMCSampler(
        qmc_type=config.sequence, scramble=True, seed=_seed(context, "qmc"), warn_independent_sampling=False,
        warn_asynchronous_seeding=False,
    ), replays=True)  # fmt: skip


@_quietly
def nsga2(config: Nsga2Config, context: AlgorithmContext) -> SearchAlgorithm:
    """Deb et al. 2002."""
    return Sampler(context, optuna.samplers.NSGAIISampler(
        population_size=config.population, mutation_prob=config.mutation, seed=_seed(context, "nsga2"),
    ), replays=True)  # fmt: skip
