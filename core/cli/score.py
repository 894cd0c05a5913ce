"""``drivetrain score``: official metrics on official files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from ..contracts import Scored, Scorer


def score(
    metric: str = typer.Argument(..., help="Which: drivetrain plugins list scorer."),
    truth: Path = typer.Option(..., "--truth", help="The labels, in the official format: a file or a folder."),
    predictions: Path = typer.Option(..., "--predictions", help="What is scored, in the official format."),
    against: Path = typer.Option(None, "--against", help="Other predictions: differences, with a bootstrap over scenes."),
    ids: Path = typer.Option(None, "--ids", help="A file that names the frames that count, a line each."),
    where: list[str] = typer.Option(
        [], "--where", help="Which of them, such as \"key ~ '0001*'\" (docs/loading.md); given several times, each on its own."
    ),
    index: Path = typer.Option(None, "--index", help="A shard set of the same keys: its scenes and tags, for --where."),
    classes: str = typer.Option(None, "--classes", help="How many, or their names in the order of ids, joined by commas."),
    ignore: int = typer.Option(None, "--ignore", help="The id in masks that does not count."),
    option: list[str] = typer.Option([], "--option", metavar="KEY=VALUE", help="Another option of the metric."),
    draws: int = typer.Option(1000, "--draws", min=1, help="Of the bootstrap."),
    seed: int = typer.Option(0, "--seed", help="Of the bootstrap."),
    as_json: bool = typer.Option(False, "--json", help="For programs: nested and named as by the official tool."),
) -> None:
    """Score predictions in an official format against official labels, with the official numbers."""
    from ..data import build_with, parse_options
    from ..files import read_lines
    from ..manager import get_manager

    given = parse_options(option) | {k: v for k, v in (("classes", classes), ("ignore", ignore)) if v is not None}
    scorer: Scorer = build_with(get_manager().resolve("scorer", metric), given)
    names = None if ids is None else [line.strip() for line in read_lines(ids)]
    scored = scorer(truth, predictions, names)
    other = None if against is None else scorer(truth, against, names)
    reports = {one: _report(scored, other, one, index, draws, seed) for one in where or [None]}
    if as_json:
        nests = {one: _as_json(scored, other, *report) for one, report in reports.items()}
        print(json.dumps({"slices": nests} if len(where) > 1 else next(iter(nests.values())), indent=1))
        return
    for number, (one, report) in enumerate(reports.items()):
        if len(where) > 1:
            print("\n" * (number > 0) + f"--where {one}")
        print("\n".join(_as_lines(*report)))


Report = tuple[dict[str, Any], "dict[str, Any] | None", "dict[str, Any] | None"]
"""Figures, the other predictions', and the difference."""


def _report(scored: Scored, other: Scored | None, where: str | None, index: Path | None, draws: int, seed: int) -> Report:
    from ..progress import Progress
    from ..scoring import differences, frames_that_count

    times, scenes = frames_that_count(scored, where, index)
    if other is None:
        return scored.figures(times), None, None
    with Progress("resampling", draws, "draw") as progress:
        difference = differences(scored, other, times, scenes, draws, seed, progress.advance)
    return scored.figures(times), other.figures(times), difference


def _as_json(scored: Scored, other: Scored | None, figures: Any, theirs: Any, difference: Any) -> dict[str, Any]:
    both = {} if other is None else {"against": _official(theirs, other), "difference": difference}
    return _official(figures, scored) | both


def _as_lines(figures: Any, theirs: Any, difference: Any) -> list[str]:
    from ..scoring import compared, table

    return table(figures) if theirs is None else compared(figures, theirs, difference)


def _official(figures: dict[str, Any], scored: Scored) -> dict[str, Any]:
    from ..scoring import mapped

    return mapped(figures, lambda _, value: scored.nothing if value is None else value)
