"""``drivetrain search``: a study over a recipe, and what is known of one."""

from __future__ import annotations

import csv
import json
import sys
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from ..errors import CRASH, REQUEUE, RecipeError, UserError, near_matches
from ..files import new_file, write_text
from ..manager import get_manager
from .train import say

if TYPE_CHECKING:
    from ..search.folder import StudyFolder
    from ..search.ledger import Ledger
    from ..search.trials import Trial


class _WithRecipe(TyperGroup):
    """``search RECIPE`` is ``search run RECIPE``."""

    def parse_args(self, ctx, args):
        if args and args[0] not in self.commands and args[0] not in ("--help", "-h"):
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(cls=_WithRecipe, no_args_is_help=True, help="Search over a recipe: drivetrain search RECIPE [KEY=VALUE]...")
_STUDY = typer.Argument(..., help="A study's folder.", metavar="STUDY")
_JSON = typer.Option(False, "--json", help="For programs.")
_OVERRIDES = typer.Argument(None, help="key.sub=value", metavar="[KEY=VALUE]...")


@app.callback()
def _group() -> None:
    """Search over a recipe: drivetrain search RECIPE [KEY=VALUE]..."""


@app.command(hidden=True)
def run(
    recipe: str = typer.Argument(..., help="A recipe with a section search."),
    overrides: list[str] = _OVERRIDES,
    study: Path = typer.Option(None, "--study", help="The study's folder: made, or gone on with."),
    trials: int = typer.Option(None, "--trials", min=1, help="search.trials"),
    budget: str = typer.Option(None, "--budget", help="search.budget, such as 2h"),
    executor: str = typer.Option(None, "--executor", help="search.executor.plugin"),
    parallel: int = typer.Option(
        None, "--parallel", min=1, help="Trials at a time: search.executor.trials, with slots for them."
    ),
) -> None:
    """Run the study of a recipe's section ``search``; the best trial is left as a recipe that ``train`` runs."""
    folder = study or Path("studies") / f"{Path(recipe).stem}-{datetime.now():%Y%m%d-%H%M%S}"
    given = {"trials": trials, "budget": budget, "executor.plugin": executor}
    words = [f"search.{key}={value}" for key, value in given.items() if value is not None]
    try:
        _run(recipe, [*words, *(overrides or [])], folder, parallel)
    except RecipeError as error:
        if error.message != f"no recipe {recipe!r}":
            raise
        names = [command.name or command.callback.__name__ for command in app.registered_commands if command.callback]
        near = [*near_matches(recipe, names), *error.near]  # `search statsu`
        raise RecipeError(error.message, near=near, remedy=error.remedy) from error


@app.command()
def resume(
    study: Path = _STUDY,
    overrides: list[str] = _OVERRIDES,
    parallel: int = typer.Option(None, "--parallel", min=1, help="Trials at a time."),
) -> None:
    """Go on with a study, with more trials if asked for: search.trials=100."""
    found = _folder(study)
    found.read()
    _run(str(found.recipe), overrides or [], study, parallel)


@app.command()
def status(study: Path = _STUDY, as_json: bool = _JSON) -> None:
    """Where a study stands: trials by state, the best so far."""
    from ..search.lease import holder_of

    about, ledger = _folder(study).read()
    holder = holder_of(study)
    if as_json:
        told = {"study": str(study), "run_by": holder, "seconds": ledger.spent, "counts": _counts(ledger),
                "best": _as_json(ledger, ledger.best), "trials": [_as_json(ledger, t) for t in ledger.trials]}  # fmt: skip
        typer.echo(json.dumps(told))
        return
    counts = ", ".join(f"{n} {state}" for state, n in _counts(ledger).items()) or "no trial yet"
    typer.echo(f"{study}: {counts}; {ledger.spent:.0f} s; {'run by ' + holder if holder else 'nobody runs it'}")
    _table(ledger, about)


@app.command()
def best(
    study: Path = _STUDY,
    out: Path = typer.Option(None, "--out", help="Write the best trial as a recipe to this file; else tell of it."),
    as_json: bool = _JSON,
) -> None:
    """The best trial, or the front of several objectives."""
    from ..recipe import load_recipe
    from ..search.study import best_recipe

    found = _folder(study)
    _, ledger = found.read()
    if ledger.best is None:
        raise UserError(f"{study}: {ledger.why_no_best()}")
    if out is not None:
        recipe = load_recipe(found.recipe, (), get_manager())
        write_text(new_file(out), best_recipe(found, ledger.best, ledger.objectives, recipe))
        say(f"wrote {out}; next: drivetrain train {out}")
    front = ledger.front or [ledger.best]
    if as_json:
        typer.echo(json.dumps([_as_json(ledger, trial) for trial in front]))
    elif out is None:
        for trial in front:
            typer.echo(f"trial {trial.number} ({trial.state}, step {trial.step}): {_figures(ledger, trial)}")
            for name, value in trial.values.items():
                typer.echo(f"  {name}: {json.dumps(value)}")


