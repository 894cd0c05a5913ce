"""``drivetrain predict``: a run's model on pictures or shards that need no labels."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import typer

from ..manager import get_manager
from .train import say


def _shards(data: Path, scratch: Path, recipe: Any) -> str:
    """The shard set that ``data`` is, or one made of the pictures in it."""
    from ..looking import shards_of_pictures

    is_set = (data / "dataset.json").is_file() or "{" in data.name or any(data.glob("*.tar"))
    return str(data) if is_set else shards_of_pictures(data, scratch, recipe)


def predict(
    run: Path = typer.Argument(..., help="A run's folder."),
    data: Path = typer.Argument(..., help="A shard set, WebDataset tars, or a folder of JPEG and PNG pictures."),
    out: Path = typer.Option(..., "--out", help="Where the prediction set and the pictures are written."),
    checkpoint: str = typer.Option("newest", "--checkpoint", help="newest, best, or the number of a step."),
    raw: bool = typer.Option(False, "--raw", help="The weights as they were trained, not their running mean (ema)."),
    panels: int = typer.Option(16, "--panels", min=0, help="How many pictures to draw."),
) -> None:
    """Predict, and draw what was predicted. Nothing is scored: see eval."""
    from ..comm import Comm
    from ..evaluate import save_panels
    from ..looking import spec_of_shards
    from ..predictor import Predictor
    from ..run import RunFolder

    comm = Comm.start()
    predictor = Predictor(RunFolder(run), comm, get_manager(), checkpoint, say if comm.is_main else lambda _: None, raw)
    scratch = out / ".pictures-as-shards"  # beside the output, which every host sees
    try:
        shards = comm.broadcast(comm.together(lambda: _shards(data, scratch, predictor.recipe) if comm.is_main else None))
        spec = spec_of_shards(predictor.recipe, shards)
        _, shown = predictor.evaluate(out / "predictions", "predict", spec, panels)
    finally:
        if comm.is_main:
            shutil.rmtree(scratch, ignore_errors=True)
    if comm.is_main:
        save_panels(shown, predictor.drawn_classes(), out / "pictures")
        say(f"predictions in {out / 'predictions'}, pictures in {out / 'pictures'}")
    comm.close()
