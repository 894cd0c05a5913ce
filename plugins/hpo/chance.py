"""Algorithms that do not learn: random points, and every point of a grid."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from drivetrain import AlgorithmContext, Parameter, Rng, SearchAlgorithm, Space, UserError, Values, key_of

from .config import GridConfig

MOST_OF_A_GRID = 1_000_000


class Random(SearchAlgorithm):
    """A pure function of the seed and the trial's number."""

    def __init__(self, context: AlgorithmContext):
        self.space, self.seed = context.space, context.seed

    def ask(self, number: int) -> Values:
        return self.space.draw(Rng(self.seed, "random", number))


class Grid(SearchAlgorithm):
    """All points, those with every parameter at few of its values first: a golden-ratio stride through them, so that a study
    that ends early has seen all of the space coarsely."""

    is_sequence = True

    def __init__(self, config: GridConfig, context: AlgorithmContext):
        coarse = Space(tuple(_on_grid(p, config.points) for p in context.space.parameters))
        self.points = list(coarse.every_point()) if coarse.size is not None else []
        self._order = _strided(len(self.points))
        self._begun: set[str] = set()

    def ask(self, number: int) -> Values | None:
        for index in self._order:
            if key_of(self.points[index]) not in self._begun:
                return self.points[index]
        return None

    def begin(self, number: int, values: Values) -> None:
        self._begun.add(key_of(values))


def random(config: Any, context: AlgorithmContext) -> SearchAlgorithm:
    return Random(context)


def grid(config: GridConfig, context: AlgorithmContext) -> SearchAlgorithm:
    made = Grid(config, context)
    if not made.points:
        raise UserError(f"a grid of more than {MOST_OF_A_GRID} points", where="search.algorithm",
                        remedy="take fewer points or parameters, or qmc, which fills any space evenly")  # fmt: skip
    return made


def _on_grid(parameter: Parameter, points: int) -> Parameter:
    """With a few of its values, where it has any number of them."""
    if parameter.size is not None:
        return parameter
    values = tuple(parameter.at(n / (points - 1)) for n in range(points))
    return Parameter(parameter.name, choices=values, when=parameter.when)


def _strided(count: int) -> Iterator[int]:
    """Each of ``count`` indices once, neighbours in time far apart."""
    stride = max(1, round(count * (math.sqrt(5) - 1) / 2))
    while math.gcd(stride, count) > 1:
        stride += 1
    yield from (n * stride % count for n in range(count))
