"""A study's folder.

::

    journal               everything that happened (`drivetrain.search.journal`)
    recipe.yaml           the recipe with all that it extends and the command line said: what the study goes on with
    trials/00012/         a trial: recipe.yaml, run/ (a run's folder; run-1/ after it took over another's weights), log
    best.yaml             the best trial so far as a recipe that `drivetrain train` runs
    page.html             what `drivetrain search page` leaves
    stop                  whoever writes it makes all trials save and leave
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..errors import UserError
from .journal import read_journal
from .ledger import Ledger
from .trials import Objectives

LAYOUT = 1


class StudyFolder:
    """A study on disk, to look at."""

    def __init__(self, path: Path):
        self.path = Path(path)

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.yaml"

    @property
    def stop_file(self) -> Path:
        return self.path / "stop"

    def trial(self, number: int) -> Path:
        return self.path / "trials" / f"{number:05d}"

    def read(self) -> tuple[dict[str, Any], Ledger]:
        """What the study is, and where it stands. Raises UserError where this is no study."""
        records = read_journal(self.journal)
        if not records or records[0]["kind"] != "study":
            raise UserError(f"{self.path} is no study: there is no journal of one in it",
                            remedy="a study is what `drivetrain search RECIPE --study DIR` leaves")  # fmt: skip
        about = records[0]
        if about["layout"] != LAYOUT:
            raise UserError(f"{self.path}: study layout {about['layout']}, this version reads {LAYOUT}")
        ledger = Ledger(objectives_of(about))
        for record in records[1:]:
            ledger.apply(record)
        return about, ledger


def objectives_of(about: dict[str, Any]) -> Objectives:
    return Objectives(about["objectives"], {name: (low, high) for name, (low, high) in about["limits"].items()})
