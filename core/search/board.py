"""How a study goes, while it runs: a table where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from heapq import nsmallest
from types import TracebackType
from typing import Any

from ..progress import clock_text
from .asking import told
from .ledger import Ledger
from .trials import OUTCOMES, PAUSED, Trial

_SECONDS_BETWEEN_LINES, _SECONDS_BETWEEN_TABLES = 60.0, 1.0
_RUNNING, _BEST = 16, 4


class Board:
    """Use as a context; call `show` as often as there may be news. ``steps`` of a whole trial; ``rungs``; ``trials`` and
    ``seconds``: after how many the study is over, None: never; ``pauses_end``: whether most trials that are paused stay so;
    ``say`` prints a line where there is no terminal."""

    def __init__(self, steps: int, rungs: tuple[int, ...], trials: int | None, seconds: float | None, pauses_end: bool,
                 say: Callable[[str], None]):  # fmt: skip
        self.steps, self.rungs, self.trials, self.seconds, self.pauses_end = steps, rungs, trials, seconds, pauses_end
        self._plain = say
        self._live: Any = None
        self._last = float("-inf") if sys.stderr.isatty() else time.monotonic()

    def __enter__(self) -> Board:
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(stderr=True), auto_refresh=False, transient=True)
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, text: str) -> None:
        """A line of its own, above the table."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False)
        else:
            self._plain(text)

    def show(self, ledger: Ledger, spent: float) -> None:
        """``spent``: seconds of the study until now."""
        now = time.monotonic()
        if not ledger.running or now - self._last < (_SECONDS_BETWEEN_LINES if self._live is None else _SECONDS_BETWEEN_TABLES):
            return
        self._last = now
        if self._live is None:
            self.say(self.line(ledger, spent))
        else:
            self._live.update(self._table(ledger, spent), refresh=True)

    def line(self, ledger: Ledger, spent: float) -> str:
        """Trials by state, the best so far, what has passed and what is left."""
        counts = ", ".join(f"{n} {state}" for state, n in ledger.counts.items() if n)
        of = f" of {self.trials}" if self.trials else ""
        best = "" if ledger.best is None else f"; best: trial {ledger.best.number}, {_figures(ledger, ledger.best)}"
        left = self.left(ledger, spent)
        eta = "" if left is None else f", {clock_text(left)} left"
        return f"{len(ledger.trials)}{of} trials: {counts or 'none'}{best}; {clock_text(spent)}{eta}"

    def left(self, ledger: Ledger, spent: float) -> float | None:
        """Seconds that the rest of the trials takes at the speed of those so far, or of the budget if that is less; None where
        that cannot be told yet."""
        budget = None if self.seconds is None else max(0.0, self.seconds - spent)
        done = self._done(ledger)
        if self.trials is None or done == 0:
            return budget
        rest = max(0.0, self.trials - done) * spent / done
        return rest if budget is None else min(rest, budget)

    def _done(self, ledger: Ledger) -> float:
        """How many trials are over, shares of those that go on included."""
        over = sum(ledger.counts[state] for state in OUTCOMES)
        if self.pauses_end:
            return over + ledger.counts[PAUSED] + sum(t.step / t.until for t in ledger.running.values())
        return over + sum(t.step / self.steps for t in ledger.trials if t.state not in OUTCOMES)

    def _table(self, ledger: Ledger, spent: float) -> Any:
        from rich.table import Table
        from rich.text import Text  # as it is: what stands in brackets is no markup

        running = sorted(ledger.running.values(), key=lambda t: t.number)
        best = nsmallest(_BEST, (t for t in ledger.trials if t.losses and t.number not in ledger.running), key=_rank)
        table = Table(title=Text(self.line(ledger, spent)), title_justify="left", title_style="", box=None, pad_edge=False)
        for name in ("trial", "state", "step", "rung", *ledger.objectives.directions, "values"):
            table.add_column(name, overflow="ellipsis", no_wrap=True)
        for trial in [*best, *running[:_RUNNING]]:
            table.add_row(*map(Text, self._row(ledger, trial)), style="bold" if trial is ledger.best else "")
        if len(running) > _RUNNING:
            table.caption = f"and {len(running) - _RUNNING} more running"
        return table

    def _row(self, ledger: Ledger, trial: Trial) -> list[str]:
        reached = sum(step <= trial.step for step in self.rungs)
        shown = ledger.objectives.shown(trial.losses) if trial.losses else {}
        figures = [f"{shown[n]:.4f}" if n in shown else "-" for n in ledger.objectives.directions]
        return [str(trial.number), trial.state, f"{trial.step}/{trial.until or self.steps}", f"{reached}/{len(self.rungs)}",
                *figures, told(trial.values)]  # fmt: skip


def _rank(trial: Trial) -> tuple[int, tuple[float, ...]]:
    return -trial.step, trial.losses or ()


def _figures(ledger: Ledger, trial: Trial) -> str:
    return "  ".join(f"{name} {value:.4f}" for name, value in ledger.objectives.shown(trial.losses or ()).items())
