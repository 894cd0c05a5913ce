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
    where: str = typer.Option(None, "--where", help="Which of them, such as \"key ~ '0001*'\" (docs/loading.md)."),
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
    from ..progress import Progress
    from ..scoring import compared, differences, frames_that_count, table

    given = parse_options(option) | {k: v for k, v in (("classes", classes), ("ignore", ignore)) if v is not None}
    scorer: Scorer = build_with(get_manager().resolve("scorer", metric), given)
    names = None if ids is None else [line.strip() for line in read_lines(ids)]
    scored = scorer(truth, predictions, names)
    times, scenes = frames_that_count(scored, where, index)
    figures = scored.figures(times)
    if against is None:
        print(json.dumps(_official(figures, scored), indent=1) if as_json else "\n".join(table(figures)))
        return
    other = scorer(truth, against, names)
    with Progress("resampling", draws, "draw") as progress:
        difference = differences(scored, other, times, scenes, draws, seed, progress.advance)
    theirs = other.figures(times)
    if as_json:
        both = {"against": _official(theirs, other), "difference": difference}
        print(json.dumps(_official(figures, scored) | both, indent=1))
    else:
        print("\n".join(compared(figures, theirs, difference)))


def _official(figures: dict[str, Any], scored: Scored) -> dict[str, Any]:
    from ..scoring import mapped

    return mapped(figures, lambda _, value: scored.nothing if value is None else value)
