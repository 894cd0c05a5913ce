"""Population-based training and random search at the same budget of steps: trainings that go on from others' weights."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from unit.search_made import SimulatedExecutor, controller

from drivetrain import Job, Parameter, Space
from drivetrain.plugins.hpo.simulated import Running

SCHEDULERS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "random": ("none", {}), "pbt": ("pbt", {}), "pbt3": ("pbt", {"parents": 3}),
}  # fmt: skip


class Trainings(SimulatedExecutor):
    """Real trainings in steps: ``begin(number)`` makes a state, ``advance(state, values, steps)`` trains it in place and
    returns its loss. A state after each rung is what checkpoints are."""

    def __init__(self, begin: Callable[[int], Any], advance: Callable[[Any, Mapping[str, Any], int], float], slots: int):
        super().__init__(lambda values, step: {}, slots)
        self.begin, self.advance = begin, advance
        self.saved: dict[tuple[int, int], Any] = {}
        self._state: dict[int, tuple[Any, int]] = {}

    def start(self, job: Job) -> None:
        if job.weights is not None and self.lives[job.number][0] != job.life:
            self._state[job.number] = copy.deepcopy(self.saved[job.weights]), job.weights[1]
        elif job.number not in self._state:
            self._state[job.number] = self.begin(job.number), 0
        super().start(job)

    def figures(self, running: Running) -> Mapping[str, float]:
        number, (state, at) = running.job.number, self._state[running.job.number]
        loss = self.advance(state, running.job.values, running.step - at)
        self._state[number] = state, running.step
        self.saved[number, running.step] = copy.deepcopy(state)
        return {"loss": loss}


def _best(kind: str, seed: int, space: Space, steps: int, interval: int, population: int, begin, advance) -> float:
    scheduler, settings = SCHEDULERS[kind]
    if scheduler == "pbt":
        settings = {"population": population, "interval": interval, **settings}
    one = controller("random", scheduler, population, space=space, steps=steps, seed=seed, scheduler_settings=settings,
                     executor=Trainings(begin, advance, population))  # fmt: skip
    one.run()
    assert one.executor.steps_done == population * steps
    return one.ledger.best.losses[0]


# ---------------------------------------------------------------- the quadratic

_QUADRATIC = Space((Parameter("h0"), Parameter("h1")))


def quadratic_losses(kind: str, seed: int) -> float:
    """Jaderberg et al. 2017, 3.1: 1.2 - sum theta^2 is to be made large, but the gradient seen is that of a surrogate whose
    terms are scaled by h; nobody gets far with one fixed h. Here as a loss above its best."""
    return _best(kind, seed, _QUADRATIC, steps=200, interval=4, population=8, begin=lambda n: [0.9, 0.9], advance=_descend)


def _descend(theta: list[float], values: Mapping[str, Any], steps: int, rate: float = 0.01) -> float:
    for _ in range(steps):
        for n, scale in enumerate((values["h0"], values["h1"])):
            theta[n] -= rate * 2 * scale * theta[n]
    return sum(t * t for t in theta)


# ---------------------------------------------------------------- an MLP on digits

_DIGITS = Space((Parameter("lr", low=1e-5, high=1e-1, log=True), Parameter("decay", low=1e-6, high=1e-1, log=True)))


def digits_errors(kind: str, seed: int) -> float:
    """Share of wrong digits on a third that is held out; scikit-learn's MLP, 64 hidden units, trained in mini-batches."""
    from sklearn.datasets import load_digits
    from sklearn.neural_network import MLPClassifier

    data = load_digits()
    order = np.random.default_rng(0).permutation(len(data.target))
    x, y = data.data[order] / 16.0, data.target[order]
    train, held = slice(0, 1200), slice(1200, None)

    def begin(number: int) -> Any:
        return {"net": MLPClassifier((64,), batch_size=32, random_state=seed * 100 + number), "at": number}

    def advance(state: Any, values: Mapping[str, Any], steps: int) -> float:
        net = state["net"]
        net.learning_rate_init, net.alpha = values["lr"], values["decay"]
        if hasattr(net, "_optimizer"):
            net._optimizer.learning_rate_init = values["lr"]
        for _ in range(steps):
            state["at"] += 1
            rows = np.random.default_rng(state["at"]).integers(0, 1200, 32)
            net.partial_fit(x[train][rows], y[train][rows], classes=np.arange(10))
        return float(1 - net.score(x[held], y[held]))

    return _best(kind, seed, _DIGITS, steps=100, interval=10, population=8, begin=begin, advance=advance)
