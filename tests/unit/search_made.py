"""A study without jobs, for tests: a loss that is known, on a virtual clock."""

from __future__ import annotations

import math
from pathlib import Path

from drivetrain import AlgorithmContext, Parameter, SchedulerContext, Space
from drivetrain.manager import get_manager
from drivetrain.plugins.hpo.simulated import Failure, SimulatedExecutor
from drivetrain.search.controller import Controller, Limits
from drivetrain.search.journal import Journal
from drivetrain.search.ledger import Ledger
from drivetrain.search.proposer import Proposer
from drivetrain.search.trials import Objectives

SPACE = Space((
    Parameter("lr", low=1e-5, high=1e-1, log=True),
    Parameter("depth", low=2, high=6, integer=True),
    Parameter("kind", choices=("plain", "wide")),
    Parameter("width", choices=(32, 64, 128), when=(("kind", ("wide",)),)),
))  # fmt: skip


def loss(values, step):
    """Falls with the step; the best is lr 1e-3, depth 4, wide, 128."""
    out = (math.log10(values["lr"]) + 3) ** 2 + 0.1 * (values["depth"] - 4) ** 2 + 1 / step
    return {"loss": out + (0.5 if values["kind"] == "plain" else 0.1 * (128 - values["width"]) / 128)}


PLANE = Space((Parameter("x", low=-5.0, high=5.0), Parameter("y", low=-5.0, high=5.0), Parameter("kind", choices=("a", "b"))))


def bowl(values, step):
    """The best is x 3, y -3, of either kind."""
    return {"loss": (values["x"] - 3) ** 2 + (values["y"] + 3) ** 2}


def miou(values, step):
    """Figures of a real recipe's trial: the best rate is 1e-3."""
    return {"miou": 1 / (1 + abs(math.log10(values["optimizer.lr"]) + 3)) - 1 / (1 + step)}


def plugin(kind, name, **settings):
    found = get_manager().resolve(kind, name)
    model = found.load_config()
    return lambda context: found.load_factory()(None if model is None else model(**settings), context)


def controller(algorithm="random", scheduler="none", trials=20, journal: Path | None = None, objective=loss, slots=3, steps=16,
               space=SPACE, seed=1, executor=None, objectives=None, given=(), earlier=(), algorithm_settings=None, limits=None,
               scheduler_settings=None, refusal=lambda values: None, asked_to_stop=lambda: None, every=None,
               durable=False):  # fmt: skip
    goals = objectives or Objectives({"loss": "min"})
    made = plugin("trial_scheduler", scheduler, **(scheduler_settings or {}))(
        SchedulerContext(space, steps, seed, every, trials)
    )
    make = plugin("search_algorithm", algorithm, **(algorithm_settings or {}))
    context = AlgorithmContext(space, seed, len(goals.directions), trials, bool(goals.limits))
    proposer = Proposer(space, made.rungs, lambda level: make(context), algorithm, seed, given, earlier)
    runs = executor or SimulatedExecutor(objective, slots, lambda values: 1.0 + values.get("depth", 0) / 10, every=every)
    book = Journal(journal, durable=durable) if journal is not None else None
    return Controller(Ledger(goals), book, proposer, made, runs, limits or Limits(trials=trials), refusal,
                      asked_to_stop=asked_to_stop)  # fmt: skip


def values_of(one):
    return [trial.values for trial in one.ledger.trials]


__all__ = ["PLANE", "SPACE", "Failure", "SimulatedExecutor", "bowl", "controller", "loss", "plugin", "values_of"]
