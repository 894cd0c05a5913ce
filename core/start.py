"""From a command line to a run: rank 0 resolves everything once, the other ranks are told."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .contracts import Loader
from .errors import PluginError, RecipeError, UserError
from .manager import Controls, PluginManager, get_manager
from .recipe import Recipe, compare, load_recipe
from .run import RunFolder, append_record, host_name, package_versions, provenance
from .sweep import leave_sweep, sweep_run
from .watch import Stop

if TYPE_CHECKING:
    from .gates import Verdict

ORDER_AND_ARCHITECTURE = ("seed", "data.train", "data.classes", "data.cameras", "data.lidars", "data.clip", "data.taxonomy",
                          "batch", "loader.plugin", "transforms", "model", "optimizer.plugin", "precision")  # fmt: skip
"""What a resumed run may change only if it is named in ``--allow``. What of the loader's own keys the order depends on, its
stream knows (`drivetrain.TrainingStream.resume`)."""


@dataclass(frozen=True)
class Request:
    """What the user asked of ``train``."""

    recipe: str
    overrides: tuple[str, ...] = ()
    run: str | None = None
    allow: tuple[str, ...] = ()
    dry_run: bool = False
    overfit: int | None = None


@dataclass(frozen=True)
class Plan:
    """What rank 0 made of it, for every rank. No secrets: of the environment only what the recipe itself names."""

    written: str
    resolved: dict[str, Any]
    run: str
    checkpoint: str | None
    controls: Controls
    plugins: dict[str, str]
    versions: dict[str, str]


@dataclass(frozen=True)
class Done:
    """A run that has ended: its folder, the recipe's gates held against its last evaluation; ``stopped`` where it was told to
    leave before its last step."""

    path: Path
    verdicts: list[Verdict]
    is_main: bool
    stopped: Stop | None = None


def run_training(request: Request, controls: Controls, say: Callable[[str], None]) -> Done:
    """Start or resume a run on this rank, and train it."""
    from .comm import Comm, rank_from_environment, world_from_environment

    plan: Plan | UserError | None = None
    if rank_from_environment() > 0:
        leave_sweep()
    else:
        try:
            plan = _plan(request, controls, say)
        except UserError as error:
            plan = error
            if world_from_environment() == 1:
                raise
    from .checkpoint import Checkpoint
    from .gates import judge
    from .train import Training, train

    comm = Comm.start()
    plan = comm.broadcast(plan)
    if isinstance(plan, UserError):
        plan.told = True
        raise plan
    assert plan is not None
    manager = comm.together(lambda: _same_plugins(plan))
    resume = comm.together(lambda: Checkpoint(Path(plan.checkpoint), content=False) if plan.checkpoint else None)
    recipe = Recipe.from_resolved(plan.resolved, manager)
    comm.watch.heed(RunFolder(Path(plan.run)).stop_file, recipe.train.grace_s, recipe.train.timeout_s)
    run = Training(recipe, comm, RunFolder(Path(plan.run)), manager, resume, request.overfit, request.dry_run)
    hosts, ids = comm.gather(host_name()), comm.together(lambda: _data_ids(recipe, run.loader) if comm.is_main else None)
    if hosts is not None:
        run.folder.freeze(plan.written, plan.resolved)
        assert ids is not None, "rank 0 has gathered"
        made = provenance(manager.digest(), hosts, comm.world, ids)
        append_record(run.folder.path / "provenance.jsonl", made)
        _introduce(run, say)
    train(run)
    verdicts = judge(recipe, run.results)
    comm.close()  # after an error nothing is torn down: other ranks may be gone, and waiting for them would hang
    return Done(run.folder.path, verdicts, comm.is_main, run.stopped)


def _plan(request: Request, controls: Controls, say: Callable[[str], None]) -> Plan:
    """On rank 0: read the recipe, find or make the run, choose the checkpoint."""
    manager = get_manager(controls)
    recipe = load_recipe(request.recipe, request.overrides, manager)
    resolved = recipe.resolved()
    folder = _run_folder(request, recipe)
    if request.dry_run and folder.exists:
        raise UserError("--dry-run makes a run of its own", remedy="leave --run out, or name a new folder")
    if folder.exists and folder.is_frozen:
        _say_changes(folder.resolved_recipe(), resolved, request.allow, folder, say)
    folder.begin()
    checkpoint = _choose_checkpoint(folder, say)
    return Plan(recipe.written, resolved, str(folder.path), checkpoint, controls, manager.digest(), package_versions())


def _choose_checkpoint(folder: RunFolder, say: Callable[[str], None]) -> str | None:
    from .checkpoint import newest_checkpoint

    found = newest_checkpoint(folder.checkpoints, say)
    superseded = folder.supersede(found.step if found else 0)
    if found:
        later = f", {superseded} later records superseded" if superseded else ""
        say(f"resuming {folder.path} after step {found.step}{later}")
    return str(found.path) if found else None


def _run_folder(request: Request, recipe: Recipe) -> RunFolder:
    if request.run:
        return RunFolder(Path(request.run))
    stamp = sweep_run() or datetime.now().strftime("%Y%m%d-%H%M%S")
    kind = "-dry" if request.dry_run else ""
    return RunFolder(Path("runs") / f"{Path(request.recipe).stem}{kind}-{stamp}")


def _say_changes(old: Mapping[str, Any], new: Mapping[str, Any], allow: Iterable[str], folder: RunFolder,
                 say: Callable[[str], None]) -> None:  # fmt: skip
    """Print what changed in the recipe; refuse what would change the order or the model unless it is allowed."""
    changes = compare(old, new)
    for key, before, after in changes:
        say(f"changed since {folder.path} began: {key}: {before} -> {after}")
    free = {f"data.train.{name}.weight" for name in new["data"]["train"]}  # the loader's state keeps when weights changed
    bound = [k for k, _, _ in changes if _below(k, ORDER_AND_ARCHITECTURE) and k not in free]
    refused = [k for k in bound if not _below(k, tuple(allow))]
    if refused:
        raise RecipeError(
            f"{folder.path} cannot go on with another {', '.join(refused)}: the order of samples or the model would change",
            remedy=f"name a new --run, or insist with --allow {' --allow '.join(refused)}",
        )


def _below(key: str, heads: tuple[str, ...]) -> bool:
    return any(key == head or key.startswith(head + ".") for head in heads)


def _data_ids(recipe: Recipe, loader: Loader) -> dict[str, Any]:
    """Content and order ids of the shard sets and of those that are joined to them, wherever they lie."""
    sets: dict[str, str | tuple[str, ...]] = {}
    for split in ("train", "val"):
        for source in recipe.data_spec_sources(split):
            sets[f"{split}.{source.name}"] = source.shards
            sets |= {f"{split}.{source.name}.{join.name}": join.shards for join in source.joins}
    infos = {name: loader.open(shards).info for name, shards in sets.items()}
    return {name: {k: info.get(k) for k in ("order_id", "content_id")} for name, info in infos.items()}


def _same_plugins(plan: Plan) -> PluginManager:
    """This rank's plugins. Raises PluginError, naming the rank and the difference, where they, or the packages that decide
    what a run does, are not rank 0's."""
    manager = get_manager(plan.controls)
    own, theirs = manager.digest() | package_versions(), plan.plugins | plan.versions
    differ = sorted(k for k in own.keys() | theirs.keys() if own.get(k) != theirs.get(k))
    if differ:
        from .comm import rank_from_environment

        lines = [f"{n}: {own.get(n, 'not there')} here, {theirs.get(n, 'not there')} on rank 0" for n in differ]
        raise PluginError(f"rank {rank_from_environment()} on {host_name()} has other plugins:\n  " + "\n  ".join(lines),
                          remedy="install the same environment on every host")  # fmt: skip
    return manager


def _introduce(run: Any, say: Callable[[str], None]) -> None:
    recipe, comm = run.recipe, run.comm
    parameters = sum(getattr(p, "ds_numel", p.numel()) for p in run.engine.model.parameters())
    ranks = f"{_count(comm.world, 'rank')} on {comm.device.type}, {_count(comm.cores, 'thread')} each"
    slots = f"{recipe.batch.slots} micro-batches of {recipe.batch.micro} a step"
    model = f"{recipe.plugin('model').found.declaration.name}, {parameters / 1e6:.2f} M parameters"
    say(f"run {run.folder.path}: {model}; {slots}; {ranks}")
    for note in recipe.notes:
        say(note)


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
