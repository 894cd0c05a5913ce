"""Ranks that train a tiny model on one engine, save it, and load it on another. Run under a launcher:

    deepspeed --num_accelerators N portable.py FOLDER JOBS.json

A job: ``{"name", "engine": z0..z3|ddp|single, "optimizer", "load": NAME|null, "steps": N}`` trains N steps from a
checkpoint or from the seed, and saves as ``name``; with ``then`` it goes on for so many steps more. Rank 0 writes the losses
to ``FOLDER/NAME.losses``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

from drivetrain import Checkpoint, EngineContext, FragmentWriter, Model
from drivetrain.comm import Comm
from drivetrain.manager import get_manager
from drivetrain.recipe_schema import EmaSection
from drivetrain.saving import commit
from drivetrain.weights import restore


class Tiny(Model):
    """Sizes that 2 and 4 do not divide, a frozen layer, buffers of floats and of integers."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.first = torch.nn.Linear(5, 7)
        self.frozen = torch.nn.Linear(7, 3).requires_grad_(False)
        self.norm = torch.nn.BatchNorm1d(3)
        self.last = torch.nn.Linear(3, 1)

    def losses(self, batch):
        out = self.last(self.norm(self.frozen(self.first(batch.values).relu())))
        return {"squares": (out.square().sum(), torch.tensor(float(len(out))))}


class Numbers:
    """A batch of numbers that follow from step and rank."""

    def __init__(self, step: int, rank: int):
        self.values = torch.randn(6, 5, generator=torch.Generator().manual_seed(1000 * step + rank))

    def to(self, device):
        return self

    def release(self):
        pass


def build_optimizer(kind: str, model):
    """Two groups, with rates and decays of their own."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    weights = {"params": [p for p in parameters if p.ndim > 1], "lr": 0.02, "weight_decay": 0.1}
    others = {"params": [p for p in parameters if p.ndim < 2], "lr": 0.05, "weight_decay": 0.0}
    if kind == "sgd":
        return torch.optim.SGD([weights, others], momentum=0.9)
    return torch.optim.AdamW([weights, others])


def make_engine(name: str, context: EngineContext):
    """By the name that a job has for it."""
    stage = {"zero_stage": int(name[1])} if name.startswith("z") else {}
    found = get_manager().resolve("parallelism", "deepspeed" if stage else name)
    config = found.load_config()
    return found.load_factory()(config(**stage) if config else None, context)


def build_engine(job: dict, comm: Comm, checkpoint: Checkpoint | None):
    def build_model():
        model = Tiny()
        if checkpoint is not None:
            restore(model, checkpoint)
        return model

    context = EngineContext(comm, build_model, lambda model: build_optimizer(job["optimizer"], model),
                            lambda step: 1 / (step + 1), "fp32", 1, 6, None, ema=EmaSection(decay=0.7))  # fmt: skip
    engine = make_engine(job["engine"], context)
    if checkpoint is not None:
        engine.load(checkpoint)
    return engine


def train(engine, comm: Comm, first: int, steps: int) -> list[float]:
    return [float(engine.step([Numbers(step, comm.rank)]).losses[0]) for step in range(first, first + steps)]


def run_job(job: dict, comm: Comm, folder: Path) -> None:
    checkpoint = Checkpoint(folder / job["load"]) if job["load"] else None
    first = checkpoint.step if checkpoint else 0
    engine = build_engine(job, comm, checkpoint)
    losses = train(engine, comm, first, job["steps"])
    engine.average_buffers()
    writer = FragmentWriter(folder / job["name"], comm.rank)
    engine.save(writer)
    writer.close()
    if comm.is_main:
        commit(writer.folder, comm.world, {"step": first + job["steps"]})
    comm.barrier()
    losses += train(engine, comm, first + job["steps"], job.get("then", 0))
    if comm.is_main:
        (folder / f"{job['name']}.losses").write_text(json.dumps(losses))


if __name__ == "__main__":
    here = Comm.start()
    for work in json.loads(Path(sys.argv[2]).read_text()):
        run_job(work, here, Path(sys.argv[1]))
    here.close()
