"""What `parallelism.py` starts on every rank: engines against loops as one would write them by hand, as JSON lines.

All of them train the same model from the same weights on the same batches, which are in memory beforehand, in one process
group: what differs is the engine alone.
"""

from __future__ import annotations

import cProfile
import json
import os
import statistics
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import torch
from parallelism_bytes import model_state_bytes, persistent_count, whole_count
from torch import nn
from torch.nn.parallel import DistributedDataParallel

import drivetrain
from drivetrain import Batch, Comm, EngineContext, total_loss
from drivetrain.building import build_loader, build_model, data_spec
from drivetrain.groups import build_optimizer
from drivetrain.manager import get_manager
from drivetrain.recipe import Recipe, load_recipe
from drivetrain.run import RunFolder
from drivetrain.seeding import hash_key
from drivetrain.train import Training, train

CORE = Path(drivetrain.__file__).resolve().parent
OWN = (str(CORE), str(CORE.parent / "plugins" / "parallelism"))
CONSUMER = (str(CORE.parent / "plugins" / "loaders"), str(CORE.parent / "plugins" / "transforms"))
WARM, LOSSES, ROUNDING = 3, 10, 1e-7
ENGINES = {
    **{f"z{stage}": {"plugin": "deepspeed", "zero_stage": stage} for stage in range(4)},
    "ddp": {"plugin": "ddp"},
    "fsdp": {"plugin": "fsdp"},
}
Step = Callable[[list[Batch]], Any]


# ---------------------------------------------------------------- what they train


def kept_batches(recipe: Recipe, rank: int, world: int, steps: int) -> list[list[Batch]]:
    """A rank's micro-batches of the first steps, in memory."""
    spec = data_spec(recipe, "train")
    stream = build_loader(recipe).training(
        spec, batch_global=recipe.batch.global_, batch_micro=recipe.batch.micro, rank=rank, world=world, threads=0, pin=False
    )
    each = recipe.batch.slots // world
    kept = []
    for batch in islice(stream.batches(0), steps * each):
        kept.append(batch.keep())
        batch.release()
    stream.close()
    return [kept[n : n + each] for n in range(0, len(kept), each)]


def seeded(batches: list[Batch], seed: int) -> Iterator[Batch]:
    """Detectors sample at random: alike in every loop, whatever the ranks."""
    for batch in batches:
        torch.manual_seed(hash_key(seed, batch.step, batch.slot) >> 1)
        yield batch


def context_of(recipe: Recipe, comm: Comm, lr_factor: Callable[[int], float]) -> EngineContext:
    build = recipe.plugin("optimizer").build
    return EngineContext(
        comm, lambda: build_model(recipe), lambda model: build_optimizer(build, model, recipe.optimizer),
        lr_factor, recipe.precision, recipe.batch.slots // comm.world, recipe.batch.micro, recipe.train.clip,
        check_steps=WARM,
    )  # fmt: skip


def ours(name: str, recipe: Recipe, comm: Comm, lr_factor: Callable[[int], float] = lambda step: 1.0) -> Any:
    settings = dict(ENGINES.get(name, {"plugin": name}))
    found = get_manager().resolve("parallelism", f"drivetrain:{settings.pop('plugin')}")
    config = found.load_config()
    return found.load_factory()(config(**settings) if config else None, context_of(recipe, comm, lr_factor))


# ---------------------------------------------------------------- the same by hand


def deepspeed_by_hand(recipe: Recipe, comm: Comm, stage: int) -> Step:
    import deepspeed

    model = build_model(recipe)
    optimizer = build_optimizer(recipe.plugin("optimizer").build, model, recipe.optimizer)
    engine, *_ = deepspeed.initialize(model=model, optimizer=optimizer, dist_init_required=False, config={
        "train_batch_size": recipe.batch.global_,
        "train_micro_batch_size_per_gpu": recipe.batch.micro,
        "gradient_clipping": recipe.train.clip or 0.0,
        "torch_autocast": {"enabled": recipe.precision == "bf16", "dtype": "bfloat16"},
        "zero_allow_untested_optimizer": True,
        "zero_optimization": {
            "stage": stage, "reduce_bucket_size": 50 * 2**18, "allgather_bucket_size": 50 * 2**18, "overlap_comm": False,
            "contiguous_gradients": True,
        },
        "steps_per_print": 2**31,
    })  # fmt: skip

    def step(batches: list[Batch]) -> Any:
        for batch in seeded(batches, recipe.seed):
            loss = total_loss(engine(batch))
            engine.backward(loss)
            engine.step()
        return loss.detach()

    return step


