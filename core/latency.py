"""How long one picture takes on this machine's CPU: the model as it was trained, and as it was exported."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .export import module_of
from .exported import ExportedModel
from .predictor import Predictor

_WARM_UP = 10


def latency(predictor: Predictor, file: Path, cores: int, runs: int) -> dict[str, Any]:
    """``rows``: ``median_ms`` and ``p95_ms`` of ``runs`` pictures, one at a time, of the model and of the ``file`` that it was
    exported to, on one thread and on ``cores``; beside them what was measured. Only the network is timed: not the way from a
    camera's frame to its input, nor from its outputs to predictions. Raises UserError where the file is of something else."""
    module = module_of(predictor.model.cpu().eval())
    rows: list[dict[str, Any]] = []
    for threads in sorted({1, cores}):
        exported = ExportedModel(file, predictor, threads)
        rows += _rows(module, exported, threads, runs)
    return {
        "model": predictor.name, "step": predictor.checkpoint.step, "input": exported.about["input"]["shape"],
        "parameters": sum(p.numel() for p in predictor.model.parameters()), "megabytes": file.stat().st_size / 1e6,
        "machine": _machine(), "runs": runs, "rows": rows,
    }  # fmt: skip


def _rows(module: torch.nn.Module, exported: ExportedModel, threads: int, runs: int) -> Iterator[dict[str, Any]]:
    picture = torch.randn(exported.about["input"]["shape"], generator=torch.Generator().manual_seed(0))
    trained = picture.contiguous(memory_format=torch.channels_last)  # as `predict` gives it
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.inference_mode():
            yield {"what": "eager", "threads": threads, **timed(lambda: module(trained), runs)}
        yield {"what": exported.about["format"], "threads": threads, **timed(lambda: exported.outputs(picture), runs)}
    finally:
        torch.set_num_threads(before)


def timed(run: Callable[[], Any], runs: int) -> dict[str, float]:
    """``median_ms`` and ``p95_ms`` of ``runs`` calls, after some that do not count."""
    for _ in range(_WARM_UP):
        run()
    times = []
    for _ in range(runs):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return {"median_ms": 1e3 * float(np.median(times)), "p95_ms": 1e3 * float(np.percentile(times, 95))}


def _machine() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def table(found: Mapping[str, Any]) -> list[str]:
    """Lines for people."""
    height, width = found["input"][2:]
    lines = [
        f"{found['model']} after step {found['step']}: {found['parameters'] / 1e6:.2f} M parameters, a file of "
        f"{found['megabytes']:.1f} MB, one picture of {height}x{width}",
        f"{found['runs']} runs on {found['machine']}",
        f"{'':14}{'threads':>8}{'median ms':>12}{'95 % ms':>10}",
    ]
    return lines + [f"{r['what']:14}{r['threads']:>8}{r['median_ms']:>12.2f}{r['p95_ms']:>10.2f}" for r in found["rows"]]
