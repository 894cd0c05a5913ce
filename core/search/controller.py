"""The one loop of a study: hear what became of trials, decide, write it down, start the next."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import CRASH, DISK_FULL
from .contracts import TrialExecutor, TrialScheduler
from .journal import Journal
from .ledger import Ledger
from .proposer import Proposer
from .space import Values
from .trials import (
    COMPLETE,
    CRASHED,
    DIVERGED,
    FAILURES,
    INFEASIBLE,
    LEFT,
    NO_SPACE,
    OUTCOMES,
    PAUSED,
    PRUNED,
    REACHED,
    Ended,
    Event,
    Job,
    Trial,
)

RETRY = "retry"
"""How a job ended that crashed and is started again."""
REFUSED_IN_A_ROW = 100
"""Points that the recipe refuses, one after the other, before the search gives up."""

FAILED_IN_A_ROW = 5
"""Jobs that end without an evaluation, one after the other, before the search gives up: it is not the points' fault."""


@dataclass(frozen=True)
class Limits:
    """``trials``, ``seconds``: after how many the study is over, None: never; ``retries`` of a crashed trial."""

    trials: int | None = None
    seconds: float | None = None
    retries: int = 1


@dataclass
class Timing:
    """Seconds of the loop: in all, and those of algorithms, the executor and the journal; ``decisions``: events heard and
    jobs started."""

    total: float = 0.0
    executor: float = 0.0
    journal: float = 0.0
    decisions: int = 0

    def own_ms(self, algorithms: float) -> float:
        """Milliseconds of a decision without them."""
        return 1e3 * (self.total - self.executor - self.journal - algorithms) / max(1, self.decisions)


