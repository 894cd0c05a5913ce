"""Bayesian optimisation with a Gaussian process, for the tens to hundreds of trials that trainings can afford.

Losses are told by their ranks, as normal scores (the copula of Salinas et al. 2020): a diverged trial is as bad as it gets
and no worse, and the scale of a loss does not matter. Ordered parameters lie on a line, whether they are ranges or choices
such as 8, 16, 32; other choices are equally far from each other. Length scales are fitted per parameter (Matern 5/2, MAP),
and the point with the greatest log expected improvement is sought among random points and neighbours of the best. Trials that
run are believed to come out at the model's mean. Several objectives are weighed at random for each proposal (ParEGO, Knowles
2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.linalg import cho_solve, cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import log_ndtr, ndtri

from drivetrain import AlgorithmContext, LossVector, Parameter, Rng, SearchAlgorithm, Space, Values, key_of

from .config import BayesConfig

MOST_POINTS = 400
"""Trials that the model is fitted to: with more, the best half of that many and a random sample of the others."""
_SQRT5 = math.sqrt(5.0)


class Coder:
    """Points as vectors: a number in [0, 1] for an ordered parameter, an indicator a value for another, 0.5 or none of them
    where it is inactive. ``groups``: the parameter that a column belongs to."""

    def __init__(self, space: Space):
        self.space = space
        self.groups = np.array([n for n, p in enumerate(space.parameters) for _ in range(_columns(p))])

    def encode(self, values: Values) -> list[float]:
        return [x for p in self.space.parameters for x in self._part(p, values)]

    def _part(self, parameter: Parameter, values: Values) -> list[float]:
        if parameter.is_ordered:
            return [parameter.unit(values[parameter.name]) if parameter.name in values else 0.5]
        chosen = parameter.choices.index(values[parameter.name]) if parameter.name in values else -1
        return [math.sqrt(0.5) * (n == chosen) for n in range(len(parameter.choices))]


def _columns(parameter: Parameter) -> int:
    return 1 if parameter.is_ordered else len(parameter.choices)


class GaussianProcess:
    """Zero mean, unit scale times ``amplitude``; all by the logarithms in ``theta``: a length scale a parameter, amplitude,
    noise."""

    def __init__(self, groups: np.ndarray, parameters: int):
        self.groups, self.parameters = groups, parameters
        self.theta = np.concatenate([np.full(parameters, math.log(0.5 * math.sqrt(parameters))), [0.0, math.log(0.05)]])

    def fit(self, x: np.ndarray, y: np.ndarray, steps: int) -> None:
        """``x`` [N, D] with scores ``y`` [N]: ``steps`` of L-BFGS from where the scales stand, then the posterior."""
        apart = self._apart(x, x)
        if steps:
            bounds = [(-4.0, 4.0)] * self.parameters + [(-3.0, 3.0), (math.log(1e-4), 0.5)]
            done = minimize(self._objective, self.theta, (apart, y), "L-BFGS-B", jac=True, bounds=bounds,
                            options={"maxiter": steps})  # fmt: skip
            self.theta = done.x if np.isfinite(done.fun) else self.theta
        self.x = x
        self._factor = cholesky(self._kernel(apart) + self._noise * np.eye(len(x)), lower=True)
        self._weights = cho_solve((self._factor, True), y)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation [M] of the noiseless scores at ``x`` [M, D]."""
        kernel = self._kernel(self._apart(x, self.x))
        half = solve_triangular(self._factor, kernel.T, lower=True)
        variance = math.exp(self.theta[-2]) - (half**2).sum(0)
        return kernel @ self._weights, np.sqrt(np.maximum(variance, 1e-12))

    @property
    def _noise(self) -> float:
        return math.exp(self.theta[-1]) + 1e-8

    def _apart(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Squared distances by parameter [P, A, B]."""
        out = np.zeros((self.parameters, len(a), len(b)))
        for column, group in enumerate(self.groups):
            out[group] += (a[:, column, None] - b[None, :, column]) ** 2
        return out

    def _kernel(self, apart: np.ndarray) -> np.ndarray:
        r = np.sqrt(np.tensordot(np.exp(-2 * self.theta[:-2]), apart, 1) + 1e-16)
        return math.exp(self.theta[-2]) * (1 + _SQRT5 * r + 5 / 3 * r**2) * np.exp(-_SQRT5 * r)

    def _objective(self, theta: np.ndarray, apart: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
        """The negative log posterior of ``theta`` and its gradient; priors: scales about sqrt(parameters) / 2 (Hvarfner et al.
        2024, in spirit), amplitude about 1, little noise."""
        scales = np.exp(-2 * theta[:-2])
        r = np.sqrt(np.tensordot(scales, apart, 1) + 1e-16)
        decay = math.exp(theta[-2]) * np.exp(-_SQRT5 * r)
        kernel = decay * (1 + _SQRT5 * r + 5 / 3 * r**2)
        noise = math.exp(theta[-1]) + 1e-8
        try:
            factor = cholesky(kernel + noise * np.eye(len(y)), lower=True)
        except np.linalg.LinAlgError:
            return 1e10, np.zeros_like(theta)
        weights = cho_solve((factor, True), y)
        value = 0.5 * y @ weights + np.log(np.diag(factor)).sum()
        outer = np.outer(weights, weights) - cho_solve((factor, True), np.eye(len(y)))
        slope = decay * (5 / 3) * (1 + _SQRT5 * r) * outer  # of the kernel in -r^2 / 2
        gradient = np.empty_like(theta)
        gradient[:-2] = -0.5 * np.einsum("pij,ij->p", apart, slope) * scales
        gradient[-2] = -0.5 * (kernel * outer).sum()
        gradient[-1] = -0.5 * math.exp(theta[-1]) * np.trace(outer)
        middle = np.concatenate([np.full(self.parameters, math.log(0.5 * math.sqrt(self.parameters))), [0.0, math.log(0.01)]])
        spread = np.concatenate([np.full(self.parameters, 1.0), [0.7, 2.0]])
        z = (theta - middle) / spread
        return value + 0.5 * (z**2).sum(), gradient + z / spread


class Bayes(SearchAlgorithm):
    def __init__(self, config: BayesConfig, context: AlgorithmContext):
        self.config, self.context, self.space = config, context, context.space
        self.coder = Coder(context.space)
        self.model = GaussianProcess(self.coder.groups, len(context.space.parameters))
        self._values: dict[int, Values] = {}
        self._codes: dict[int, list[float]] = {}
        self._results: dict[int, tuple[bool, float, LossVector]] = {}
        self._begun: set[str] = set()
        self._fitted_at = 0

    def ask(self, number: int) -> Values:
        rng = Rng(self.context.seed, "bayes", number)
        if len(self._results) < self.config.startup:
            return self.space.draw(rng)
        return self._proposal(rng)

    def begin(self, number: int, values: Values) -> None:
        self._values[number], self._codes[number] = values, self.coder.encode(values)
        self._begun.add(key_of(values))

    def tell(self, number: int, values: Values, losses: LossVector | None, violation: float = 0.0) -> None:
        if number not in self._codes:
            self.begin(number, values)
        self._results[number] = losses is None, violation, losses or ()

    def forget(self, number: int) -> None:
        if number not in self._results:
            self._values.pop(number, None)
            self._codes.pop(number, None)

    # ---- the model

    def _proposal(self, rng: Rng) -> Values:
        known = self._sample(rng)
        x = np.array([self._codes[n] for n in known])
        y = scores([self._results[n] for n in known], rng)
        count = len(self._results)
        due = count < 60 or count - self._fitted_at >= count // 20
        self._fitted_at = count if due else self._fitted_at
        self.model.fit(x, y, steps=self.config.fit_steps if due else 0)
        running = [self._codes[n] for n in self._codes if n not in self._results]
        if running:
            believed = np.array(running)
            y = np.concatenate([y, self.model.predict(believed)[0]])
            self.model.fit(np.concatenate([x, believed]), y, steps=0)
        goal = float(self.model.predict(x)[0].min())
        best = [self._values[n] for n in sorted(known, key=dict(zip(known, y)).__getitem__)[:5]]
        return self._climb(self._candidates(best, rng), goal, rng)

    def _sample(self, rng: Rng) -> list[int]:
        numbers = list(self._results)
        if len(numbers) <= MOST_POINTS:
            return numbers
        ranked = sorted(numbers, key=lambda n: self._results[n])
        best, rest = ranked[: MOST_POINTS // 2], ranked[MOST_POINTS // 2 :]
        return best + [rest.pop(rng.integer(0, len(rest))) for _ in range(MOST_POINTS - len(best))]

    def _candidates(self, best: Sequence[Values], rng: Rng) -> list[Values]:
        drawn = [self.space.draw(rng) for _ in range(self.config.candidates)]
        near = [self._mutated(values, rng) for values in best for _ in range(self.config.candidates // 10)]
        return drawn + near

    def _climb(self, candidates: list[Values], goal: float, rng: Rng) -> Values:
        """From the best few candidates to better neighbours, as long as there are any."""
        found = self._ranked(candidates, goal)
        if not found:
            return candidates[0]
        for _ in range(self.config.climbs):
            near = [self._mutated(values, rng) for _, values in found[:4] for _ in range(10)]
            before = found[0][0]
            found = sorted([*found[:4], *self._ranked(near, goal)], key=lambda f: -f[0])
            if found[0][0] <= before:
                break
        return found[0][1]

    def _ranked(self, candidates: Sequence[Values], goal: float) -> list[tuple[float, Values]]:
        """(log expected improvement, point) of those that were not tried, the greatest first."""
        fresh = [values for values in candidates if key_of(values) not in self._begun]
        if not fresh:
            return []
        mean, deviation = self.model.predict(np.array([self.coder.encode(v) for v in fresh]))
        gain = log_improvement((goal - mean) / deviation) + np.log(deviation)
        return [(float(gain[n]), fresh[n]) for n in np.argsort(-gain, kind="stable")]

    def _mutated(self, values: Values, rng: Rng) -> Values:
        """With one parameter changed, sometimes more: to a neighbour, or anew."""
        changed = dict(values)
        names = list(values)
        while True:
            parameter = self.space[names[rng.integer(0, len(names))]]
            changed[parameter.name] = _stepped(parameter, values[parameter.name], rng)
            if rng.uniform() < 0.6:
                return self.space.draw(rng, changed)


def _stepped(parameter: Parameter, value: object, rng: Rng) -> object:
    if not parameter.is_ordered or rng.uniform() < 0.2:
        return parameter.at(rng.uniform())
    width = 0.1 if parameter.size is None else max(0.1, 1.0 / parameter.size)
    return parameter.at(min(max(parameter.unit(value) + rng.normal(0.0, width), 0.0), 1.0))


def scores(results: Sequence[tuple[bool, float, LossVector]], rng: Rng) -> np.ndarray:
    """Normal scores of the ranks: what failed last, then what passes limits, then by loss."""
    weights = _weights(max(len(losses) for _, _, losses in results), rng)
    keys = [(failed, violation, _weighed(losses, weights, results)) for failed, violation, losses in results]
    order = sorted(range(len(keys)), key=keys.__getitem__)
    ranks = np.empty(len(keys))
    start = 0
    while start < len(order):  # equal ones share the mean of their ranks
        end = start
        while end < len(order) and keys[order[end]] == keys[order[start]]:
            end += 1
        ranks[order[start:end]] = (start + end) / 2
        start = end
    return ndtri(ranks / len(keys))


def _weights(objectives: int, rng: Rng) -> np.ndarray:
    drawn = np.array([-math.log(1.0 - rng.uniform()) for _ in range(objectives)])
    return drawn / drawn.sum() if objectives > 1 else np.ones(objectives)


def _weighed(losses: LossVector, weights: np.ndarray, results: Sequence[tuple[bool, float, LossVector]]) -> float:
    """One loss of several: each from 0 to 1 over all trials, by the augmented Chebyshev norm."""
    if len(weights) < 2 or not losses:
        return losses[0] if losses else 0.0
    table = np.array([other for _, _, other in results if other])
    low, high = table.min(0), table.max(0)
    part = weights * (np.array(losses) - low) / np.maximum(high - low, 1e-12)
    return float(part.max() + 0.05 * part.sum())


def log_improvement(z: np.ndarray) -> np.ndarray:
    """log of the expected improvement in units of the standard deviation, also far out (Ament et al. 2023)."""
    density = -0.5 * z**2 - 0.5 * math.log(2 * math.pi)
    far = z < -5
    safe = np.where(far, -1.0, z)
    near = np.log(np.maximum(np.exp(-0.5 * safe**2) / math.sqrt(2 * math.pi) + safe * np.exp(log_ndtr(safe)), 1e-300))
    return np.where(far, density - 2 * np.log(np.maximum(-z, 1.0)), near)


def bayes(config: BayesConfig, context: AlgorithmContext) -> SearchAlgorithm:
    return Bayes(config, context)
