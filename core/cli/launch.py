"""``drivetrain launch``: start a recipe's ranks, on this host or on many, and bring them back."""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from ..errors import UserError
from ..manager import get_manager
from .train import say

if TYPE_CHECKING:
    from ..launcher import Command
    from ..recipe import Recipe


def launch(
    recipe: str = typer.Argument(..., help="A recipe: a file, or the name of a shipped one; A,B: B over A."),
    overrides: list[str] = typer.Argument(None, help="key.sub=value", metavar="[KEY=VALUE]..."),
    ranks: int = typer.Option(None, "--ranks", min=1, help="Ranks on this host; under --slurm: tasks of the step."),
    hostfile: Path = typer.Option(None, "--hostfile", help="Hosts that ssh reaches, a line NAME slots=N each."),
    slurm: bool = typer.Option(False, "--slurm", help="Start the tasks of the Slurm allocation that this runs in."),
    with_: str = typer.Option("deepspeed", "--with", help="deepspeed or torchrun."),
    run: Path = typer.Option(None, "--run", help="The run's folder: made, or resumed where it stands."),
    allow: list[str] = typer.Option([], "--allow", help="As for train."),
    restarts: int = typer.Option(0, "--restarts", min=0, help="How often to start again after a crash without progress."),
    master_addr: str = typer.Option(None, "--master-addr", help="The first host's address, as the others reach it."),
    dry_run: bool = typer.Option(False, "--dry-run", help="Check, and print the command that would run."),
) -> None:
    """Start a recipe on several ranks; ends with the exit code of the job.

    SIGTERM or SIGUSR1 make all ranks save and leave, with exit code 75: start me again.
    """
    from ..recipe import load_recipe
    from ..run import RunFolder
    from ..supervise import Supervisor

    if sum((ranks is not None and not slurm, hostfile is not None, slurm)) != 1:
        raise UserError("say where to run", remedy="--ranks N on this host, --hostfile FILE, or --slurm in an allocation")
    if with_ not in ("deepspeed", "torchrun") or (with_ == "torchrun" and ranks is None):
        raise UserError(f"--with {with_}: expected deepspeed, or torchrun with --ranks")
    loaded = load_recipe(recipe, overrides or ())
    folder = run or Path("runs") / f"{Path(recipe).stem}-{datetime.now():%Y%m%d-%H%M%S}"
    words = _train_words(recipe, folder, allow, overrides or [])
    if hostfile is not None:
        make = _over_hosts(loaded, hostfile, folder, master_addr, words)
    else:
        make = _here(loaded, ranks, slurm, with_, words)
    first = make()
    say(" ".join([*(f"{k}={shlex.quote(v)}" for k, v in first.environment.items() if k != "PATH"), shlex.join(first.words)]))
    if dry_run:
        return
    commands = iter([first])
    supervisor = Supervisor(RunFolder(folder), lambda: next(commands, None) or make(), restarts, loaded.train.grace_s, say)
    raise typer.Exit(supervisor.run())


def host_facts(run: Path = typer.Argument(..., help="A run's folder.")) -> None:
    """What `launch` compares over hosts, as JSON."""
    from ..hosts import facts

    print(json.dumps(facts(run)))


def _train_words(recipe: str, folder: Path, allow: list[str], overrides: list[str]) -> list[str]:
    from ..hosts import control_words

    allowed = [word for key in allow for word in ("--allow", key)]
    return ["train", recipe, "--run", str(folder), *allowed, *control_words(get_manager().controls), *overrides]


def _here(recipe: Recipe, ranks: int | None, slurm: bool, with_: str, words: list[str]) -> Callable[[], Command]:
    """Commands for this host, or for a Slurm allocation. Raises RecipeError where the ranks do not divide the slots."""
    from ..launcher import free_port, local_command, slurm_command
    from ..worlds import check_slots

    tasks = ranks or int(os.environ.get("SLURM_NTASKS", "1"))
    check_slots(recipe, tasks)
    if slurm:
        return lambda: slurm_command(ranks, words)
    return lambda: local_command(tasks, free_port(), with_, words)


def _over_hosts(recipe: Recipe, hostfile: Path, folder: Path, address: str | None, words: list[str]) -> Callable[[], Command]:
    """Commands for the hosts of a file: for all of them first, later for those that answer. Raises UserError, naming each
    host, where they are not ready."""
    from ..hosts import answering, check_hosts, control_words
    from ..launcher import hosts_command, some_port
    from ..worlds import check_slots, largest_world, read_hostfile

    hosts = read_hostfile(hostfile)
    check_slots(recipe, sum(host.slots for host in hosts))
    text = "\n".join([recipe.written, *words])
    controls = control_words(get_manager().controls)
    begun = False

    def make() -> Command:
        nonlocal begun
        chosen = largest_world(answering(hosts), recipe.batch.slots) if begun else hosts
        if not chosen:
            raise UserError("no host of the hostfile answers any more")
        if chosen != hosts:
            say("going on with " + ", ".join(f"{host.name} ({host.slots})" for host in chosen))
        begun = True
        first = check_hosts(chosen, folder, controls)
        return hosts_command(chosen, address if address and chosen[0] == hosts[0] else first, some_port(), folder, text, words)

    return make