@dataclass
class Controller:
    """``refusal(values)``: why the recipe refuses a point, None if it does not. ``told(trial)`` is called after each change.
    ``asked_to_stop``: whether somebody wants the study to rest. ``code``: what `run` ended with; 0 where all is well."""

    ledger: Ledger
    journal: Journal | None
    proposer: Proposer
    scheduler: TrialScheduler
    executor: TrialExecutor
    limits: Limits
    refusal: Callable[[Values], str | None] = lambda values: None
    told: Callable[[Trial], None] = lambda trial: None
    asked_to_stop: Callable[[], str | None] = lambda: None
    timing: Timing = field(default_factory=Timing)
    why: str = ""
    code: int = 0
    _stopping: dict[int, str] = field(default_factory=dict)
    _refused: int = 0
    _failed: int = 0
    _exhausted: str = ""

    def run(self) -> str:
        """Until the study is over or is to rest; returns why. Nothing runs afterwards."""
        began = time.perf_counter()
        try:
            self._recover()
            while not self._is_over():
                self._fill()
                if not self.ledger.running:
                    break
                self._hear_all()
            self._rest()
        finally:
            self._timed("executor", self.executor.close)
            self.timing.total += time.perf_counter() - began
        return self.why or self._exhausted or "all trials are done"

    # ---- the loop's parts

    def _is_over(self) -> bool:
        seconds = self.limits.seconds
        if seconds is not None and self.ledger.before + self.executor.clock() >= seconds:
            self.why = f"the budget of {seconds:.0f} s is spent"
        self.why = self.why or self.asked_to_stop() or ""
        return bool(self.why)

    def _fill(self) -> None:
        """Start jobs as long as there is room and something to start."""
        while self.executor.has_room():
            job = self._next_job()
            if job is None:
                return
            self.timing.decisions += 1
            self._commit()
            self._timed("executor", lambda job=job: self.executor.start(job))  # type: ignore[misc]

    def _hear_all(self) -> None:
        for event in self._timed("executor", self.executor.poll):
            self.timing.decisions += 1
            self._hear(event)
        self._commit()

    def _rest(self) -> None:
        """All trials that run save and leave; they go on when the study does."""
        for number in self.ledger.running:
            self._stop(number, "")
        while self.ledger.running:
            self._hear_all()

    # ---- what to start

    def _next_job(self) -> Job | None:
        if self.ledger.waiting:
            trial = next(iter(self.ledger.waiting.values()))
            return self._start(trial, trial.until)
        return self._go_on(full=False) or self._new_trial() or self._go_on(full=True)

    def _go_on(self, full: bool) -> Job | None:
        move = self.scheduler.next(full)
        if move is None or self._is_ending(move.number) or (move.weights and self._is_ending(move.weights[0])):
            return None
        trial = self.ledger.trials[move.number]
        if move.values is not None and self.refusal(move.values) is not None:
            return self._start(trial, move.until)  # as it is: the recipe cannot be changed that way
        own = None if move.values is None else (trial.number, trial.step)  # of the life before
        return self._start(trial, move.until, move.values, move.weights or own)

    def _is_ending(self, number: int) -> bool:
        """Whether its job has told all that it will, but may still be saving: nobody can go on from it yet."""
        trial = self.ledger.trials[number]
        return number in self.ledger.running and trial.step >= trial.until

    def _new_trial(self) -> Job | None:
        """A proposal that the recipe accepts; what it refuses is on record as infeasible and costs no job."""
        while not self._exhausted and self.scheduler.admits() and not self._enough():
            number = len(self.ledger.trials)
            proposal = self.proposer.propose(number, self.ledger.seen)
            if proposal is None:
                self._exhausted = "every point of the space was tried"
                return None
            trial = self._record("asked", trial=number, values=proposal[0], origin=proposal[1])
            refused = self.refusal(trial.values)
            if refused is None:
                self._refused = 0
                return self._start(trial, self.scheduler.first(number))
            self._record("ended", trial=number, how=INFEASIBLE, why=refused)
            self._refused += 1
            if self._refused >= REFUSED_IN_A_ROW:
                self._exhausted = f"{REFUSED_IN_A_ROW} points in a row were refused: {refused}"
        return None

    def _enough(self) -> bool:
        return self.limits.trials is not None and len(self.ledger.trials) >= self.limits.trials

    def _start(self, trial: Trial, until: int, values: Values | None = None, weights: tuple[int, int] | None = None) -> Job:
        changed: dict[str, Any] = {} if values is None else {"values": dict(values)}
        if weights is not None:
            changed["weights"] = list(weights)
        return _job(self._record("started", trial=trial.number, until=until, **changed))

    # ---- what has happened

    def _hear(self, event: Event) -> None:
        trial = self.ledger.running.get(event.number)
        if trial is None:
            return  # the last words of a job that has ended
        if isinstance(event, Ended):
            how, why = self._outcome(trial, event)
            self._record("ended", trial=trial.number, how=how, why=why)
            self._failed += how in (CRASHED, INFEASIBLE)
            if event.how == NO_SPACE:
                self._give_up(DISK_FULL, f"no space is left, make room and resume the study: {event.why}")
            elif self._failed >= FAILED_IN_A_ROW:
                self._give_up(CRASH, f"{self._failed} jobs in a row failed before any evaluation: {why}")
        elif event.step > trial.step:
            self._failed = 0
            self._record("reported", trial=trial.number, step=event.step, figures=_finite(event.figures))
            reason = self.scheduler.verdict(trial)
            if reason is not None and trial.until > event.step:
                self._stop(trial.number, reason)

    def _outcome(self, trial: Trial, event: Ended) -> tuple[str, str]:
        """What the end of a job means for its trial."""
        pruned = self._stopping.pop(trial.number, "")
        how, why = event.how, event.why
        if how == REACHED and trial.step < trial.until:
            how, why = CRASHED, f"it ended without an evaluation after step {trial.until}"
        if how == REACHED:
            if trial.losses_at(trial.step) is None:
                return DIVERGED, "its evaluation gives the objective no value"
            reason = self.scheduler.verdict(trial)
            final = trial.until >= self.scheduler.rungs[-1]
            return (COMPLETE, "") if final else (PRUNED, reason) if reason else (REACHED, "")
        if how in (LEFT, NO_SPACE, CRASHED) and pruned:
            return PRUNED, pruned
        if how in (LEFT, NO_SPACE):
            return LEFT, why
        return (RETRY, why) if how == CRASHED and trial.attempt < self.limits.retries else (how, why)

    def _give_up(self, code: int, why: str) -> None:
        if not self.code:
            self.code, self.why = code, why

    def _stop(self, number: int, why: str) -> None:
        if number not in self._stopping:
            self._timed("executor", lambda: self.executor.stop(number, why))
        self._stopping[number] = self._stopping.get(number) or why  # a verdict counts also where the study rests

    # ---- records

    def _record(self, kind: str, **content: Any) -> Trial:
        record = {"kind": kind, **content, "t": round(self.executor.clock(), 3)}
        if self.journal is not None:
            self.journal.append(record)
        return self._apply(record)

    def _apply(self, record: dict[str, Any]) -> Trial:
        """A record's effect, as it is written and as it is read again."""
        trial = self.ledger.apply(record)
        assert trial is not None
        kind = record["kind"]
        if kind == "asked":
            self.proposer.begin(trial)
        elif kind == "started":
            self.scheduler.started(trial)
        elif kind == "reported" and (losses := trial.losses_at(record["step"])) is not None:
            self.proposer.tell(trial, trial.step, losses, self.ledger.objectives.violation(trial.figures))
            self.scheduler.seen(trial, trial.step, losses[0])
        elif kind == "ended" and trial.state in (*OUTCOMES, PAUSED):
            self.proposer.end(trial, trial.state in FAILURES, self.ledger.objectives.violation(trial.figures))
            if trial.state != PAUSED:
                self.scheduler.ended(trial)
        self.told(trial)
        return trial

    def _recover(self) -> None:
        """Everything on record again, and the jobs that an earlier controller left."""
        told, self.told = self.told, lambda trial: None
        for record in self.journal.records if self.journal is not None else ():
            if record["kind"] == "session":
                self.ledger.apply(record)
            elif record["kind"] != "study":
                self._note_verdict(self._apply(record), record["kind"])
        self.told = told
        self.ledger.apply({"kind": "session"})
        if self.journal is not None:
            self.journal.append({"kind": "session"})
        self._take_over([t for t in self.ledger.trials if t.state not in (*OUTCOMES, PAUSED)])

    def _note_verdict(self, trial: Trial, kind: str) -> None:
        """Who was being stopped as the earlier controller ended is stopped still."""
        reason = self.scheduler.verdict(trial) if kind == "reported" and trial.until > trial.step else None
        if reason is not None:
            self._stopping[trial.number] = reason
        elif kind != "reported":
            self._stopping.pop(trial.number, None)

    def _take_over(self, trials: Sequence[Trial]) -> None:
        running = [t for t in trials if t.number in self.ledger.running]
        for event in self.executor.recover([_job(t) for t in running]) if running else ():
            self._hear(event)
        for number, why in self._stopping.items():  # those that still run
            self.executor.stop(number, why)
        for trial in trials:  # asked, but the controller ended before it was started or refused
            if not trial.until:
                refused = self.refusal(trial.values)
                if refused is not None:
                    self._record("ended", trial=trial.number, how=INFEASIBLE, why=refused)
                else:
                    trial.until = self.scheduler.first(trial.number)
                    self.ledger.waiting[trial.number] = trial
        self._commit()

    def _commit(self) -> None:
        if self.journal is not None:
            self._timed("journal", self.journal.commit)

    def _timed(self, what: str, call: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        try:
            return call()
        finally:
            setattr(self.timing, what, getattr(self.timing, what) + time.perf_counter() - began)


def _finite(figures: Mapping[str, float | None]) -> dict[str, float | None]:
    """As the journal holds them: a figure that is no number, whichever executor reports it, is None."""
    return {name: None if value is None or not math.isfinite(value) else float(value) for name, value in figures.items()}


def _job(trial: Trial) -> Job:
    return Job(trial.number, trial.values, trial.until, trial.attempt, trial.weights, trial.life)
