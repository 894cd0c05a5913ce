"""What a recipe can ask of engines, on two ranks: run by the launcher with a folder to write into, told as JSON lines.

Every case is trained under every engine that it names, two micro-batches a step, and held against one process with plain
torch that computes both; or, where a feature must change nothing at all, against the same engine without it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
from odd_graphs import batch_of, weights_of
from torch import nn

from drivetrain import Comm, EngineContext, FragmentWriter, Model, Prediction, UserError
from drivetrain.activations import checkpoint_blocks
from drivetrain.batch import Batch
from drivetrain.checkpoint import Checkpoint, checkpoint_path, persistent_buffers
from drivetrain.compiling import compile_losses
from drivetrain.groups import build_optimizer, freeze
from drivetrain.norms import set_norms
from drivetrain.plugins.parallelism.ddp.config import DDPConfig
from drivetrain.plugins.parallelism.ddp.engine import DDPEngine
from drivetrain.plugins.parallelism.deepspeed.config import DeepSpeedConfig
from drivetrain.plugins.parallelism.deepspeed.engine import DeepSpeedEngine
from drivetrain.plugins.parallelism.single.engine import SingleEngine
from drivetrain.recipe_schema import EmaSection, OptimizerKeys
from drivetrain.saving import commit
from drivetrain.weights import restore

sys.path.append(str(Path(__file__).parents[1] / "plugins" / "acme_crosswalk"))
from acme_crosswalk.optimizer import Signs

STEPS = 4
ENGINES = ("z0", "z1", "z2", "z3", "ddp")


def block(channels: int, out: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, out, kernel), nn.BatchNorm2d(out), nn.ReLU(), nn.Dropout(0.1))


class Net(Model):
    """Three blocks with norms and dropout, a head, and a parameter that no block holds."""

    def __init__(self, shape: tuple[int, ...] = (1,)) -> None:
        super().__init__()
        self.body = nn.Sequential(block(3, 8, 2), block(8, 6, 2), block(6, 6, 1))
        self.head = nn.Linear(6, 4)
        self.temperature = nn.Parameter(torch.ones(shape))

    def boxes(self, batch: Batch) -> torch.Tensor:
        images = batch.camera.images.float().permute(0, 3, 1, 2) / 255
        return self.head(self.body(images).mean((2, 3))) * self.temperature

    def losses(self, batch: Batch) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        error = self.boxes(batch).float() - batch.camera.targets["detection"]["boxes"]
        return {"boxes": (error.square().sum(), torch.tensor(float(len(batch.keys))))}

    def predict(self, batch: Batch) -> list[Prediction]:
        return [Prediction(key, {"boxes": boxes}) for key, boxes in zip(batch.keys, self.boxes(batch).float())]


# A large eps, as in tests/small.yaml: rounding noise is not to become a whole step.
ADAMW = partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.1, eps=1e-3)
GROUPS = {
    "freeze": [r"body\.0\."], "lr_scale": {r"head": 2.0}, "layer_decay": 0.5, "no_decay_norms_and_biases": True,
    "lr_scaling": "sqrt", "reference_batch": 2,
}  # fmt: skip
EMA = EmaSection(decay=0.7)


def engine_of(name: str, comm: Comm, resume: Checkpoint | None = None, keys: dict[str, Any] | None = None,
              ema: EmaSection | None = None, norm: Any = None, again: Any = False, compiled: bool = False,
              offload: dict[str, str] | None = None, optimizer: Callable[..., Any] = ADAMW, clip: float | None = None,
              slots: int = 2, dropout: bool = False, precision: str = "fp32",
              shape: tuple[int, ...] = (1,)) -> Any:  # fmt: skip
    chosen = OptimizerKeys.model_validate(keys or {})

    def build_model() -> Net:
        torch.manual_seed(5)
        model = Net(shape)
        set_norms(model, norm)
        for module in model.modules() if not dropout else ():
            module.p = 0.0
        if resume:
            restore(model, resume)
        freeze(model, chosen.freeze)
        checkpoint_blocks(model, again)
        if compiled:
            compile_losses(model)
        return model

    context = EngineContext(
        comm, build_model, lambda model: build_optimizer(optimizer, model, chosen, chosen.lr_factor(4)),
        lambda step: 1.0, precision, slots // comm.world, 2, clip, check_steps=2, ema=ema, compiled=compiled,
    )  # fmt: skip
    if name == "single":
        engine: Any = SingleEngine(None, context)
    elif name == "ddp":
        engine = DDPEngine(DDPConfig(), context)
    else:
        engine = DeepSpeedEngine(DeepSpeedConfig(zero_stage=int(name[1]), offload=offload or {}), context)
    if resume:
        engine.load(resume)
    return engine


def micro_batches(step: int, comm: Comm, slots: int = 2):
    """Seeded as `Training` does it."""
    of_rank = slots // comm.world
    for slot in range(comm.rank * of_rank, (comm.rank + 1) * of_rank):
        torch.manual_seed(1000 * step + slot)
        yield batch_of(step, slot)


def train(engine: Any, comm: Comm, first: int = 0, last: int = STEPS) -> list[float]:
    losses = [engine.step(micro_batches(step, comm)).losses for step in range(first, last)]
    return [float(loss) for of_step in losses for loss in of_step]


def held(engine: Any) -> dict[str, list[float]]:
    """Weights and averaged buffers."""
    engine.average_buffers()
    return weights_of(engine) | {n: b.float().flatten().tolist() for n, b in persistent_buffers(engine.model).items()}


def saved(engine: Any, comm: Comm, folder: Path) -> Checkpoint:
    engine.average_buffers()
    path = checkpoint_path(folder, engine.steps)
    writer = FragmentWriter(path, comm.rank)
    engine.save(writer)
    writer.close()
    if comm.is_main:
        commit(path, comm.world, {"step": engine.steps})
    comm.barrier()
    return Checkpoint(path)


def apart(a: dict[str, Any], b: dict[str, Any]) -> float:
    assert a.keys() == b.keys(), a.keys() ^ b.keys()
    return max(abs(x - y) for name in a for x, y in zip(flat(a[name]), flat(b[name]), strict=True))


def flat(value: Any) -> list[float]:
    return value.flatten().tolist() if isinstance(value, torch.Tensor) else value


def alone(comm: Comm) -> Comm:
    return Comm(0, 1, 0, 1, comm.device, 1)


# ---------------------------------------------------------------- the cases


def joined_norm(comm: Comm, dtype: torch.dtype, momentum: float | None, affine: bool = True) -> dict[str, float]:
    """A synchronised norm of shares of 3 and 5 pictures against a batch norm of all 8."""
    shares = [3, 5]
    torch.manual_seed(3)
    joined = nn.BatchNorm2d(4, momentum=momentum, affine=affine)
    if affine:
        nn.init.normal_(joined.weight)
    mine = nn.Sequential(nn.BatchNorm2d(4, momentum=momentum, affine=affine))
    mine[0].load_state_dict(joined.state_dict())
    set_norms(mine, "sync")
    found = dict.fromkeys(("output", "input", "weight", "bias", "mean", "variance"), 0.0)
    for _ in range(2):
        whole = (100 + torch.randn(8, 4, 3, 2)).to(dtype)  # far from 0: a one-pass variance would lose its digits
        target = torch.randn(8, 4, 3, 2)
        theirs, ours = whole.clone().requires_grad_(), whole.split(shares)[comm.rank].clone().requires_grad_()
        expected = joined(theirs)
        (expected.float() * target).sum().backward()
        output = mine(ours)
        (output.float() * target.split(shares)[comm.rank]).sum().backward()
        assert output.dtype == dtype
        found["output"] = max(found["output"], largest(output, expected.split(shares)[comm.rank]))
        found["input"] = max(found["input"], largest(ours.grad, theirs.grad.split(shares)[comm.rank]))
    for name, parameter in mine[0].named_parameters():
        torch.distributed.all_reduce(parameter.grad)
        found[name] = largest(parameter.grad, getattr(joined, name).grad)
    found["mean"] = largest(mine[0].running_mean, joined.running_mean)
    found["variance"] = largest(mine[0].running_var, joined.running_var)
    assert int(mine[0].num_batches_tracked) == 2
    return {name: max(values) for name, values in zip(found, zip(*comm.all_gather(list(found.values()))))}


def largest(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.float() - b.float()).abs().max())


def sync(name: str, comm: Comm, folder: Path) -> dict[str, Any]:
    """As one process that computes both micro-batches as one."""
    engine = engine_of(name, comm, norm="sync")
    train(engine, comm)
    reference = engine_of("single", alone(comm), slots=1)
    for step in range(STEPS):
        one, two = batch_of(step, 0), batch_of(step, 1)
        reference.step([joined(one, two)])
    return {"apart": apart(held(engine), held(reference))}


def scalar(name: str, comm: Comm, folder: Path) -> dict[str, Any]:
    """A parameter without dimensions."""
    engine = engine_of(name, comm, shape=(), ema=EMA)
    train(engine, comm)
    reference = engine_of("single", alone(comm), shape=(), ema=EMA)
    train(reference, alone(comm))
    return {"apart": apart(weights_of(engine), weights_of(reference)), "moved": float(engine.model.temperature) != 1}


def parting(name: str, comm: Comm, folder: Path) -> dict[str, Any]:
    """One rank leaves a block with a synchronised norm out."""
    engine = engine_of(name, comm, norm="sync")
    if comm.rank == 1:
        engine.model.body[2] = nn.Identity()
    train(engine, comm, 0, 1)
    return {}


def joined(one: Batch, two: Batch) -> Batch:
    from drivetrain.testing.models import _concatenated

    return _concatenated(one, two)


def groups_and_mean(name: str, comm: Comm, folder: Path, precision: str = "fp32") -> dict[str, Any]:
    """Groups, a running mean, and a checkpoint on the way, which the next engine takes over."""
    options: dict[str, Any] = {"keys": GROUPS, "ema": EMA, "clip": 0.05, "precision": precision}
    engine = engine_of(name, comm, **options)
    rates = sorted({round(group["lr"], 6) for group in engine.optimizer.param_groups})
    start, statistics = weights_of(engine), ReferenceMean(persistent_buffers(engine.model))
    for step in (0, 1):
        train(engine, comm, step, step + 1)
        statistics.update(step + 1)
    before, checkpoint = held(engine), saved(engine, comm, folder / name)
    with engine.averaged():
        inside, predicted = weights_of(engine), boxes_of(engine.predict(batch_of(9, 0)))
    assert held(engine) == before, "the weights came back bitwise"
    outside = Net()
    outside.load_state_dict(checkpoint.weights("ema"))
    other = engine_of(ENGINES[(ENGINES.index(name) + 1) % len(ENGINES)], comm, resume=checkpoint, **options)
    train(other, comm, 2, 4)
    train(engine, comm, 2, 4)
    end, other_end = (saved(e, comm, folder / f"{name}-{n}").weights("ema") for n, e in enumerate((engine, other)))
    reference = engine_of("single", alone(comm), **options)
    mean = ReferenceMean(dict(reference.model.named_parameters()))
    for step in range(STEPS):
        train(reference, alone(comm), step, step + 1)
        mean.update(step + 1)
    return {
        "rates": rates,
        "apart": apart(weights_of(engine), weights_of(reference)),
        "mean_apart": apart({n: end[n] for n in mean.values}, mean.values),
        "statistics_apart": apart({n: checkpoint.tensor("ema", n) for n in statistics.values}, statistics.over(comm)),
        "resumed_apart": apart(held(other), held(engine)),
        "resumed_mean_apart": apart(other_end, end),
        "predicted_apart": apart(predicted, boxes_of(outside.eval()(batch_of(9, 0)))),
        "exchanged": inside != weights_of(engine),
        "frozen": all(before[n] == start[n] for n in start if n.startswith("body.0.")),
        "moved": all(before[n] != start[n] for n in start if not n.startswith("body.0.")),
        "frozen_statistics": before["body.0.1.running_mean"] == [0.0] * 8 and before["body.1.1.running_mean"] != [0.0] * 6,
    }


def boxes_of(predictions: list[Prediction]) -> dict[str, torch.Tensor]:
    return {p.key: p.cameras["boxes"].detach() for p in predictions}


class ReferenceMean:
    """Written out: mean = d * mean + (1 - d) * value, d = min(decay, (1 + step) / (10 + step)), in double precision."""

    def __init__(self, tensors: dict[str, torch.Tensor]):
        self.tensors = {n: t for n, t in tensors.items() if t.is_floating_point()}
        self.values = {n: t.detach().double().clone() for n, t in self.tensors.items()}

    def update(self, step: int) -> None:
        d = min(0.7, (1 + step) / (10 + step))
        self.values = {n: d * old + (1 - d) * self.tensors[n].detach().double() for n, old in self.values.items()}

    def over(self, comm: Comm) -> dict[str, torch.Tensor]:
        ranks = comm.all_gather(self.values)
        return {n: torch.stack([values[n] for values in ranks]).mean(0) for n in self.values}


def computed_again(name: str, comm: Comm, folder: Path) -> dict[str, Any]:
    """Nothing changes, bitwise: losses, weights, running statistics and their counts, random numbers."""
    found, calls = [], []
    for again in (False, True, [r"body\.[01]$"]):
        engine = engine_of(name, comm, again=again, dropout=True)
        engine.model.body[0][0].register_forward_hook(lambda *_: calls.append(None))
        found.append((train(engine, comm), held(engine), len(calls)))
        calls.clear()
    plain, layers, chosen = found
    return {"same": plain[:2] == layers[:2] == chosen[:2], "calls": [f[2] for f in found]}


def offloaded(name: str, comm: Comm, folder: Path, parameters: bool = False) -> dict[str, Any]:
    options: dict[str, Any] = {"keys": GROUPS, "ema": EMA, "clip": 0.05}
    offload = {"optimizer": "cpu"} | ({"parameters": "cpu"} if parameters else {})
    engine = engine_of(name, comm, offload=offload, **options)
    losses = train(engine, comm, 0, 2)
    checkpoint = saved(engine, comm, folder / f"offload-{name}-{parameters}")
    losses += train(engine, comm, 2, 4)
    resumed = engine_of(name, comm, resume=checkpoint, offload=offload, **options)
    train(resumed, comm, 2, 4)
    plain = engine_of(name, comm, **options)
    expected = train(plain, comm)
    return {"losses_apart": max(abs(a - b) for a, b in zip(losses, expected)), "apart": apart(held(engine), held(plain)),
            "resumed_apart": apart(held(resumed), held(engine))}  # fmt: skip


def compiled(name: str, comm: Comm, folder: Path) -> dict[str, Any]:
    engine = engine_of(name, comm, compiled=True, dropout=True)
    losses = train(engine, comm)
    plain = engine_of(name, comm, dropout=True)
    expected = train(plain, comm)
    return {"losses_apart": max(abs(a - b) for a, b in zip(losses, expected)), "apart": apart(held(engine), held(plain)),
            "names": list(engine.model.state_dict()) == list(plain.model.state_dict())}  # fmt: skip


def others_optimizer(name: str, comm: Comm, folder: Path, optimizer: Callable[..., Any]) -> dict[str, Any]:
    """Two groups of it, and a checkpoint in between."""
    options: dict[str, Any] = {"keys": {"lr_scale": {"head": 3.0}}, "optimizer": optimizer}
    engine = engine_of(name, comm, **options)
    train(engine, comm, 0, 2)
    checkpoint = saved(
        engine, comm, folder / f"{optimizer.func.__name__}-{name}" if isinstance(optimizer, partial) else folder / name
    )
    resumed = engine_of(name, comm, resume=checkpoint, **options)
    train(resumed, comm, 2, 4)
    train(engine, comm, 2, 4)
    reference = engine_of("single", alone(comm), **options)
    train(reference, alone(comm))
    return {"apart": apart(weights_of(engine), weights_of(reference)), "resumed_apart": apart(held(resumed), held(engine))}


def norms(name: str, comm: Comm, folder: Path) -> dict[str, Any]:
    return {
        "fp32": joined_norm(comm, torch.float32, 0.1),
        "cumulative": joined_norm(comm, torch.float32, None, affine=False),
        "bf16": joined_norm(comm, torch.bfloat16, 0.1),
    }


ADAGRAD = partial(torch.optim.Adagrad, lr=1e-2)
CASES: list[tuple[str, Callable[..., dict[str, Any]], tuple[str, ...]]] = [
    ("norms", norms, ("-",)),
    ("sync", sync, ("z0", "z2", "z3", "ddp")),
    ("parting", parting, ("z2",)),
    ("scalar", scalar, ("z0", "z1", "z2", "z3")),
    ("groups_and_mean", groups_and_mean, ENGINES),
    ("groups_and_mean_bf16_at_length", partial(groups_and_mean, precision="bf16"), ENGINES),
    ("computed_again", computed_again, ENGINES),
    ("offload_optimizer", offloaded, ("z1", "z2", "z3")),
    ("offload_parameters", partial(offloaded, parameters=True), ("z3",)),
    ("a_strangers_optimizer", partial(others_optimizer, optimizer=partial(Signs, lr=1e-2)), ("z2",)),
    ("adagrad", partial(others_optimizer, optimizer=ADAGRAD), ("z2", "z3")),
    ("compiled", compiled, ("z3",)),
    ("compiled_at_length", compiled, ("z1", "ddp")),  # minutes of compilation: where it is asked for
]


def main(folder: Path, only: list[str]) -> None:
    comm = Comm.start(timeout_s=120)
    for case, work, engines in CASES:
        for name in engines if case in (only or [c for c, _, _ in CASES if not c.endswith("at_length")]) else ():
            try:
                found = work(name, comm, folder / case)
            except UserError as error:
                found = {"error": str(error)}
            if comm.is_main:
                print(json.dumps({"case": case, "engine": name, **found}))
                sys.stdout.flush()
    comm.barrier()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
