"""Checkpoints as people name them, and what is in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .checkpoint import Checkpoint, all_checkpoints, find_checkpoint
from .errors import CheckpointError, near_matches


def checkpoints_folder(what: Path) -> Path | None:
    """The folder of checkpoints that ``what`` is or, as a run, has. None for anything else."""
    if (what / "run.json").is_file():
        return what / "checkpoints"
    return what if all_checkpoints(what) else None


def named_checkpoint(what: Path, which: str, say: Callable[[str], None], content: bool = True) -> Checkpoint:
    """A checkpoint's own folder, or of a run the ``newest``, the ``best`` or that of a step, whole.

    Raises CheckpointError for anything else, with the runs and checkpoints beside it that may have been meant.
    """
    folder = checkpoints_folder(what)
    if folder is not None:
        return find_checkpoint(folder, which, say, content)
    if (what.name.startswith("step-") and what.is_dir()) or (what / "manifest.json").is_file():
        if which != "newest":
            raise CheckpointError(f"{what} is one checkpoint: --checkpoint {which} chooses among those of a run")
        return Checkpoint(what, content)
    raise no_checkpoint(what)


def no_checkpoint(what: Path) -> CheckpointError:
    """That there is none, and what may have been meant."""
    beside = what.parent.iterdir() if what.parent.is_dir() else ()
    known = [p.name for p in beside if p != what and (checkpoints_folder(p) or (p / "manifest.json").is_file())]
    return CheckpointError(
        f"{what} is neither a checkpoint nor a run" if what.exists() else f"{what}: there is no such checkpoint or run",
        near=[str(what.parent / name) for name in near_matches(what.name, known)],
        remedy="a run is what `drivetrain train RECIPE --run DIR` leaves; its checkpoints are DIR/checkpoints/step-NNNNNNNN",
    )


def describe(checkpoint: Checkpoint) -> dict[str, Any]:
    """What a checkpoint holds, all JSON: ``kinds`` says per kind how many tensors there are and how many values in them,
    ``stage`` is null for an engine that has none."""
    state, manifest = checkpoint.state, checkpoint.manifest
    parallelism = state.get("recipe", {}).get("parallelism", {})
    kinds: dict[str, dict[str, int]] = {}
    for kind in checkpoint.all_kinds():
        shapes = checkpoint.names(kind).values()
        kinds[kind] = {"tensors": len(shapes), "values": sum(torch.Size(shape).numel() for shape in shapes)}
    return {
        "path": str(checkpoint.path), "step": checkpoint.step, "world": manifest["world"], "engine": parallelism.get("plugin"),
        "stage": parallelism.get("zero_stage"), "parameters": kinds.get("weight", {}).get("values", 0), "kinds": kinds,
        "files": len(manifest["files"]), "bytes": sum(entry["bytes"] for entry in manifest["files"].values()),
        "tasks": list(state.get("tasks", ())), "classes": state.get("classes", {}),
        "best": state.get("best"), "loader": state.get("loader"),
    }  # fmt: skip
