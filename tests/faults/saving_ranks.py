"""Ranks that train and save without pause, to be killed: what a run does between its checkpoints, with nothing else in it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

from drivetrain import Checkpoint, whole_pieces
from drivetrain.checkpoint import newest_checkpoint
from drivetrain.comm import Comm
from drivetrain.recipe_schema import CheckpointSection
from drivetrain.saving import Saver
from drivetrain.weights import restore

EVERY, SIZE = 10, 500


def model_and_optimizer() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(SIZE, SIZE), torch.nn.BatchNorm1d(SIZE))
    return model, torch.optim.AdamW(model.parameters(), lr=1e-3)


def do_step(model: torch.nn.Module, optimizer: torch.optim.Optimizer, step: int) -> None:
    """Gradients that follow from the step, so that weights after it can be told without a run."""
    generator = torch.Generator().manual_seed(step)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator)
    optimizer.step()


def rank_process(folder: Path, attempt: int, rank: int, world: int, steps: int) -> None:
    """Go on from the newest whole checkpoint; what is passed over is noted in ``passed-over``, what is announced in
    ``announced``."""
    torch.set_num_threads(1)
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), DRIVETRAIN_THREADS="1")
    dist.init_process_group("gloo", init_method=f"file://{folder / f'store-{attempt}'}", rank=rank, world_size=world)
    comm, checkpoints = Comm.start(), folder / "checkpoints"
    found = newest_checkpoint(checkpoints, lambda line: note(folder / "passed-over", line)) if comm.is_main else None
    path = comm.broadcast(found and found.path)
    model, optimizer = model_and_optimizer()
    step = 0
    if path is not None:
        checkpoint = Checkpoint(path, content=False)
        restore(model, checkpoint)
        checkpoint.load_pieces(whole_pieces(model), optimizer)
        step = checkpoint.step
    settings = CheckpointSection.model_validate({"keep": 2})
    saver = Saver(checkpoints, comm, settings, lambda path, step: note(folder / "announced", str(step)), lambda line: None)

    def fill(writer):
        writer.add_pieces(whole_pieces(model, rank, world), optimizer)
        if rank == 0:
            writer.add_buffers(model)

    note(folder / f"started-{attempt}", str(step))
    try:
        for number in range(step + 1, steps + 1):
            saver.poll()
            do_step(model, optimizer, number)
            time.sleep(0.005)
            comm.barrier()  # as a reduction of gradients would
            if number % EVERY == 0:
                saver.begin(number, fill, {"step": number})
    except RuntimeError as gone:  # another rank was killed
        saver.finish(gone)
        raise SystemExit(1) from None
    saver.finish(None)


def note(path: Path, line: str) -> None:
    with path.open("a") as file:
        file.write(line + "\n")