def torch_by_hand(recipe: Recipe, comm: Comm, model: nn.Module, hold: Callable[[bool], None]) -> Step:
    """``hold(last)`` is called before each micro-batch."""
    optimizer = build_optimizer(recipe.plugin("optimizer").build, model, recipe.optimizer)

    def step(batches: list[Batch]) -> Any:
        for number, batch in enumerate(seeded(batches, recipe.seed), 1):
            hold(number == len(batches))
            with torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
                loss = total_loss(model(batch))
            (loss / len(batches)).backward()
        if recipe.train.clip is not None:
            nn.utils.clip_grad_norm_(model.parameters(), recipe.train.clip)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return step


def ddp_by_hand(recipe: Recipe, comm: Comm) -> Step:
    model = DistributedDataParallel(build_model(recipe), gradient_as_bucket_view=True, forward_sync_buffers=False)
    return torch_by_hand(recipe, comm, model, lambda last: setattr(model, "require_backward_grad_sync", last))


def fsdp_by_hand(recipe: Recipe, comm: Comm) -> Step:
    """The same units as ours: which modules are cut apart is not the engine's cost."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard

    from drivetrain.plugins.parallelism.fsdp.config import FSDPConfig
    from drivetrain.plugins.parallelism.fsdp.units import units_of

    model = build_model(recipe)
    mesh = init_device_mesh("cpu", (comm.world,))
    for module in [*units_of(model, FSDPConfig().unit_parameters), model]:
        fully_shard(module, mesh=mesh)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_force_sum_reduction_for_comms(True)
    return torch_by_hand(recipe, comm, model, lambda last: None)


def by_hand(name: str, recipe: Recipe, comm: Comm) -> Step:
    if name.startswith("z"):
        return deepspeed_by_hand(recipe, comm, int(name[1]))
    return {"ddp": ddp_by_hand, "fsdp": fsdp_by_hand}[name](recipe, comm)


# ---------------------------------------------------------------- measuring


Spent = dict[str, list[float]]
"""Per step the ``wall`` seconds of the slowest rank, and the ``cpu`` seconds of all: these do not mind what else is run."""


def interleaved(comm: Comm, loops: dict[str, Step], batches: list[list[Batch]], rounds: int) -> dict[str, Spent]:
    """All loops take each step in turn; who goes first changes from round to round."""
    told: dict[str, list[tuple[float, float, float]]] = {name: [] for name in loops}
    names = list(loops)
    for step_batches in islice(cycle(batches), WARM + rounds):
        for name in names:
            comm.barrier()
            began, cpu = time.perf_counter(), time.process_time()
            loss = loops[name](step_batches)
            told[name].append((time.perf_counter() - began, time.process_time() - cpu, float(loss)))
        names.append(names.pop(0))
    for other in told.values():
        first, *later = (abs(a[2] - b[2]) for a, b in zip(told["ours"][:WARM], other))
        assert first < 1e-4, f"not the same weights or batches: the first losses are {first} apart"
        assert max(later) < 2e-2, f"not the same training: losses are {max(later)} apart, more than detectors make of rounding"
    ranks = comm.all_gather({name: steps[WARM:] for name, steps in told.items()})
    return {name: _spent(list(zip(*(of_rank[name] for of_rank in ranks)))) for name in loops}


def _spent(steps: list[tuple[tuple[float, float, float], ...]]) -> Spent:
    return {"wall": [max(rank[0] for rank in step) for step in steps], "cpu": [sum(rank[1] for rank in step) for step in steps]}


def ratio(ours: dict[str, list[float]], theirs: dict[str, list[float]]) -> dict[str, float]:
    """The medians of the ratios of neighbours; of wall time also their middle half."""
    walls, cpus = ([a / b for a, b in zip(ours[kind], theirs[kind])] for kind in ("wall", "cpu"))
    low, middle, high = statistics.quantiles(walls, n=4)
    return {"value": round(middle, 4), "low": round(low, 4), "high": round(high, 4), "cpu": round(statistics.median(cpus), 4)}


def own_seconds(profile: cProfile.Profile, folders: tuple[str, ...]) -> float:
    """Seconds inside functions of ours, without what they call: that is a line of its own to the profiler."""
    return sum(entry.inlinetime for entry in profile.getstats()
               if not isinstance(entry.code, str) and entry.code.co_filename.startswith(folders))  # fmt: skip


def largest(profile: cProfile.Profile, folders: tuple[str, ...], plain: float) -> dict[str, float]:
    """The three functions that take most, as shares."""
    found = {e.code.co_qualname if hasattr(e.code, "co_qualname") else e.code.co_name: e.inlinetime for e in profile.getstats()
             if not isinstance(e.code, str) and e.code.co_filename.startswith(folders)}  # fmt: skip
    return {name: round(found[name] / plain, 5) for name in sorted(found, key=found.__getitem__, reverse=True)[:3]}


def own_share_of_engine(engine: Any, batches: list[list[Batch]], seed: int, steps: int) -> dict[str, Any]:
    """Seconds in our functions under the profiler, over those of a whole step without it."""
    profile, plain = cProfile.Profile(), 0.0
    for step_batches in islice(cycle(batches), steps):
        began = time.perf_counter()
        engine.step(seeded(step_batches, seed))
        plain += time.perf_counter() - began
        profile.runcall(engine.step, list(seeded(step_batches, seed)))
    return {"value": round(own_seconds(profile, OWN) / plain, 5), "largest": largest(profile, OWN, plain)}


def own_share_of_training(recipe: Recipe, comm: Comm, folder: RunFolder, steps: int) -> dict[str, Any]:
    """A run as users start it: the first half of its steps is timed, the second profiled, in the thread that trains."""
    run = Training(recipe, comm, folder, get_manager())
    profile, marks, numbers = cProfile.Profile(), [], run.steps

    def watched() -> Iterator[int]:
        for number in numbers():
            marks.append(time.perf_counter())
            if len(marks) == steps + WARM + 1:
                profile.enable()
            yield number
        profile.disable()

    run.steps = watched  # type: ignore[method-assign]
    train(run)
    plain = marks[WARM + steps] - marks[WARM]
    own, consumer = (own_seconds(profile, folders) / plain for folders in (OWN, CONSUMER))
    return {"value": round(own, 5), "with_loader": round(own + consumer, 5), "largest": largest(profile, OWN + CONSUMER, plain)}


def schedule_of(recipe: Recipe) -> Callable[[int], float]:
    return recipe.plugin("lr_schedule").build(recipe.train.steps)


def losses_of(engine: Any, batches: list[list[Batch]], seed: int) -> list[list[float]]:
    return [[float(loss) for loss in engine.step(seeded(step, seed)).losses] for step in batches]


def apart_from_single(name: str, wanted: Namespace, comm: Comm, precision: str) -> float:
    """The largest difference of a step's mean loss between these ranks, which accumulate, and one process that does it all."""
    recipe = load(wanted, f"precision={precision}", f"batch.micro={max(1, load(wanted).batch.micro // 2)}")
    batches = kept_batches(recipe, comm.rank, comm.world, LOSSES)
    ranks = comm.gather(losses_of(ours(name, recipe, comm, schedule_of(recipe)), batches, recipe.seed))
    apart = 0.0
    if ranks is not None:
        means = [statistics.fmean(loss for rank in step for loss in rank) for step in zip(*ranks)]
        apart = max(abs(a - b) for a, b in zip(means, single_losses(wanted, recipe, comm)))
    comm.barrier()
    return apart


