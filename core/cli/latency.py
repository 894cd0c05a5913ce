"""``drivetrain latency``: how long an export takes for one picture, beside the model itself."""

from __future__ import annotations

import json
from pathlib import Path

import typer

from ..manager import get_manager
from .train import say


def latency(
    run: Path = typer.Argument(..., help="A run's folder."),
    file: Path = typer.Argument(..., help="What `export` wrote of it."),
    runs: int = typer.Option(100, "--runs", min=1, help="How often each is run, after 10 times that do not count."),
    checkpoint: str = typer.Option("newest", "--checkpoint", help="newest, best, or the number of a step."),
    raw: bool = typer.Option(False, "--raw", help="The weights as they were trained, not their running mean (ema)."),
    as_json: bool = typer.Option(False, "--json", help="For programs."),
) -> None:
    """Time the network on this machine's CPU, one picture at a time: as it was trained, and as it was exported."""
    from ..comm import Comm
    from ..errors import UserError
    from ..latency import latency as measure
    from ..latency import table
    from ..predictor import Predictor
    from ..run import RunFolder

    comm = Comm.start()
    if comm.world > 1:
        raise UserError("ranks would take each other's time", remedy="run it without a launcher")
    predictor = Predictor(RunFolder(run), comm, get_manager(), checkpoint, say, raw)
    found = measure(predictor, file, comm.cores, runs)
    print(json.dumps(found) if as_json else "\n".join(table(found)))
    comm.close()
