"""A genetic algorithm on islands, steady-state: a child is born whenever a trial can start, whoever is still being tried.

Trial ``n`` belongs to island ``n mod islands``. An island keeps its best ``population`` trials; a child's parents win
tournaments among these. After ``migrate_every`` trials an island sends copies of its best to the next one in the ring (the
coarse-grained model; Cantu-Paz 1998 surveys it). With several objectives the better one is that of the lower non-dominated
rank, then of the less crowded place; what passes limits comes after all that does not, in the order of how far (NSGA-II, Deb
et al. 2002). What is born depends on the seed, the trial's number and what was told before, in its order: a journal that is
read again leads to the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from drivetrain import AlgorithmContext, LossVector, Parameter, Rng, SearchAlgorithm, Values, key_of

from .config import GeneticConfig

BIRTHS = 20
"""How often a child that was tried before is born again."""


@dataclass(frozen=True)
class Member:
    number: int
    values: Values
    losses: LossVector
    violation: float


class Genetic(SearchAlgorithm):
    """``islands``: the members of each, from the best to the worst."""

    def __init__(self, config: GeneticConfig, context: AlgorithmContext):
        self.config, self.space, self.seed = config, context.space, context.seed
        self.islands: list[list[Member]] = [[] for _ in range(config.islands)]
        self._begun: list[set[int]] = [set() for _ in range(config.islands)]
        self._tried: set[str] = set()
        self._told = [0] * config.islands

    def ask(self, number: int) -> Values:
        rng, island = Rng(self.seed, "genetic", number), number % self.config.islands
        if len(self._begun[island]) < self.config.population or len(self.islands[island]) < 2:
            return self.space.draw(rng)
        children = (self._child(self.islands[island], rng) for _ in range(BIRTHS))
        return next((child for child in children if key_of(child) not in self._tried), None) or self.space.draw(rng)

    def begin(self, number: int, values: Values) -> None:
        self._begun[number % self.config.islands].add(number)
        self._tried.add(key_of(values))

    def tell(self, number: int, values: Values, losses: LossVector | None, violation: float = 0.0) -> None:
        self.begin(number, values)
        if losses is None:
            return
        island = number % self.config.islands
        self._welcome(island, Member(number, values, losses, violation))
        self._told[island] += 1
        if self.config.islands > 1 and self._told[island] % self.config.migrate_every == 0:
            for migrant in self.islands[island][: self.config.migrants]:
                self._welcome((island + 1) % self.config.islands, migrant)

    # ---- inside

    def _welcome(self, island: int, one: Member) -> None:
        """Into the island, unless it is the worst of a full one."""
        others = [member for member in self.islands[island] if member.number != one.number]
        self.islands[island] = ranked([*others, one])[: self.config.population]

    def _child(self, members: Sequence[Member], rng: Rng) -> Values:
        first = self._winner(members, rng)
        values = dict(first.values)
        if rng.uniform() < self.config.crossover:
            values = self._crossed(values, self._winner([m for m in members if m is not first], rng).values, rng)
        chance = 1 / len(values) if self.config.mutation is None else self.config.mutation
        mutated = {name: mutation(self.space[name], value, self.config.mutation_eta, rng) if rng.uniform() < chance else value
                   for name, value in values.items()}  # fmt: skip
        return self.space.draw(rng, mutated)  # what has become active is drawn, what no longer is, left out

    def _winner(self, members: Sequence[Member], rng: Rng) -> Member:
        """Of a tournament (Goldberg and Deb 1991): the best of a few at random, which are in order already."""
        return members[min(rng.integer(0, len(members)) for _ in range(self.config.tournament))]

    def _crossed(self, a: Values, b: Values, rng: Rng) -> dict[str, object]:
        """Numbers between or about the parents', the rest from either (uniform crossover, Syswerda 1989); what one of them has
        not, from the other."""
        out = {**b, **a}
        for name in sorted(a.keys() & b.keys()):
            if self.space[name].is_ordered:
                out[name] = simulated_binary(self.space[name], a[name], b[name], self.config.crossover_eta, rng)
            elif rng.uniform() < 0.5:
                out[name] = b[name]
        return out


def simulated_binary(parameter: Parameter, a: object, b: object, eta: float, rng: Rng) -> object:
    """One of the two children of simulated binary crossover (Deb and Agrawal 1995), on the parameter's own scale: about a
    parent, the nearer the greater ``eta``; as in their programs half of the values stay a parent's."""
    near, far = (a, b) if rng.uniform() < 0.5 else (b, a)
    if near == far or rng.uniform() < 0.5:
        return near
    u = rng.uniform()
    spread = (2 * u) ** (1 / (eta + 1)) if u < 0.5 else (0.5 / (1 - u)) ** (1 / (eta + 1))
    x, y = parameter.unit(near), parameter.unit(far)
    return parameter.at(0.5 * ((1 + spread) * x + (1 - spread) * y))


def mutation(parameter: Parameter, value: object, eta: float, rng: Rng) -> object:
    """Polynomial mutation of a number (Deb and Goyal 1996), near it the greater ``eta``. Choices without an order, and numbers
    that a step so small does not change, are drawn anew."""
    if parameter.is_ordered:
        u = rng.uniform()
        step = (2 * u) ** (1 / (eta + 1)) - 1 if u < 0.5 else 1 - (2 * (1 - u)) ** (1 / (eta + 1))
        changed = parameter.at(parameter.unit(value) + step)
        if changed != value:
            return changed
    return parameter.at(rng.uniform())


# ---------------------------------------------------------------- who is better


def ranked(members: Sequence[Member]) -> list[Member]:
    """From the best to the worst."""
    kept = [m for m in members if m.violation <= 0]
    passing = sorted((m for m in members if m.violation > 0), key=lambda m: m.violation)
    if not kept:
        return passing
    losses = np.array([m.losses for m in kept])
    ranks = non_dominated_ranks(losses)
    room = np.empty(len(kept))
    for rank in np.unique(ranks):
        room[ranks == rank] = crowding_distances(losses[ranks == rank])
    return [kept[n] for n in np.lexsort((-room, ranks))] + passing


def non_dominated_ranks(losses: np.ndarray) -> np.ndarray:
    """Ranks [N] of ``losses`` [N, objectives]: 0 where no other row is nowhere worse and somewhere better, 1 where that is so
    without those of rank 0, and so on."""
    no_worse: np.ndarray = np.all(losses[:, None] <= losses[None], axis=-1)
    beats = no_worse & ~no_worse.T
    ranks = np.full(len(losses), -1)
    while (left := ranks < 0).any():
        ranks[left & ~beats[left].any(0)] = ranks.max() + 1
    return ranks


def crowding_distances(losses: np.ndarray) -> np.ndarray:
    """[N] of one front [N, objectives]: how far the neighbours lie apart in each objective, as a share of its range, in all;
    endless for the first and the last."""
    out = np.zeros(len(losses))
    for column in losses.T:
        order = np.argsort(column, kind="stable")
        span = column[order[-1]] - column[order[0]]
        out[order[[0, -1]]] = np.inf
        out[order[1:-1]] += (column[order[2:]] - column[order[:-2]]) / (span or 1.0)
    return out


def genetic(config: GeneticConfig, context: AlgorithmContext) -> SearchAlgorithm:
    return Genetic(config, context)
