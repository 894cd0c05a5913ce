"""``drivetrain score``: official metrics on official files."""

from __future__ import annotations

import json
from dataclasses import dataclass
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
    where: list[str] = typer.Option([], "--where", help="Which of them (key ~ '0001*'); several: each a slice of its own."),
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
    pair = [scorer(truth, path, names) for path in (predictions, against) if path is not None]
    slices: list[str | None] = [*where] or [None]
    parts = {text: _part(pair, text, index, draws, seed) for text in slices}
    if as_json:
        every = {text: part.as_json() for text, part in parts.items()}
        print(json.dumps({"slices": every} if len(where) > 1 else every.popitem()[1], indent=1))
    else:
        print("\n\n".join("\n".join([*([str(text)] if len(where) > 1 else []), *part.lines()]) for text, part in parts.items()))


@dataclass(frozen=True)
class _Part:
    """What is said of some frames: the figures of one set of predictions, or of two and their differences."""

    scored: Scored
    figures: list[dict[str, Any]]
    difference: dict[str, Any] | None

    def as_json(self) -> dict[str, Any]:
        own, *others = (_official(figures, self.scored) for figures in self.figures)
        return own if self.difference is None else {**own, "against": others[0], "difference": self.difference}

    def lines(self) -> list[str]:
        from ..scoring import compared, table

        if self.difference is None:
            return table(self.figures[0])
        return compared(self.figures[0], self.figures[1], self.difference)


def _part(pair: list[Scored], where: str | None, index: Path | None, draws: int, seed: int) -> _Part:
    from ..progress import Progress
    from ..scoring import differences, frames_that_count

    times, scenes = frames_that_count(pair[0], where, index)
    figures = [scored.figures(times) for scored in pair]
    if len(pair) == 1:
        return _Part(pair[0], figures, None)
    with Progress("resampling", draws, "draw") as progress:
        return _Part(pair[0], figures, differences(pair[0], pair[1], times, scenes, draws, seed, progress.advance))


def _official(figures: dict[str, Any], scored: Scored) -> dict[str, Any]:
    from ..scoring import mapped

    return mapped(figures, lambda _, value: scored.nothing if value is None else value)
