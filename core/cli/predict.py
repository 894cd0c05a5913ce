"""``drivetrain predict``: a run's model on pictures, videos or shards that need no labels."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..manager import get_manager
from .train import say

if TYPE_CHECKING:
    from ..pseudo import Scores


def predict(
    run: Path = typer.Argument(..., help="A run's folder."),
    source: str = typer.Argument(..., help="A picture, a folder of them (JPEG, PNG), a video, a shard set or WebDataset tars."),
    out: Path = typer.Option(..., "--out", help="Where the prediction set, pictures, COCO json and masks are written."),
    checkpoint: str = typer.Option("newest", "--checkpoint", help="newest, best, or the number of a step."),
    raw: bool = typer.Option(False, "--raw", help="The weights as they were trained, not their running mean (ema)."),
    panels: int = typer.Option(None, "--panels", min=0, help="How many pictures to draw; all, but 16 of a shard set."),
    draw_score: float = typer.Option(0.3, "--draw-score", help="From which on a box is drawn; all are written."),
    overlay: Path = typer.Option(None, "--overlay", help="Pseudo-labels over the shard set, which a source can name."),
    min_score: list[str] = typer.Option([], "--min-score", help="From which on a box is a label: car=.6, or .6. Repeatable."),
    ignore_score: list[str] = typer.Option([], "--ignore-score", help="From which on it is ignored; half of it by default."),
) -> None:
    """Predict, draw what was predicted, and write it for other programs. Nothing is scored: see eval."""
    from ..comm import Comm
    from ..data import default_loader
    from ..footage import is_shard_set, shards_of_footage, spec_of_shards
    from ..overlay import Overlay
    from ..predicted import write_forms
    from ..predictor import Predictor
    from ..pseudo import write_pseudo_labels
    from ..run import RunFolder

    comm = Comm.start()
    predictor = Predictor(RunFolder(run), comm, get_manager(), checkpoint, say if comm.is_main else lambda _: None, raw)
    is_set = is_shard_set(source)
    scores = _checked_scores(overlay, min_score, ignore_score, is_set, predictor.recipe.classes.get("object_detection", ()))
    scratch = out / ".footage"  # beside the output, which every host sees
    make = lambda: source if is_set else shards_of_footage(Path(source), scratch, predictor.recipe)
    try:
        shards = comm.broadcast(comm.together(lambda: make() if comm.is_main else None))
        predictor.evaluate(out / "predictions", "predict", spec_of_shards(predictor.recipe, shards))
        if comm.is_main:
            opened, predictions = default_loader().open(shards), Overlay(out / "predictions")
            write_forms(opened, predictions, out, predictor.drawn_classes(), 16 if panels is None and is_set else panels,
                        draw_score)  # fmt: skip
            if scores is not None:
                write_pseudo_labels(opened, predictions, overlay, scores, say)
            say(f"predictions in {out / 'predictions'}, pictures in {out / 'pictures'}")
    finally:
        if comm.is_main:
            shutil.rmtree(scratch, ignore_errors=True)
    comm.close()


def _checked_scores(overlay: Path | None, min_score: list[str], ignore_score: list[str], is_set: bool,
                    classes: Sequence[str]) -> Scores | None:  # fmt: skip
    """The scores of pseudo-labels, None where none are asked for. Raises UserError before anything is predicted."""
    from ..errors import UserError
    from ..pseudo import Scores

    if overlay is None:
        if min_score or ignore_score:
            raise UserError("--min-score and --ignore-score are of pseudo-labels", remedy="say where: --overlay FOLDER")
        return None
    if not is_set:
        raise UserError("--overlay: pseudo-labels lie over a shard set, and this is none",
                        remedy="make one of the pictures first: `drivetrain data shard`")  # fmt: skip
    if overlay.exists():
        raise UserError(f"{overlay} is there already", remedy="name another place, or move it away")
    return Scores.of(min_score, ignore_score, classes)
