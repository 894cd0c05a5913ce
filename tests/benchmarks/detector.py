"""Our detector beside torchvision's: `make bench-detector`.

``detector_map``   coco_map of road_detector, and of ssdlite320_mobilenet_v3_large and fcos_resnet50_fpn trained as
                   torchvision's reference does (SGD, its rates scaled to this batch, its schedules), from scratch, on the same
                   synthetic frames, the same input size, with the same transforms, for the same time on the same cores
``detector_step_vs_fcos``, ``detector_step_at_100_objects``   see `detector_steps`

Each trainer's steps are what its own pace, measured at the start, gives in ``--minutes``. Runs lie under ``--build``: one that
is finished is not trained again, one that was cut off goes on.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from drivetrain.run import RunFolder

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RECIPE = ROOT / "recipes" / "synthetic-road-detector.yaml"
RANKS, PACE_STEPS = 2, 24
BATCH, MICRO = 16, 8


def peer(model: str, lr: float, weight_decay: float, schedule: str, warmup: int) -> list[str]:
    """Torchvision's references/detection: SGD with a momentum of 0.9, a linear warm-up of 1,000 steps or an epoch."""
    return [f"model.plugin={model}", "model.task=object_detection", "optimizer.plugin=sgd", f"optimizer.lr={lr}",
            f"optimizer.weight_decay={weight_decay}", f"lr_schedule.plugin={schedule}", f"lr_schedule.warmup_steps={warmup}",
            "ema=null", "train.clip=null"]  # fmt: skip


def trainers(frames: int, size: str) -> dict[str, list[str]]:
    """What each trainer changes of the recipe. The rates are the reference's, 0.01 at 8 x 2 pictures and 0.15 at 8 x 24, by
    its linear rule; FCOS's drops come after 16 and 22 of 26 epochs."""
    warmup = min(1000, frames // BATCH - 1)
    fcos = peer("fcos_resnet50_fpn", 0.01 * BATCH / 16, 1e-4, "step", warmup)
    return {
        "road_detector": [f"model.size={size}"],
        "ssdlite": peer("ssdlite320_mobilenet_v3_large", 0.15 * BATCH / 192, 4e-5, "cosine", warmup),
        "fcos": [*fcos, f"lr_schedule.milestones=[{16 / 26},{22 / 26}]"],
    }


def prepare(build: Path, train: int, val: int) -> None:
    """The frames, in build/boxes; a set of another size is another folder's."""
    if not (build / "boxes" / "val" / "dataset.json").is_file():
        command = [sys.executable, "-m", "drivetrain", "data", "synth", str(build / "boxes"), "--train", str(train),
                   "--val", str(val)]  # fmt: skip
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def launch(build: Path, run: Path, overrides: list[str], recipe: Path = RECIPE) -> list[dict[str, Any]]:
    """Train ``recipe`` on two ranks of one thread each, from where ``run`` stands; its records."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bin = Path(sys.executable).parent
    command = [str(bin / "deepspeed"), "--quiet", "--num_accelerators", str(RANKS), "--master_port", str(port),
               "--no_local_rank", "--module", "drivetrain", "train", str(recipe), "--run", str(run), *overrides]  # fmt: skip
    own = {"PATH": f"{bin}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1", "DRIVETRAIN_THREADS": "1",
           "DRIVETRAIN_DATA": str(build), "PYTHONWARNINGS": "ignore"}  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **own}, cwd=ROOT)
    if done.returncode:
        sys.exit(f"{run.name} failed:\n{(done.stdout + done.stderr)[-3000:]}")
    return RunFolder(run).records()


def pace(build: Path, name: str, common: list[str], own: list[str]) -> float:
    """Seconds a step, the median of those after the first eight."""
    short = [f"train.steps={PACE_STEPS}", "train.log_every=1", "evaluation.at_end=false", "checkpoint.at_end=false"]
    records = launch(build, build / "runs" / f"{name}-pace", [*common, *own, *short])
    return statistics.median(r["seconds"] for r in records[8:] if r["kind"] == "training")


def measure(build: Path, name: str, minutes: float, common: list[str], own: list[str]) -> dict[str, Any]:
    """Train for ``minutes`` and evaluate: the figure, which is kept in a file."""
    kept = build / "runs" / f"{name}-{minutes:g}.json"
    if kept.is_file():
        return json.loads(kept.read_text())
    planned = build / "runs" / f"{name}-{minutes:g}.steps"
    if not planned.is_file():
        steps = max(32, round(60 * minutes / pace(build, name, common, own)))
        planned.write_text(str(steps))
    steps = int(planned.read_text())
    every = ["train.log_every=8", "checkpoint.every=200", "checkpoint.keep=1"]
    records = launch(build, build / "runs" / f"{name}-{minutes:g}", [*common, *own, f"train.steps={steps}", *every])
    figure = _figure(name, steps, records)
    kept.write_text(json.dumps(figure))
    return figure


def _figure(name: str, steps: int, records: list[dict[str, Any]]) -> dict[str, Any]:
    """Its time is that of the training alone, the records of steps that were done again left out."""
    training = [r for r in records if r["kind"] == "training"]
    marks, seconds = [0, *(r["step"] for r in training)], 0.0
    for before, record in zip(marks, training):
        seconds += record["seconds"] * max(0, record["step"] - before)
    result = records[-1]["coco_map"]
    shown = {key: round(result[key], 4) for key in ("AP50", "APs", "APm", "APl") if result[key] is not None}
    return {"figure": "detector_map", "model": name, "value": round(result["coco_map"], 4), "unit": "coco_map", **shown,
            "steps": steps, "seconds": round(seconds)}  # fmt: skip


def figures(wanted: argparse.Namespace) -> Iterator[dict[str, Any]]:
    prepare(wanted.build, wanted.train, wanted.val)
    common = [f"batch.global={BATCH}", f"batch.micro={MICRO}", f"transforms.resize.size={list(wanted.size)}", "tracker=null",
              "evaluation.every=null"]  # fmt: skip
    every = trainers(wanted.train, wanted.model)
    for name in wanted.only or every:
        yield measure(wanted.build, name, wanted.minutes, common, every[name])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "bench-detector")
    parser.add_argument("--minutes", type=float, default=20.0, help="of training, each")
    parser.add_argument("--train", type=int, default=1700, help="frames")
    parser.add_argument("--val", type=int, default=300, help="frames")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 320), help="height and width of the input")
    parser.add_argument("--model", default="n", help="size of road_detector")
    parser.add_argument("--only", nargs="*", help="some of road_detector, ssdlite, fcos; without any name: step times alone")
    parser.add_argument("--rounds", type=int, default=15, help="of the step times; 0: none")
    wanted = parser.parse_args()
    if wanted.rounds:
        height, width = map(str, wanted.size)
        command = [sys.executable, str(HERE / "detector_steps.py"), "--rounds", str(wanted.rounds), "--size", height, width]
        subprocess.run(command, check=True)
    if wanted.only is None or wanted.only:
        for figure in figures(wanted):
            print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
