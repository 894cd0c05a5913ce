"""What happened in a study, in its order: for those who look at it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from .folder import StudyFolder, objectives_of
from .journal import read_journal
from .ledger import Ledger
from .space import Space, Values, space_from
from .trials import LossVector, Trial


@dataclass(frozen=True)
class Seen:
    """A trial's losses after ``step``, known ``at`` so many seconds of the study."""

    at: float
    trial: int
    step: int
    losses: LossVector


@dataclass
class Life:
    """A trial from step ``begin`` on, with ``values`` that it has not changed since; ``parent``: whose weights it went on
    from. ``curve``: (step, first loss)."""

    trial: int
    begin: int
    values: Values
    parent: Life | None = None
    curve: list[tuple[int, float]] = field(default_factory=list)

    def line(self) -> Iterator[Life]:
        """Itself, whose weights it took, and so on."""
        life: Life | None = self
        while life is not None:
            yield life
            life = life.parent


class Story:
    """A study read from its folder. ``seen``: every evaluation; ``best``: (seconds, losses) each time that the first objective
    had its best evaluation so far within the limits; ``lives`` in the order of their beginnings; ``times``: trial -> seconds of
    its first start and its last record."""

    def __init__(self, folder: StudyFolder):
        self.folder = folder
        self.about, _ = folder.read()
        self.space: Space = space_from(self.about["space"])
        self.ledger = Ledger(objectives_of(self.about))
        self.seen: list[Seen] = []
        self.best: list[tuple[float, LossVector]] = []
        self.lives: list[Life] = []
        self.times: dict[int, tuple[float, float]] = {}
        self._latest: dict[int, Life] = {}
        for record in read_journal(folder.journal)[1:]:
            trial = self.ledger.apply(record)
            if trial is not None:
                self._note(record, trial)

    @property
    def figures(self) -> list[str]:
        """Names of the objectives and of what is limited."""
        return list(dict.fromkeys([*self.about["objectives"], *self.about["limits"]]))

    @property
    def has_lineage(self) -> bool:
        return any(life.parent is not None for life in self.lives)

    def best_life(self) -> Life | None:
        best = self.ledger.best
        return None if best is None else self._latest.get(best.number)

    def _note(self, record: dict[str, Any], trial: Trial) -> None:
        now = self.ledger.spent
        if record["kind"] != "asked":
            self.times[trial.number] = (self.times.get(trial.number, (now, now))[0], now)
        if record["kind"] == "started":
            self._begin(record, trial)
        elif record["kind"] == "reported" and trial.curve and trial.curve[-1][0] == trial.step:
            losses = trial.curve[-1][1]
            self.seen.append(Seen(now, trial.number, trial.step, losses))
            self._latest[trial.number].curve.append((trial.step, losses[0]))
            if self.ledger.objectives.violation(trial.figures) == 0 and (not self.best or losses < self.best[-1][1]):
                self.best.append((now, losses))

    def _begin(self, record: dict[str, Any], trial: Trial) -> None:
        before, weights = self._latest.get(trial.number), record.get("weights")
        if before is not None and weights is None and "values" not in record:
            return
        parent = before if weights is None else self._at(*weights)
        life = Life(trial.number, weights[1] if weights else trial.step, dict(trial.values), parent)
        self.lives.append(life)
        self._latest[trial.number] = life

    def _at(self, donor: int, step: int) -> Life | None:
        """Whose weights those of a trial after ``step`` are."""
        for life in reversed(self.lives):
            if life.trial == donor and any(at == step for at, _ in life.curve):
                return life
        return self._latest.get(donor)
