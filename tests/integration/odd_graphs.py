"""What two ranks do with models whose graphs differ from batch to batch: run by the launcher, told as JSON lines.

Every case is trained for three steps of two micro-batches, one a rank, under every stage, ddp and fsdp, and held against
one process that computes both micro-batches.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import nn

from drivetrain import Batch, Comm, EngineContext, Model, UserError
from drivetrain.batch import CameraBatch
from drivetrain.plugins.parallelism.ddp.config import DDPConfig
from drivetrain.plugins.parallelism.ddp.engine import DDPEngine
from drivetrain.plugins.parallelism.deepspeed.config import DeepSpeedConfig
from drivetrain.plugins.parallelism.deepspeed.engine import DeepSpeedEngine
from drivetrain.plugins.parallelism.fsdp.config import FSDPConfig
from drivetrain.plugins.parallelism.fsdp.engine import FSDPEngine
from drivetrain.plugins.parallelism.single.engine import SingleEngine

STEPS = 3
ENGINES = ("z0", "z1", "z2", "z3", "ddp", "fsdp")
CASES = ("as_usual", "empty_rank", "shared_head", "frozen", "used_by_none", "raw_parameter", "varying_calls", "other_order",
         "unused_head", "denoising_with_objects_only", "silent_head", "nan")  # fmt: skip
NAN_STEP = 1


class Odd(Model):
    """A backbone, two heads and a scale. Slot 1 of every step is the odd one."""

    def __init__(self, case: str):
        super().__init__()
        self.case = case
        self.backbone = nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.ReLU())
        self.boxes = nn.Linear(8, 4)
        self.denoise = {"shared_head": self.boxes, "silent_head": nn.Sequential(nn.Linear(8, 4))}.get(case, nn.Linear(8, 4))
        self.scale = nn.Parameter(torch.ones(4))
        self.backbone.requires_grad_(case != "frozen")

    def losses(self, batch):
        odd = bool(batch.positions[0] % 2)
        x = self.backbone(batch.camera.images.float() / 255)
        target = batch.camera.targets["detection"]["boxes"]
        assert target.dtype == torch.float32, target.dtype
        if self.case == "other_order" and odd:
            x = x + 0 * self.denoise(x).sum()
        boxes = self.boxes(x)
        if self.case == "varying_calls":
            for _ in range(0 if odd else 2):
                boxes = boxes + self.boxes(x)
        weight = torch.tensor(0.0 if odd and self.case == "empty_rank" else 2.0)
        error = (boxes - target).abs().sum() * (weight > 0)
        if self.case == "nan" and odd and batch.step == NAN_STEP:
            error = error * float("nan")
        losses = {"boxes": (error, weight)}
        if self.case == "silent_head" and odd:
            self.denoise(x)  # called as on the other rank, but nothing comes of it
        if self.denoises(odd):
            losses["denoise"] = (self.denoise(x).square().sum(), torch.tensor(2.0))
        if self.case == "raw_parameter":
            losses["decay"] = (self.boxes.weight.square().sum(), torch.tensor(1.0))
        losses["scale"] = (self.scale.square().sum(), torch.tensor(4.0))
        return losses

    def denoises(self, odd: bool) -> bool:
        """RT-DETR, for one, has denoising queries where there are objects, and none where there are not."""
        uneven = self.case in ("unused_head", "denoising_with_objects_only", "other_order", "silent_head")
        return self.case != "used_by_none" and not (uneven and odd)

    def predict(self, batch):
        raise NotImplementedError


def batch_of(step: int, slot: int) -> Batch:
    random = torch.Generator().manual_seed(100 * step + slot)
    images = torch.randint(0, 256, (2, 4, 4, 3), dtype=torch.uint8, generator=random)
    sizes = torch.tensor([[4, 4]] * 2)
    targets = {"detection": {"boxes": torch.rand(2, 4, generator=random)}}
    camera = CameraBatch(images, sizes, sizes, torch.eye(3).expand(2, 3, 3), targets, {}, {})
    return Batch([f"step-{step}-slot-{slot}-{n}" for n in range(2)], torch.tensor([slot, slot]), {"camera": camera}, step, slot)


def engine_of(name: str, build_model: Callable[[], Model], comm: Comm, precision: str = "fp32", find_unused: bool = False):
    def build_optimizer(model: nn.Module) -> torch.optim.Optimizer:
        return torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1, momentum=0.9)

    context = EngineContext(
        comm, build_model, build_optimizer, lambda step: 1.0, precision, 2 // comm.world, 2, clip=None, check_steps=2
    )
    if name == "single":
        return SingleEngine(None, context)
    if name == "ddp":
        return DDPEngine(DDPConfig(find_unused=find_unused), context)
    if name == "fsdp":
        return FSDPEngine(FSDPConfig(unit_parameters=30), context)  # the backbone's layer, the silent head
    return DeepSpeedEngine(DeepSpeedConfig(zero_stage=int(name[1])), context)


def weights_of(engine) -> dict[str, list[float]]:
    """The whole weights by name, on every rank."""
    import deepspeed

    out = {}
    for name, parameter in engine.model.named_parameters():
        gathered = [parameter] if hasattr(parameter, "ds_id") else []
        with deepspeed.zero.GatheredParameters(gathered, enabled=bool(gathered)):
            whole = parameter.full_tensor() if hasattr(parameter, "full_tensor") else parameter
            out[name] = whole.detach().flatten().tolist()
    return out


def odd(case: str) -> Odd:
    torch.manual_seed(5)
    return Odd(case)


def losses_and_weights(engine, slots: range) -> Iterator[tuple[list[float], bool, dict[str, list[float]]]]:
    for step in range(STEPS):
        result = engine.step(batch_of(step, slot) for slot in slots)
        yield [float(loss) for loss in result.losses], result.skipped, weights_of(engine)


def trial(name: str, case: str, comm: Comm, precision: str = "fp32", find_unused: bool = False) -> dict:
    try:
        engine = engine_of(name, partial(odd, case), comm, precision, find_unused)
        mine = list(losses_and_weights(engine, range(comm.rank, comm.rank + 1)))
    except UserError as error:
        return {"error": str(error)}
    ranks = comm.all_gather(mine)
    assert all(a[2] == b[2] for a, b in zip(*ranks)), "ranks hold different weights"
    alone = Comm(0, 1, 0, 1, comm.device, 1)
    reference = list(losses_and_weights(engine_of("single", partial(odd, case), alone, precision, find_unused), range(2)))
    apart = [abs(a - b) for ours, theirs in zip(mine, reference) for n in ours[2] for a, b in zip(ours[2][n], theirs[2][n])]
    return {
        "skipped": [step[1] for step in mine],
        "apart": max(apart),
        "moved": [mine[n][2] != mine[n - 1][2] for n in range(1, STEPS)],
        "losses_apart": max(abs(a - b) for step, both in enumerate(zip(*ranks)) for a, b in
                            zip([x for r in both for x in r[0]], reference[step][0]) if a == a and b == b),
    }  # fmt: skip


def main() -> None:
    comm = Comm.start(timeout_s=60)
    for name in ENGINES:
        cases = [(case, "fp32", False) for case in CASES] + [("as_usual", "bf16", False)]
        if name == "ddp":
            cases += [("unused_head", "fp32", True), ("used_by_none", "fp32", True)]
        for case, precision, find_unused in cases:
            found = trial(name, case, comm, precision, find_unused)
            if comm.is_main:
                print(json.dumps({"engine": name, "case": case, "precision": precision, "find_unused": find_unused, **found}))
                sys.stdout.flush()
    comm.barrier()
    os._exit(0)


if __name__ == "__main__":
    main()
