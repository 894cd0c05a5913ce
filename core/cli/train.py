"""``drivetrain train``: start or resume a run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer

from ..errors import GATE_FAILED
from ..manager import get_manager

if TYPE_CHECKING:
    from ..gates import Verdict


def say(text: str) -> None:
    """What people read goes to standard error; standard output is for results."""
    print(text, file=sys.stderr, flush=True)


def tell_gates(verdicts: Sequence[Verdict]) -> bool:
    """Print them; whether one has failed."""
    from ..gates import FAILED, table

    if verdicts:
        say("\n".join(table(verdicts)))
    return any(one.verdict == FAILED for one in verdicts)


def train(
    recipe: str = typer.Argument(..., help="A recipe: a file, or the name of a shipped one; A,B: B over A."),
    overrides: list[str] = typer.Argument(None, help="key.sub=value", metavar="[KEY=VALUE]..."),
    run: str = typer.Option(None, "--run", help="The run's folder: made, or resumed where it stands."),
    allow: list[str] = typer.Option([], "--allow", help="A key that a resumed run may change, order or model or not."),
    dry_run: bool = typer.Option(False, "--dry-run", help="One training, evaluation and save step, to see that it works."),
    overfit_batches: int = typer.Option(None, "--overfit-batches", min=1, help="Repeat the first N steps' data."),
) -> None:
    """Train a recipe, under any launcher: deepspeed, torchrun, or alone.

    A run folder that is there already is resumed after its newest whole checkpoint.
    """
    from ..start import Request, run_training

    request = Request(recipe, tuple(overrides or ()), run, tuple(allow), dry_run, overfit_batches)
    done = run_training(request, get_manager().controls, say)
    if done.is_main:
        kept = [name for name in ("metrics.jsonl", "curves.png", "pictures", "checkpoints") if (done.path / name).exists()]
        how = "done" if done.stopped is None else f"stopped after step {done.stopped.after} ({done.stopped.why})"
        say(f"{how}: {done.path} ({', '.join(kept)})")
        if not dry_run and done.stopped is None and tell_gates(done.verdicts):
            raise typer.Exit(GATE_FAILED)
    if done.stopped is not None:
        raise typer.Exit(done.stopped.code)
