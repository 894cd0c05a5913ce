"""RT-DETR on two ranks, of which one has pictures without objects, against one process that computes both micro-batches: run
by the launcher, told as JSON lines."""

from __future__ import annotations

import json
import os
import sys

import torch
from odd_graphs import engine_of, weights_of

from drivetrain import Batch, Comm, ModelContext
from drivetrain.plugins.models.transformers.config import RTDetrConfig
from drivetrain.plugins.models.transformers.rt_detr import RTDetr, build
from drivetrain.testing import make_batch

STEPS, TASK, CLASSES = 2, "object_detection", ("car", "person")
TINY = {
    "backbone_config": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "embedding_size": 8},
    "encoder_in_channels": [16, 24, 32], "encoder_hidden_dim": 16, "d_model": 16, "decoder_in_channels": [16, 16, 16],
    "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "decoder_layers": 2, "num_queries": 10, "num_denoising": 8,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2,
}  # fmt: skip


def model() -> RTDetr:
    torch.manual_seed(5)
    return build(RTDetrConfig(config=TINY), ModelContext((TASK,), {TASK: CLASSES}))


def batch_of(step: int, slot: int) -> Batch:
    """Objects are in slot 0 alone. The denoising queries' noise is drawn from torch's generator, seeded as the loop does."""
    torch.manual_seed(100 * step + slot)
    return make_batch(TASK, CLASSES, (64, 64), seed=10 * step + slot, objects=slot == 0)


def trained(name: str, comm: Comm, slots: range) -> tuple[list[list[float]], dict[str, list[float]]]:
    engine = engine_of(name, model, comm)
    losses = [[float(x) for x in engine.step(batch_of(step, slot) for slot in slots).losses] for step in range(STEPS)]
    return losses, weights_of(engine)


def main() -> None:
    comm = Comm.start(timeout_s=60)
    alone = Comm(0, 1, 0, 1, comm.device, 1)
    losses, weights = trained("single", alone, range(2))
    first = dict(model().named_parameters())
    for name in ("z2", "z3"):
        mine, ours = trained(name, comm, range(comm.rank, comm.rank + 1))
        ranks = [rank for rank, _ in comm.all_gather((mine, None))]
        told = {
            "engine": name,
            "losses": [[step[0] for step in rank] for rank in ranks],
            "losses_apart": max(abs(rank[s][0] - losses[s][r]) for r, rank in enumerate(ranks) for s in range(STEPS)),
            "apart": max(abs(a - b) for n in weights for a, b in zip(ours[n], weights[n])),
            "still": [n for n, p in first.items() if p.flatten().tolist() == ours[n]],
        }
        if comm.is_main:
            print(json.dumps(told), flush=True)
    comm.barrier()
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
