"""What a model costs, for ``evaluation.cost``: beside how good it is, how large, how slow and how hungry."""

from __future__ import annotations

import resource
from collections.abc import Sequence

import torch

from .building import build_model
from .comm import Comm
from .errors import UserError
from .export import module_of
from .latency import timed
from .recipe import Recipe

_RUNS = 20


def cost(recipe: Recipe, comm: Comm, size: tuple[int, int] | None) -> dict[str, float]:
    """The figures in ``evaluation.cost``, the same on every rank, which all call this together.

    ``parameters``: of the whole model, however it is sharded. ``latency_ms``: the median of single pictures of ``size``
    (height, width) through what `export` would export, eager, on rank 0's device in the recipe's precision; the way from a
    camera's frame and to predictions is left out. ``memory_bytes``: the greatest rank's peak until now, on a GPU of what torch
    had allocated, else of what the process held in memory. Raises UserError for a model without an export."""
    asked = recipe.evaluation.cost
    peak = max(comm.all_gather(_peak_bytes(comm.device)))  # before a second model is made
    measured = comm.broadcast(comm.together(lambda: _of_model(recipe, comm.device, size, asked) if comm.is_main else None))
    return {name: {**measured, "memory_bytes": peak}[name] for name in asked}


def _of_model(recipe: Recipe, device: torch.device, size: tuple[int, int] | None, asked: Sequence[str]) -> dict[str, float]:
    if not {"parameters", "latency_ms"} & set(asked):
        return {}
    model = build_model(recipe, lambda text: None).to(device).eval()
    found: dict[str, float] = {"parameters": sum(p.numel() for p in model.parameters())}
    if "latency_ms" in asked:
        if size is None:
            raise UserError("latency_ms is of a model that sees pictures", where="evaluation.cost")
        found["latency_ms"] = _latency_ms(module_of(model), device, size, recipe.precision == "bf16")
    return found


def _latency_ms(module: torch.nn.Module, device: torch.device, size: tuple[int, int], bf16: bool) -> float:
    picture = torch.randn((1, 3, *size), generator=torch.Generator().manual_seed(0)).to(device)
    picture = picture.contiguous(memory_format=torch.channels_last)  # as `predict` gives it

    def run() -> None:
        module(picture)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16, enabled=bf16):
        return timed(run, _RUNS)["median_ms"]


def _peak_bytes(device: torch.device) -> int:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
