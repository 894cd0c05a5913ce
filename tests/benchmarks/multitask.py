"""One network for four tasks beside four networks of one task each, on synthetic frames: `make bench-multitask`.

``multitask_points_lost``     per task, the single-task model's metric less that of road_multitask, in points, after as many
                              steps of the same batches
``multitask_step_vs_single``  the median step of the four tasks together / the sum of the four models' median steps
``half_labelled_ap_lost``     coco_map, in points, of road_multitask trained on two sets with all labels, less the same trained
                              on these frames where one set has only boxes and lanes and the other only masks and drivable area

Runs lie under ``--build``; one that is finished is not trained again, one that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from detector import launch

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "recipes" / "synthetic-multitask.yaml"
METRICS = {"object_detection": "coco_map", "semantic_segmentation": "miou", "drivable_area": "drivable_miou",
           "lane_detection": "culane_f1"}  # fmt: skip
SETS = {"one": "boxes,lanes", "other": "semantic,drivable"}
EVERY = "semantic,boxes,drivable,lanes"


def prepare(build: Path, train: int, val: int) -> None:
    """The sets ``one`` and ``other`` with all labels and, below ``half``, with half of them."""
    wanted = {build / name: (EVERY, seed) for seed, name in enumerate(SETS)}
    wanted |= {build / "half" / name: (labels, seed) for seed, (name, labels) in enumerate(SETS.items())}
    for out, (labels, seed) in wanted.items():
        if not (out / "val" / "dataset.json").is_file():
            command = [sys.executable, "-m", "drivetrain", "data", "synth", str(out), "--train", str(train // 2), "--val",
                       str(val), "--seed", str(seed), "--labels", labels]  # fmt: skip
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def sources(build: Path, half: bool) -> list[str]:
    """Of the recipe: both sets for training; the first, with all labels, for evaluation: keys are the same in both."""
    train = build / "half" if half else build
    own = [f"data.{split}.multitask.enabled=false" for split in ("train", "val")]
    return [*own, *(f"data.train.{name}.shards={train / name / 'train'}" for name in SETS),
            f"data.val.one.shards={build / 'one' / 'val'}"]  # fmt: skip


def of_task(task: str) -> list[str]:
    """What a model of one task changes in the recipe."""
    others = [other for other in METRICS if other != task]
    return [f"model.tasks=[{task}]", "model.task_weights=null", *(f"data.classes.{other}=null" for other in others),
            *(f"metrics.{METRICS[other]}.enabled=false" for other in others)]  # fmt: skip


def measure(wanted: argparse.Namespace, name: str, half: bool, own: list[str]) -> dict[str, Any]:
    """Metrics by task, and the median seconds of a step."""
    common = [f"train.steps={wanted.steps}", "train.log_every=5", "evaluation.every=null", "checkpoint.every=200",
              "checkpoint.keep=1", "tracker=null"]  # fmt: skip
    run = wanted.build / "runs" / f"{name}-{wanted.steps}"
    records = launch(wanted.build, run, [*common, *sources(wanted.build, half), *own, *wanted.set], RECIPE)
    steps = [r["seconds"] for r in records if r["kind"] == "training"]
    results = {task: records[-1].get(metric, {}).get(metric) for task, metric in METRICS.items()}
    return {"results": results, "step": statistics.median(steps[2:])}


def tell(figure: str, value: float, unit: str, **more: Any) -> None:
    print(json.dumps({"figure": figure, "value": round(value, 3), "unit": unit, **more}), flush=True)


def tell_tasks(together: dict[str, Any], alone: dict[str, dict[str, Any]]) -> None:
    """The four tasks in one network beside one network each."""
    for task, one in alone.items():
        single, shared = one["results"][task], together["results"][task]
        tell("multitask_points_lost", 100 * (single - shared), "points", task=task, single=single, together=shared)
    total = sum(one["step"] for one in alone.values())
    tell("multitask_step_vs_single", together["step"] / total, "ratio", together=together["step"], single=total)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "bench-multitask")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--train", type=int, default=1700, help="frames")
    parser.add_argument("--val", type=int, default=300, help="frames")
    parser.add_argument("--only", choices=["tasks", "half"], help="the figures of one sort, in place of both")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the recipe, in all runs")
    wanted = parser.parse_args()
    wanted.build = wanted.build.resolve()
    prepare(wanted.build, wanted.train, wanted.val)
    together = measure(wanted, "together", False, [])
    if wanted.only != "half":
        tell_tasks(together, {task: measure(wanted, task, False, of_task(task)) for task in METRICS})
    if wanted.only != "tasks":
        half = measure(wanted, "half", True, [])["results"]["object_detection"]
        whole = together["results"]["object_detection"]
        tell("half_labelled_ap_lost", 100 * (whole - half), "points", whole=whole, half=half, steps=wanted.steps)


if __name__ == "__main__":
    main()
