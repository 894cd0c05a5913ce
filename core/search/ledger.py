"""Where a study stands: what its journal's records amount to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from .space import key_of
from .trials import COMPLETE, FAILURES, LEFT, OUTCOMES, PAUSED, REACHED, RUNNING, WAITING, LossVector, Objectives, Trial


class Ledger:
    """Records applied one after the other, as they are written or, later, as they are read.

    ``trials`` in the order of their numbers; ``running`` and ``counts`` of states; ``seen``: point -> the trial that tried it;
    ``spent``: seconds of all sessions on record; ``front``: complete trials that no other one beats in all objectives."""

    def __init__(self, objectives: Objectives):
        self.objectives = objectives
        self.trials: list[Trial] = []
        self.running: dict[int, Trial] = {}
        self.waiting: dict[int, Trial] = {}
        self.counts: Counter[str] = Counter()
        self.seen: dict[str, int] = {}
        self.front: list[Trial] = []
        self.furthest: Trial | None = None
        self.before = self._session = 0.0

    @property
    def spent(self) -> float:
        return self.before + self._session

    @property
    def best(self) -> Trial | None:
        """The first of the front; before a trial is complete, the best of those that came furthest, did not fail, and keep the
        limits as far as they are."""
        return min(self.front, key=lambda t: t.losses or ()) if self.front else self.furthest

    def why_no_best(self) -> str:
        """Why there is no `best`."""
        valued = [trial for trial in self.trials if trial.losses is not None]
        if not valued:
            return "no trial has figures yet"
        if all(trial.state in FAILURES for trial in valued):
            return f"all of {len(valued)} trials with figures failed"
        return f"none of {len(valued)} trials with figures keeps {self.objectives.kept()}"

    def apply(self, record: Mapping[str, Any]) -> Trial | None:
        """The trial that a record is of, changed by it."""
        self._session = max(self._session, record.get("t", 0.0))
        kind = record["kind"]
        if kind == "session":
            self.before, self._session = self.spent, 0.0
            return None
        if kind == "asked":
            return self._ask(record)
        trial = self.trials[record["trial"]] if "trial" in record else None
        if trial is not None:
            getattr(self, f"_{kind}")(trial, record)
        return trial

    def _ask(self, record: Mapping[str, Any]) -> Trial:
        trial = Trial(record["trial"], record["values"], record["origin"])
        assert trial.number == len(self.trials), "trials are numbered in their order"
        self.trials.append(trial)
        self.seen.setdefault(key_of(trial.values), trial.number)
        self.counts[trial.state] += 1
        return trial

    def _started(self, trial: Trial, record: Mapping[str, Any]) -> None:
        trial.until = record["until"]
        trial.values = record.get("values", trial.values)
        trial.life += "values" in record or "weights" in record
        if (weights := record.get("weights")) is not None:
            trial.weights = (weights[0], weights[1])
        self._set(trial, RUNNING)

    def _reported(self, trial: Trial, record: Mapping[str, Any]) -> None:
        trial.attempt = 0
        trial.step, trial.figures = record["step"], record["figures"]
        if (losses := self.objectives.losses(trial.figures)) is not None:
            trial.curve.append((trial.step, losses))
        self._note_furthest(trial)

    def _ended(self, trial: Trial, record: Mapping[str, Any]) -> None:
        how, trial.why = record["how"], record["why"]
        if how in OUTCOMES:
            self._set(trial, how)
        elif how == REACHED:
            self._set(trial, PAUSED)
        else:
            trial.attempt += how != LEFT
            self._set(trial, WAITING)
        if how == COMPLETE:
            self._note_front(trial)
        elif how in FAILURES:
            self._note_furthest(trial)

    def _set(self, trial: Trial, state: str) -> None:
        self.counts[trial.state] -= 1
        self.counts[state] += 1
        trial.state = state
        self.running.pop(trial.number, None)
        self.waiting.pop(trial.number, None)
        if state == RUNNING:
            self.running[trial.number] = trial
        elif state == WAITING:
            self.waiting[trial.number] = trial

    def _note_furthest(self, trial: Trial) -> None:
        if self.furthest is trial and not self._may_be_best(trial):
            self.furthest = min(filter(self._may_be_best, self.trials), key=_rank, default=None)
        elif self._may_be_best(trial) and (self.furthest is None or _rank(trial) < _rank(self.furthest)):
            self.furthest = trial

    def _may_be_best(self, trial: Trial) -> bool:
        is_valued = trial.losses_at(trial.step) is not None and self.objectives.violation(trial.figures) == 0
        return is_valued and trial.state not in FAILURES

    def _note_front(self, trial: Trial) -> None:
        if trial.losses is None or self.objectives.violation(trial.figures) > 0:
            return
        if any(_beats(other.losses, trial.losses) for other in self.front):
            return
        self.front = [other for other in self.front if not _beats(trial.losses, other.losses)]
        self.front.append(trial)


def _rank(trial: Trial) -> tuple[int, LossVector]:
    return -trial.step, trial.losses or ()


def _beats(a: LossVector | None, b: LossVector | None) -> bool:
    """Whether ``a`` is nowhere worse; of equal ones the first stays."""
    return a is not None and b is not None and all(x <= y for x, y in zip(a, b))