def single_losses(wanted: Namespace, recipe: Recipe, comm: Comm, noise: float = 0.0) -> list[float]:
    """The mean loss of every step in one process with plain torch, its first weights changed by ``noise`` of each: computed
    once for all engines of a recipe."""
    kept = Path(f"{wanted.build}-single-{recipe.precision}-{noise}.json")
    if not kept.is_file():
        batches = kept_batches(recipe, 0, 1, LOSSES)
        engine = ours("single", recipe, Comm(0, 1, 0, 1, comm.device, comm.cores), schedule_of(recipe))
        torch.manual_seed(recipe.seed)
        with torch.no_grad():
            for parameter in engine.model.parameters():
                parameter.mul_(1 + noise * torch.randn_like(parameter))
        losses = losses_of(engine, batches, recipe.seed)
        kept.write_text(json.dumps([statistics.fmean(step) for step in losses]))
    return json.loads(kept.read_text())


def amplified(wanted: Namespace, comm: Comm) -> dict[str, Any]:
    """What one process makes of a change as small as rounding: no engine can be told from it more closely than that."""
    recipe = load(wanted, f"batch.micro={max(1, load(wanted).batch.micro // 2)}")
    if comm.is_main:
        pairs = zip(single_losses(wanted, recipe, comm), single_losses(wanted, recipe, comm, ROUNDING))
        apart = max(abs(a - b) for a, b in pairs)
    comm.barrier()
    return {"figure": "rounding_amplified", "value": apart if comm.is_main else 0.0, "unit": f"largest of {LOSSES} steps"}


