"""A first recipe for a shard set, written after the shipped pattern of its task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .errors import DataError, UserError, near_matches
from .manager import PluginManager
from .recipe_sources import flow, read_recipe, shipped_patterns

_KEPT = ("precision", "parallelism", "optimizer", "lr_schedule")
_STRIDE, _LONG_SIDE, _PASSES = 32, 640, 30


def write_recipe(data: str, task: str, model: str | None, manager: PluginManager) -> str:
    """The text of a recipe that trains ``task`` on the shard set ``data``, or on its folders train and val.

    Raises UserError for a task that the set is not labelled for, or that no model does.
    """
    folders = _folders(Path(data))
    info = json.loads((folders["train"] / "dataset.json").read_text())
    if task not in info["classes"]:
        raise UserError(f"{folders['train']} has no labels for {task!r}", near=near_matches(task, info["classes"]),
                        remedy="it has: " + ", ".join(info["classes"]))  # fmt: skip
    pattern = _pattern(task, manager)
    if model is not None:
        _check_able(model, task, manager)
        if model != pattern["model"]["plugin"]:
            pattern["model"] = {"plugin": model, "task": task}
    return "".join(_text(info, folders, task, pattern))


def _folders(data: Path) -> dict[str, Path]:
    """Split -> shard set."""
    splits = {split: data / split for split in ("train", "val") if (data / split / "dataset.json").is_file()}
    if "train" in splits:
        return splits
    if (data / "dataset.json").is_file():
        return {"train": data}
    raise DataError(f"{data} is no shard set, and has none in train", remedy="make one with: drivetrain data shard")


def _pattern(task: str, manager: PluginManager) -> dict[str, Any]:
    """The shipped pattern of ``task``; where there is none, any model that does it and its metrics."""
    if task in (patterns := shipped_patterns()):
        plain: dict[str, Any] = read_recipe(patterns[task], (), lambda key: None).root.plain
        return plain
    models = [f.full_name for f in manager.found("model") if task in f.declaration.tasks]
    if not models:
        raise UserError(f"no model does {task!r}", remedy="all of them: drivetrain plugins list model")
    metrics: dict[str, Any] = {f.declaration.name: {} for f in manager.found("metric") if f.declaration.task == task}
    return {"model": {"plugin": models[0], "task": task}, "metrics": metrics}


def _check_able(model: str, task: str, manager: PluginManager) -> None:
    able = manager.resolve("model", model, "--model").declaration.tasks
    if task not in able:
        raise UserError(f"{model} does {' and '.join(sorted(able))}, not {task}", where="--model")


def _text(info: Mapping[str, Any], folders: Mapping[str, Path], task: str, pattern: Mapping[str, Any]) -> list[str]:
    samples, name = info["samples"], info["dataset"]
    cameras = info["cameras"]
    width, height = next(iter(cameras.values()))[0]
    size = sensible_size(height, width)
    batch_global = next((n for n in (16, 8, 4, 2) if n <= samples), 1)
    steps = min(50_000, max(200, round(_PASSES * samples / batch_global / 50) * 50))
    classes = [c["name"] for c in info["classes"][task] if not c.get("ignore")]
    transforms = {n: entry | ({"size": size} if "size" in entry else {}) for n, entry in pattern.get("transforms", {}).items()}
    lines = [
        f"# {task} on {name}: {samples} frames of {width}x{height} to train on",
        f"about: {flow({'what': f'{task} on {name}'})}",
        "seed: 1",
        "data:",
        *(f"  {split}: {flow({name: {'shards': str(folder)}})}" for split, folder in folders.items()),
        "  # classes of the set; to join some, leave one out and say: taxonomy: {" + flow(name) + ": {THIS: THAT}}",
        f"  classes: {flow(classes)}",
        *([f"  cameras: {flow(list(cameras)[:1])}  # of {', '.join(cameras)}"] if len(cameras) > 1 else []),
        "# in this order; sizes are [height, width]",
        f"transforms: {flow(transforms)}",
        f"model: {flow(pattern['model'])}",
        "# samples in a step, and of one rank at a time: the number of ranks must divide global / micro",
        f"batch: {flow({'global': batch_global, 'micro': min(4, batch_global)})}",
        *(f"{section}: {flow(pattern[section])}" for section in _KEPT if section in pattern),
        f"# {steps * batch_global / samples:.0f} passes over the set",
        f"train: {flow(pattern.get('train', {}) | {'steps': steps})}",
        *_evaluation(folders, steps, pattern),
        *([f"tracker: {flow(pattern['tracker'])}"] if "tracker" in pattern else []),
    ]
    return [line + "\n" for line in lines]


def _evaluation(folders: Mapping[str, Path], steps: int, pattern: Mapping[str, Any]) -> list[str]:
    if "val" not in folders:
        return ["# there is no val set beside it: to evaluate, add data.val and metrics"]
    return [f"evaluation: {flow({'every': steps // 4})}", f"metrics: {flow(pattern['metrics'])}"]


def sensible_size(height: int, width: int) -> list[int]:
    """[height, width] in multiples of 32, at most 640 long, of nearly the same shape: the least change of aspect among
    the sizes from half the longest on, the larger of equals."""
    long, short = max(height, width), min(height, width)
    top = max(_STRIDE, min(long, _LONG_SIDE) // _STRIDE * _STRIDE)
    sides = [(a, max(_STRIDE, round(a * short / long / _STRIDE) * _STRIDE)) for a in range(top, top // 2 - 1, -_STRIDE)]
    best = min(sides, key=lambda side: round(abs(side[1] / side[0] * long / short - 1), 3))
    return [best[1], best[0]] if width >= height else [best[0], best[1]]