@app.command()
def stop(study: Path = _STUDY) -> None:
    """Make a study rest: its trials save and leave. ``resume`` goes on."""
    from ..search.lease import holder_of

    found = _folder(study)
    found.read()
    if holder_of(study) is None:
        say(f"{study}: nobody runs it")
        return
    found.stop_file.touch()
    say(f"{study}: its trials save and leave; go on with: drivetrain search resume {study}")


@app.command()
def importance(study: Path = _STUDY, as_json: bool = _JSON) -> None:
    """How much each parameter matters to the first objective, 0 to 1, over the trials that came furthest."""
    from ..search.results import importances
    from ..search.space import space_from

    about, ledger = _folder(study).read()
    found = importances(ledger, space_from(about["space"]))
    if as_json:
        typer.echo(json.dumps(found))
        return
    for name, share in found.items():
        typer.echo(f"{share:6.1%}  {name}")


@app.command()
def page(
    study: Path = _STUDY,
    out: Path = typer.Option(None, "--out", help="The file; else page.html in the study's folder."),
) -> None:
    """A study to look at, as one HTML file: history, curves, rungs, importance, front, lineage, all trials."""
    from ..search.page import write_study_page

    out = out or study / "page.html"
    write_study_page(_folder(study), out)
    say(f"wrote {out}")


class _Format(str, Enum):
    csv = "csv"
    optuna = "optuna"


@app.command()
def export(
    study: Path = _STUDY,
    form: _Format = typer.Option(_Format.csv, "--format", help="A table, or an Optuna storage."),
    out: Path = typer.Option(
        None, "--out", help="The file; else a table is printed, a storage is optuna.db in the study's folder."
    ),
) -> None:
    """All trials: values, figures, outcomes; as a CSV table, or for optuna-dashboard."""
    if form == _Format.csv:
        _export_table(study, out)
        return
    from ..search.optuna_export import export_optuna

    out = out or study / "optuna.db"
    name = export_optuna(_folder(study), out)
    say(f"wrote {out}, study {name}; look at it with: optuna-dashboard sqlite:///{out}")


# ---------------------------------------------------------------- inside


def _run(recipe: str, overrides: list[str], folder: Path, parallel: int | None) -> None:
    from ..hosts import control_words
    from ..search.study import open_study
    from ..search.trials import FAILURES
    from ..sweep import leave_sweep

    leave_sweep()  # trials inherit this environment
    if parallel is not None:
        overrides = [f"search.executor.trials={parallel}", *overrides]
    study = open_study(recipe, overrides, folder, say, control_words(get_manager().controls))
    why = study.run()
    ledger = study.ledger
    say(f"{folder}: {why}: {', '.join(f'{n} {state}' for state, n in _counts(ledger).items())}")
    if ledger.best is not None:
        say(f"best: trial {ledger.best.number}, {_figures(ledger, ledger.best)}; next: drivetrain train {folder / 'best.yaml'}")
    else:
        say(f"no best: {ledger.why_no_best()}")
    if code := REQUEUE if study.signal is not None else study.controller.code:
        raise typer.Exit(code)
    if ledger.trials and all(trial.state in FAILURES for trial in ledger.trials):
        raise typer.Exit(CRASH)


def _export_table(study: Path, out: Path | None) -> None:
    about, ledger = _folder(study).read()
    figures = list(dict.fromkeys([*about["objectives"], *about["limits"]]))
    head = ["trial", "state", "step", *figures, *about["parameters"], "origin", "why"]
    with new_file(out).open("w", newline="") if out else _unclosed(sys.stdout) as file:
        table = csv.writer(file)
        table.writerow(head)
        for t in ledger.trials:
            values = [_cell(t.values[name]) if name in t.values else "" for name in about["parameters"]]
            table.writerow([t.number, t.state, t.step, *(t.figures.get(name) for name in figures), *values, t.origin, t.why])


def _folder(path: Path) -> StudyFolder:
    from ..search.folder import StudyFolder

    return StudyFolder(path)


def _counts(ledger: Ledger) -> dict[str, int]:
    return {state: n for state, n in ledger.counts.items() if n}


def _figures(ledger: Ledger, trial: Trial) -> str:
    return "  ".join(f"{name} {value:.6g}" for name, value in ledger.objectives.shown(trial.losses or ()).items())


def _as_json(ledger: Ledger, trial: Trial | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    return {"trial": trial.number, "state": trial.state, "step": trial.step, "until": trial.until, "figures": trial.figures,
            "values": dict(trial.values), "origin": trial.origin, "weights": trial.weights, "why": trial.why}  # fmt: skip


def _table(ledger: Ledger, about: dict[str, Any], rows: int = 20) -> None:
    from ..search.asking import told

    ranked = sorted((t for t in ledger.trials if t.losses), key=lambda t: (-t.step, t.losses))
    for t in ranked[:rows]:
        place = f"{t.number:>5}  {t.state:<13} {t.step:>7}/{about['steps']}"
        typer.echo(f"{place}  {_figures(ledger, t)}  {told(t.values)}")
    if len(ranked) > rows:
        typer.echo(f"and {len(ranked) - rows} more: drivetrain search export")


def _cell(value: Any) -> Any:
    return value if isinstance(value, (str, int, float)) else json.dumps(value)


def _unclosed(file: Any) -> Any:
    from contextlib import nullcontext

    return nullcontext(file)