# ---------------------------------------------------------------- the job


def measure(wanted: Namespace, comm: Comm) -> Iterator[dict[str, Any]]:
    """The figures of all engines, one after another: starting two ranks takes longer than measuring one engine."""
    batches = kept_batches(load(wanted), comm.rank, comm.world, 8)
    for name in wanted.engines:
        for figure in figures_of(name, wanted, comm, batches):
            yield {"engine": name, **figure}
    yield {"engine": "single", **amplified(wanted, comm)}
    for name in wanted.bf16:  # at the end: DeepSpeed's autocast is a setting of the process
        yield {"engine": name, **loss_figure(name, wanted, comm, "bf16")}


def figures_of(name: str, wanted: Namespace, comm: Comm, batches: list[list[Batch]]) -> Iterator[dict[str, Any]]:
    recipe = load(wanted)
    engine = ours(name, recipe, comm)
    yield from step_figures(name, recipe, comm, engine, batches, wanted.rounds)
    share = own_share_of_engine(engine, batches, recipe.seed, wanted.rounds // 2)
    yield {"figure": "own_python_share_of_step", **share, "unit": "share"}
    held = {"parameters": whole_count(engine.model), "persistent": persistent_count(engine.model)}
    yield {"figure": "zero_bytes", "ranks": comm.all_gather(model_state_bytes(engine)), **held, "unit": "bytes a rank"}
    del engine
    yield loss_figure(name, wanted, comm, "fp32")
    yield {"figure": "own_python_share_of_training", **training_share(name, wanted, comm), "unit": "share"}


def loss_figure(name: str, wanted: Namespace, comm: Comm, precision: str) -> dict[str, Any]:
    apart = apart_from_single(name, wanted, comm, precision)
    return {"figure": "losses_vs_single", "value": apart, "precision": precision, "unit": f"largest of {LOSSES} steps"}


def step_figures(name: str, recipe: Recipe, comm: Comm, engine: Any, batches: list[list[Batch]], rounds: int
                 ) -> Iterator[dict[str, Any]]:  # fmt: skip
    loops: dict[str, Step] = {"ours": lambda step: engine.step(seeded(step, recipe.seed)).losses[-1]}
    loops["hand"] = by_hand(name, recipe, comm)
    if name != "ddp":
        loops["ddp"] = ddp_by_hand(recipe, comm)
    spent = interleaved(comm, loops, batches, rounds)
    medians = {loop: round(1000 * statistics.median(of_loop["wall"]), 1) for loop, of_loop in spent.items()}
    library = "deepspeed" if name.startswith("z") else name
    by_itself = ratio(spent["ours"], spent["hand"])
    yield {"figure": f"step_vs_handwritten_{library}", **by_itself, "unit": "ratio", "ms": medians, "rounds": rounds}
    if "ddp" in loops:
        yield {"figure": "step_vs_ddp_loop", **ratio(spent["ours"], spent["ddp"]), "unit": "ratio"}


def training_share(name: str, wanted: Namespace, comm: Comm) -> dict[str, Any]:
    folder = RunFolder(Path(f"{wanted.build}-{name}"))
    comm.together(lambda: folder.begin() if comm.is_main else None)
    half = wanted.rounds // 2
    recipe = load(wanted, f"train.steps={2 * half + WARM + 1}", f"parallelism={json.dumps(ENGINES[name])}")
    return own_share_of_training(recipe, comm, folder, half)


def load(wanted: Namespace, *overrides: str) -> Recipe:
    return load_recipe(wanted.recipe, [*wanted.overrides, *overrides], get_manager())


def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("--engines", nargs="*", default=[], help="all figures of these but the losses under bf16")
    parser.add_argument("--bf16", nargs="*", default=[], help="losses under bf16")
    parser.add_argument("--recipe", required=True)
    parser.add_argument("--build", required=True, help="what the names of files and folders that are made begin with")
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--overrides", nargs="*", default=[])
    wanted = parser.parse_args()
    comm = Comm.start(timeout_s=300)
    for figure in measure(wanted, comm):
        if comm.is_main:
            print(json.dumps(figure))
            sys.stdout.flush()
    comm.barrier()
    os._exit(0)


if __name__ == "__main__":
    main()
