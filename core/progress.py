"""How far it is: a bar where there is a terminal, plain lines where there is none."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any

_SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Progress of one piece of work of ``total`` units. Use as a context; call `advance` as it goes.

    ``shown`` is False on ranks that are silent.
    """

    def __init__(self, what: str, total: int | None, unit: str, start: int = 0, shown: bool = True):
        self.what, self.total, self.unit, self.done, self._begin = what, total, unit, start, start
        self.shown, self._note, self._told = shown, "", start
        self._kept = 0
        self._bar: Any = None
        self._task: Any = None
        self._started = self._last_line = time.monotonic()

    def __enter__(self) -> Progress:
        self._started = self._last_line = time.monotonic()
        if self.shown and sys.stderr.isatty():
            self._bar = _rich_bar()
            self._task = self._bar.add_task(self.what, total=self.total, completed=self.done, note="")
            self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self.shown and kind is None and self.done > self._told:
            self._line()

    def advance(self, done: int, note: str = "", kept: int = 0) -> None:
        """``done`` units are done in all, ``kept`` of them by an earlier attempt: they do not count in the rate; ``note`` is
        shown beside them."""
        first, self.done, self._note, self._kept = self._last_line == self._started, done, note, kept
        if self._bar is not None:
            self._bar.update(self._task, completed=done, note=f"{self.rate:.2f} {self.unit}/s  {note}")
        elif self.shown and (first or time.monotonic() - self._last_line > _SECONDS_BETWEEN_LINES):
            self._line()

    def say(self, text: str) -> None:
        """A line of its own, above the bar."""
        if self.shown:
            if self._bar is not None:
                self._bar.console.print(text, markup=False, highlight=False)
            else:
                _plain(text)

    @property
    def rate(self) -> float:
        return (self.done - self._begin - self._kept) / self.seconds

    @property
    def seconds(self) -> float:
        """Since it began."""
        return max(time.monotonic() - self._started, 1e-9)

    @property
    def units(self) -> str:
        return self.unit + ("es" if self.unit.endswith("ch") else "s")

    def _line(self) -> None:
        self._last_line, self._told = time.monotonic(), self.done
        left = f", {clock_text((self.total - self.done) / self.rate)} left" if self.total and self.rate > 0 else ""
        of = f"/{self.total}" if self.total else ""
        _plain(f"{self.what} {self.done}{of} {self.units}, {self.rate:.2f}/s{left}  {self._note}".rstrip())


def _plain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def clock_text(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03."""
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}"


def _rich_bar() -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    what, note = TextColumn("{task.description}"), TextColumn("{task.fields[note]}")
    return Bar(what, BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), note, console=Console(stderr=True))
