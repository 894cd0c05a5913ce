"""Segmentation on CamVid beside plain torch, from scratch, in the same time on the same cores: `make bench-camvid`.

``camvid_miou``                  mIoU of val at 240x180, of the recipe ``--recipe`` trained under the deepspeed launcher, its
                                 data through shards and loader; its steps are what its pace, measured first, gives in
                                 ``--seconds``
``camvid_miou_vs_plain_torch``   that less what ``--peer`` reaches, in points; the peer trains for as many seconds as ours took
                                 from its first line to its last, its own start and end left out
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from detector import launch

ROOT = Path(__file__).parents[2]
PACE_STEPS, BESIDE_STEPS = 24, 25.0  # seconds that a run takes beside its steps: its start, and the evaluation


def prepare(camvid: Path, build: Path) -> None:
    for split in ("train", "val"):
        out = build / "camvid" / split
        if not (out / "dataset.json").is_file():
            command = [sys.executable, "-m", "drivetrain", "data", "shard", "camvid", str(camvid), str(out), "--split", split]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def train(wanted: argparse.Namespace, name: str, steps: int, *overrides: str) -> list[dict[str, Any]]:
    run = wanted.build / "runs" / f"{wanted.recipe.stem}-{name}-{time.strftime('%H%M%S')}"
    quiet = ["tracker=null", "gates=null", "evaluation.every=null", "checkpoint.every=null", f"train.steps={steps}"]
    return launch(wanted.build, run, [*quiet, *wanted.set, *overrides], wanted.recipe)


def ours(wanted: argparse.Namespace) -> dict[str, Any]:
    records = train(wanted, "pace", PACE_STEPS, "train.log_every=1", "evaluation.at_end=false", "checkpoint.at_end=false")
    pace = statistics.median(r["seconds"] for r in records[4:] if r["kind"] == "training")
    began = time.monotonic()
    records = train(wanted, "whole", max(20, round((wanted.seconds - BESIDE_STEPS) / pace)), "train.log_every=20")
    seconds = time.monotonic() - began
    result = records[-1]["miou"]
    return {"miou": result["miou"], "iou": result["iou"], "steps": records[-1]["step"], "seconds": seconds}


def plain_torch(wanted: argparse.Namespace, seconds: float) -> dict[str, Any]:
    command = [sys.executable, str(wanted.peer), str(wanted.camvid), "--seconds", f"{seconds:.0f}", "--threads", "2"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found = re.search(r"steps (\d+) seconds (\d+) miou ([\d.]+)", done.stdout)
    assert found, done.stdout
    return {"miou": float(found[3]), "steps": int(found[1]), "seconds": float(found[2])}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--camvid", type=Path, required=True, help="the dataset's folder, in SegNet's layout")
    parser.add_argument("--peer", type=Path, required=True, help="a script: PEER CAMVID --seconds S --threads T")
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--recipe", type=Path, default=ROOT / "recipes" / "camvid-segmentation.yaml")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "bench-camvid")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="of the recipe")
    wanted = parser.parse_args()
    wanted.build = wanted.build.resolve()
    prepare(wanted.camvid, wanted.build)
    own = ours(wanted)
    iou = {name: round(value, 3) for name, value in own["iou"].items()}
    print(json.dumps({"figure": "camvid_miou", "value": round(own["miou"], 4), "unit": "mIoU", "steps": own["steps"],
                      "seconds": round(own["seconds"]), "iou": iou}), flush=True)  # fmt: skip
    other = plain_torch(wanted, own["seconds"])
    print(json.dumps({"figure": "camvid_miou_vs_plain_torch", "value": round(100 * (own["miou"] - other["miou"]), 2),
                      "unit": "points", "plain_torch": other["miou"], "steps": other["steps"], "seconds": other["seconds"]}),
          flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
