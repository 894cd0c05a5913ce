"""``drivetrain checkpoint``: what is in one, whether it is whole, and its weights for others to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import typer

from ..errors import USER_ERROR, UserError
from .train import say

app = typer.Typer(help="Checkpoints of runs.", no_args_is_help=True)
_WHAT = typer.Argument(..., metavar="PATH|RUN", help="A checkpoint's folder, or a run's.")
_WHICH = typer.Option("newest", "--checkpoint", help="Of a run: newest, best, or the number of a step.")


@app.callback()
def _group() -> None:
    """Checkpoints of runs."""


@app.command()
def inspect(
    what: Path = _WHAT,
    which: str = _WHICH,
    as_json: bool = typer.Option(False, "--json", help="For programs: every detail."),
) -> None:
    """Step, ranks, engine, parameters, kinds of state, the best so far, and where the loader stands. Hashes nothing."""
    from ..inspection import describe, named_checkpoint

    about = describe(named_checkpoint(what, which, say, content=False))
    print(json.dumps(about, indent=1) if as_json else "\n".join(f"{k:<11} {v}" for k, v in _rows(about)))


def _rows(about: dict[str, Any]) -> list[tuple[str, str]]:
    stage, best = about["stage"], about["best"]
    engine = f"{about['engine'] or 'unknown'}{'' if stage is None else f', ZeRO stage {stage}'}"
    rows = [
        ("checkpoint", about["path"]), ("step", about["step"]), ("written by", f"{about['world']} ranks, {engine}"),
        ("parameters", f"{about['parameters']:,}"), ("size", f"{about['bytes'] / 2**20:.1f} MiB in {about['files']} files"),
    ]  # fmt: skip
    rows += [("kind", f"{kind}: {n['values']:,} values in {n['tensors']} tensors") for kind, n in about["kinds"].items()]
    rows += [("task", f"{task}: {', '.join(about['classes'].get(task, ()))}") for task in about["tasks"]]
    rows += [("best", f"{best['metric']} {best['value']:.4f} at step {best['step']}" if best else "none noted")]
    rows += [("loader", f"{key} {json.dumps(value)}") for key, value in (about["loader"] or {}).items()]
    return rows


@app.command()
def verify(what: Path = _WHAT) -> None:
    """Hash every file: of one checkpoint, or of all that a run has. Exit code 2 if any is damaged."""
    from ..checkpoint import all_checkpoints
    from ..inspection import checkpoints_folder, no_checkpoint

    folder = checkpoints_folder(what)
    paths = [what] if folder is None else all_checkpoints(folder)
    if not paths or not paths[0].is_dir():
        raise no_checkpoint(what)
    whole = [_verify_one(path) for path in paths]
    if not all(whole):
        raise typer.Exit(USER_ERROR)


def _verify_one(path: Path) -> bool:
    from ..checkpoint import find_damage, read_manifest

    try:
        manifest = read_manifest(path)
        damage = find_damage(path, manifest)
    except UserError as error:
        damage = [str(error)]
    for line in damage:
        print(line)
    if not damage:
        print(f"{path}: {len(manifest['files'])} files, all as they were written")
    return not damage


@app.command()
def export(
    what: Path = _WHAT,
    out: Path = typer.Argument(..., metavar="OUT.safetensors", help="The file that is written."),
    which: str = _WHICH,
    raw: bool = typer.Option(False, "--raw", help="The weights as they are trained, although there are averaged ones."),
    ema: bool = typer.Option(False, "--ema", help="The averaged weights (EMA), or nothing."),
) -> None:
    """The weights alone, averaged ones (EMA) if there are any, as a plain safetensors file."""
    from ..inspection import named_checkpoint
    from ..weights import export_weights

    if raw and ema:
        raise UserError("--raw and --ema exclude each other")
    checkpoint = named_checkpoint(what, which, say)
    averaged = ema or (bool(checkpoint.names("ema")) and not raw)
    count = export_weights(checkpoint, out, averaged)
    print(f"{out}: {count} tensors of step {checkpoint.step}{', averaged' if averaged else ''}")
