"""``drivetrain data synth``."""

from __future__ import annotations

import os
from pathlib import Path

import typer


def synth(
    out: Path = typer.Argument(..., help="Where OUT/train and OUT/val are written."),
    train: int = typer.Option(240, "--train", min=1, help="Frames of the train split."),
    val: int = typer.Option(48, "--val", min=1, help="Frames of the val split."),
    size: str = typer.Option("640x360", "--size", help="WIDTHxHEIGHT in pixels."),
    seed: int = typer.Option(0, "--seed", min=0, help="Another seed is another world."),
    workers: int = typer.Option(None, "--workers", min=1, help="Processes; one a core by default."),
) -> None:
    """Write train and val shard sets of the synthetic world: no download."""
    from drivetrain import UserError, convert, open_dataset

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise UserError(f"--size {size}: expected WIDTHxHEIGHT, such as 640x360")
    for split, frames in (("train", train), ("val", val)):
        options = {"frames": frames, "width": int(width), "height": int(height), "seed": seed}
        _, dataset = open_dataset("drivetrain:synthetic", options)
        cores = len(os.sched_getaffinity(0))
        shards = convert("synthetic", dataset, Path("synthetic"), out / split, split, workers or cores, samples_per_shard=32)
        print(f"{shards.path}: {len(shards)} frames")
