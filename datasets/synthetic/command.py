"""``drivetrain data synth``."""

from __future__ import annotations

import os
from pathlib import Path

import typer

_LABELS = ("semantic", "boxes", "drivable", "lanes", "depth", "instances")


def synth(
    out: Path = typer.Argument(..., help="Where OUT/train and OUT/val are written."),
    train: int = typer.Option(240, "--train", min=1, help="Frames of the train split."),
    val: int = typer.Option(48, "--val", min=1, help="Frames of the val split."),
    size: str = typer.Option("640x360", "--size", help="WIDTHxHEIGHT in pixels."),
    seed: int = typer.Option(0, "--seed", min=0, help="Another seed is another world."),
    labels: str = typer.Option(
        "semantic,boxes", "--labels", help="Some of semantic,boxes,drivable,lanes,depth,instances; or all."
    ),
    workers: int = typer.Option(None, "--workers", min=1, help="Processes; one a core by default."),
) -> None:
    """Write train and val shard sets of the synthetic world: no download."""
    from drivetrain import UserError, convert, near_matches, open_dataset

    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit()):
        raise UserError(f"--size {size}: expected WIDTHxHEIGHT, such as 640x360")
    chosen = list(_LABELS) if labels == "all" else [name.strip() for name in labels.split(",")]
    if strange := [name for name in chosen if name not in _LABELS]:
        raise UserError(f"--labels {labels}: no label {strange[0]!r}", near=near_matches(strange[0], _LABELS),
                        remedy=f"labels: {', '.join(_LABELS)}")  # fmt: skip
    for split, frames in (("train", train), ("val", val)):
        options = {"frames": frames, "width": int(width), "height": int(height), "seed": seed, "labels": chosen}
        _, dataset = open_dataset("drivetrain:synthetic", options)
        cores = len(os.sched_getaffinity(0))
        shards = convert("synthetic", dataset, Path("synthetic"), out / split, split, workers or cores, samples_per_shard=32)
        print(f"{shards.path}: {len(shards)} frames")
