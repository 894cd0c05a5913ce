"""``drivetrain data curate``: what is wrong with shard sets, and a view without it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from ..errors import UserError, near_matches

if TYPE_CHECKING:
    from ..manager import Found


def curate(
    shards: list[Path] = typer.Argument(..., help="Shard sets; several are held against each other too."),
    out: Path = typer.Option(Path("curation"), "--out", help="The folder that is written."),
    checks: str = typer.Option(None, "--checks", help="Which, joined by commas; all by default."),
    exclude: str = typer.Option(None, "--exclude", help="Checks whose findings the view leaves out; '' for none."),
    predictions: Path = typer.Option(None, "--predictions", help="A prediction set, for the checks that need one."),
    overlay: list[str] = typer.Option([], "--overlay", help="Labels that lie over the sets' own; may be repeated."),
    option: list[str] = typer.Option([], "--option", metavar="CHECK.KEY=VALUE", help="An option of a check."),
    workers: int = typer.Option(None, "--workers", min=1, help="Processes; one a core by default."),
) -> None:
    """Look for duplicates, bad pictures, leaks and wrong labels; leave a page, a list and a view without them."""
    from ..curation import Job
    from ..curation import curate as run
    from ..data import default_loader, parse_options
    from ..progress import Progress

    _refuse_what_is_there(out)
    every = _checks(checks)
    chosen = {name: found for name, found in every.items() if predictions or not found.declaration.needs_predictions}
    if checks is not None and len(chosen) < len(every):
        raise UserError(f"{', '.join(sorted(every.keys() - chosen.keys()))}: a prediction set is needed",
                        remedy="name one with --predictions: `drivetrain eval` and `predict` write them")  # fmt: skip
    by_default = [name for name, found in chosen.items() if found.declaration.excludes]
    left_out = by_default if exclude is None else _named(exclude, chosen, "--exclude")
    paths = tuple(str(path) for path in shards)
    job = Job(paths, _built(chosen, parse_options(option)), tuple(overlay), str(predictions) if predictions else None)
    sets = [default_loader().open(path, overlay) for path in paths]
    with Progress("curating", sum(map(len, sets)), "frame") as progress:
        found, bars = run(job, workers or len(os.sched_getaffinity(0)), progress.advance)
    counts = _write(out, found, bars, every, sets, left_out, sorted(every.keys() - chosen.keys()))
    for name, findings in found.items():
        if findings:
            print(f"{name}: {len(findings)}")
    left = ", ".join(f"{count} frames of {name}" for name, count in counts.items())
    print(f"{out / 'report.html'}; {out / 'findings.jsonl'}; {out / 'view'} leaves out {left}")


def _refuse_what_is_there(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is there already", remedy="name another --out, or move it away")


def _checks(wanted: str | None) -> dict[str, Found]:
    from ..manager import get_manager

    every = {found.declaration.name: found for found in get_manager().found("curation_check")}
    return every if wanted is None else {name: every[name] for name in _named(wanted, every, "--checks")}


def _named(text: str, every: Mapping[str, Any], option: str) -> list[str]:
    """The names in ``text``. Raises UserError for one that is none of ``every``."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in every:
            raise UserError(f"{option}: no check {name!r} is run", near=near_matches(name, every),
                            remedy=f"checks: {', '.join(every)}")  # fmt: skip
    return names


def _built(chosen: Mapping[str, Found], options: Mapping[str, Any]) -> dict[str, Any]:
    from ..data import build_with

    given: dict[str, dict[str, Any]] = {name: {} for name in chosen}
    for option, value in options.items():
        name, _, key = option.partition(".")
        _named(name, chosen, "--option")
        given[name][key] = value
    return {name: build_with(found, given[name]) for name, found in chosen.items()}


def _write(out: Path, found: Any, bars: Any, every: Mapping[str, Found], sets: Any, left_out: list[str], skipped: list[str]
           ) -> dict[str, int]:  # fmt: skip
    from ..curation_report import write_findings, write_report, write_views
    from ..overlay import prepare_aside

    names = _names([shards.path for shards in sets])
    about = {name: one.declaration.about for name, one in every.items()} | {"readable": "Frames that cannot be read"}
    aside = prepare_aside(out)
    write_findings(aside / "findings.jsonl", found, [shards.path for shards in sets])
    excluded = {name: found[name] for name in ["readable", *left_out] if name in found}
    counts = write_views(aside / "view", excluded, sets, names, {"curation": str(out), "without": list(excluded)})
    write_report(aside / "report.html", found, bars, about, sets, names, counts, skipped)
    if out.is_dir():
        out.rmdir()
    aside.rename(out)
    return counts


def _names(paths: list[str]) -> list[str]:
    """The folders' own names, with their parents' where these are not distinct."""
    for depth in range(1, 10):
        names = ["-".join(Path(path).absolute().parts[-depth:]) for path in paths]
        if len(set(names)) == len(names):
            return names
    raise UserError("a shard set is named twice", remedy="name each once")
