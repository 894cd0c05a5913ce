"""``drivetrain eval``: a checkpoint of a run against a split of its data."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from ..manager import get_manager
from .train import say


def evaluate(
    run: Path = typer.Argument(..., help="A run's folder."),
    checkpoint: str = typer.Option("newest", "--checkpoint", help="newest, best, or the number of a step."),
    split: str = typer.Option("val", "--split", help="val or train."),
    raw: bool = typer.Option(False, "--raw", help="The weights as they were trained, not their running mean (ema)."),
    panels: int = typer.Option(8, "--panels", min=0, help="How many pictures to leave."),
    as_json: bool = typer.Option(False, "--json", help="For programs: every detail."),
) -> None:
    """Score a checkpoint and leave its prediction set and pictures in the run. Works under a launcher too."""
    from ..comm import Comm
    from ..errors import UserError, near_matches
    from ..evaluate import figures, save_panels
    from ..predictor import Predictor
    from ..run import RunFolder

    if split not in ("val", "train"):
        raise UserError(f"--split {split}: a recipe has train and val", near=near_matches(split, ("val", "train")))
    comm = Comm.start()
    folder = RunFolder(run)
    predictor = Predictor(folder, comm, get_manager(), checkpoint, say if comm.is_main else lambda _: None, raw)
    name = f"step-{predictor.checkpoint.step:08d}-{split}"
    results, shown = predictor.evaluate(folder.predictions / name, split, panels=panels)
    if comm.is_main:
        save_panels(shown, predictor.drawn_classes(), folder.path / "pictures" / name)
        say(f"{folder.path} after step {predictor.checkpoint.step}, {split}: predictions in {folder.predictions / name}")
        found = figures(predictor.recipe, results)
        print(json.dumps(results) if as_json else "\n".join(f"{k} {v}" for k, v in found.items()))
    comm.close()
