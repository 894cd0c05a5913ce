"""``drivetrain data export`` and ``import``: frames to annotators, and their boxes back as an overlay."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from ..errors import UserError, near_matches
from ..files import read_lines


def export(
    format: str = typer.Argument(..., help="coco or kitti."),
    shards: str = typer.Argument(..., help="A shard set."),
    out: Path = typer.Argument(..., help="The folder that is written."),
    keys: Path = typer.Option(None, "--keys", help="A file with a key a line; all frames by default."),
    findings: Path = typer.Option(None, "--findings", help="A findings.jsonl of `data curate`: its frames."),
    overlay: list[str] = typer.Option([], "--overlay", help="Labels that lie over the set's own; may be repeated."),
) -> None:
    """Hand pictures, as they are, and boxes to annotators."""
    from ..data import default_loader
    from ..exchange import export_frames
    from ..progress import Progress

    _check_format(format)
    if keys is not None and findings is not None:
        raise UserError("--keys and --findings exclude each other")
    opened = default_loader().open(shards, overlay)
    chosen = read_lines(keys) if keys else None
    if findings:
        try:
            said = [json.loads(line) for line in read_lines(findings)]
            here = set(opened.index.column("key").to_pylist())
            chosen = [one["key"] for one in said if one["key"] in here]
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(f"{findings} holds no findings: {error}") from error
    with Progress("exporting", None, "frame") as progress:
        count = export_frames(format, opened, out, chosen, progress)
    print(f"{out}: {count} pictures with their boxes, as {format}")


def import_(
    format: str = typer.Argument(..., help="coco or kitti."),
    path: Path = typer.Argument(..., help="The folder that was exported; of COCO the JSON will do."),
    overlay: Path = typer.Argument(..., help="The overlay that is written."),
    base: str = typer.Option(..., "--base", help="The shard set that the frames are of."),
) -> None:
    """Bring boxes back as an overlay, which a recipe's source names under `overlays:`."""
    from ..data import default_loader
    from ..exchange import import_labels

    _check_format(format)
    count = import_labels(format, path, overlay, default_loader().open(base))
    print(f"{overlay}: labels of {count} frames")


def _check_format(format: str) -> None:
    from ..exchange import PICTURES

    if format not in PICTURES:
        raise UserError(f"no format {format!r}", near=near_matches(format, PICTURES), remedy=f"formats: {', '.join(PICTURES)}")
