"""Population-based training (Jaderberg et al. 2017): the worst members go on from the best ones' weights, with their
hyperparameters changed a little."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivetrain import Move, Parameter, Rng, SchedulerContext, Trial, TrialScheduler

from .config import PbtConfig
from .stopping import needs_rungs


class Population(TrialScheduler):
    """The members that are least far go on first, once a ``quorum`` of those alive has come as far, and are compared with
    these. ``parents: 3``: two of the best give hyperparameters, crossed over, and a third one the weights."""

    def __init__(self, config: PbtConfig, context: SchedulerContext):
        super().__init__(context)
        self.config = config
        interval = config.interval or max(1, round(context.steps / 10))
        self.rungs = (*range(interval, context.steps, interval), context.steps)
        needs_rungs(self.rungs[:-1], context, "interval")
        self._members: set[int] = set()
        self._gone: set[int] = set()
        self._running: set[int] = set()
        self._at: dict[int, int] = {}
        self._seen: dict[int, dict[int, tuple[float, Mapping[str, Any]]]] = {}

    def admits(self) -> bool:
        return len(self._members) < self.config.population

    def started(self, trial: Trial) -> None:
        self._members.add(trial.number)
        if trial.step < trial.until:  # else all is told already: it only saves, again
            self._running.add(trial.number)

    def seen(self, trial: Trial, step: int, loss: float) -> None:
        if step in self.rungs:
            self._at[trial.number] = step
            self._running.discard(trial.number)
            self._seen.setdefault(step, {})[trial.number] = loss, trial.values

    def ended(self, trial: Trial) -> None:
        self._gone.add(trial.number)
        self._running.discard(trial.number)

    def next(self, full: bool) -> Move | None:
        ready = [n for n in self._at if n not in self._running and n not in self._gone and self._at[n] < self.context.steps]
        if not ready or (self.admits() and not full):
            return None
        step = min(self._at[n] for n in ready)
        if self._running and not self._is_quorate(step):
            return None
        here = sorted(n for n in ready if self._at[n] == step)
        until = self.rungs[self.rungs.index(step) + 1]
        ranked = sorted(self._seen[step], key=lambda n: self._seen[step][n][0])
        few = int(len(ranked) * self.config.quantile)
        worst = [n for n in here if n in ranked[len(ranked) - few :]]
        if not worst:
            return Move(here[0], until)
        number, best = worst[0], ranked[:few]  # before the best ones go on, whose checkpoints of this step may then be gone
        rng = Rng(self.context.seed, "pbt", number, step)
        donor = best[rng.integer(0, len(best))]
        return Move(number, until, self._child(best, donor, step, rng), (donor, step))

    def _is_quorate(self, step: int) -> bool:
        alive = self._members - self._gone
        return len(alive & self._seen[step].keys()) >= self.config.quorum * len(alive)

    def _child(self, best: list[int], donor: int, step: int, rng: Rng) -> dict[str, Any]:
        values = self._seen[step][donor][1]
        if self.config.parents == 3:
            a, b = (self._seen[step][best[rng.integer(0, len(best))]][1] for _ in range(2))
            mixed = {name: a if rng.uniform() < 0.5 else b for name in {**a, **b}}
            values = {name: parent[name] for name, parent in mixed.items() if name in parent}
        changed = {name: self._changed(self.context.space[name], value, rng) for name, value in values.items()}
        return self.context.space.draw(rng, changed)

    def _changed(self, parameter: Parameter, value: Any, rng: Rng) -> Any:
        """Times 0.8 or 1.2 as in the paper, at least to a neighbour where values are countable, or anew."""
        if rng.uniform() < self.config.resample:
            return parameter.at(rng.uniform())
        up = rng.uniform() < 0.5
        if parameter.size is None:
            return min(max(value * (1.2 if up else 0.8), parameter.low), parameter.high)
        if not parameter.is_ordered:
            return value
        if parameter.choices:
            return parameter.at(parameter.unit(value) + (1 if up else -1) / parameter.size)
        least = parameter.step or 1
        return parameter.nearest(value + (1 if up else -1) * max(least, 0.2 * abs(value)))
