"""KITTI's frames learnt by heart, through everything that is real: `make kitti-overfit`.

The dataset's reader, a shard set, the loader, two ranks under the ``deepspeed`` launcher with ZeRO-2, evaluation, KITTI's
metric. Given is a folder in KITTI's layout with ``ImageSets/train.txt``.

``kitti_overfit``        KITTI's moderate 2D AP_R40, mean over classes (IoU 0.7 for cars, 0.5 for the others), over that of the
                         labels themselves taken as predictions: with few objects nobody reaches all the recalls that it samples
``kitti_overfit_ap50``   COCO's AP at an IoU of 0.5, of all objects
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from detector import ROOT, launch

from drivetrain import CameraLabels, Frame, Prediction, open_recipe
from drivetrain.building import build_loader, data_spec
from drivetrain.evaluate import build_metrics

RECIPE = ROOT / "recipes" / "kitti-road-detector.yaml"
OVERRIDES = ["model.size=n", "batch.global=4", "batch.micro=2", "optimizer.weight_decay=0", "ema.decay=0.99",
             "transforms.colour.enabled=false", "transforms.flip.enabled=false", "lr_schedule.warmup_steps=50",
             "evaluation.every=null", "train.log_every=20", "checkpoint.every=50",
             "checkpoint.keep=1", "tracker=null"]  # fmt: skip


def convert(kitti: Path, build: Path) -> None:
    """Train and val are the same frames."""
    for split in ("train", "val"):
        out = build / "kitti" / split
        if not (out / "dataset.json").is_file():
            command = [sys.executable, "-m", "drivetrain", "data", "shard", "kitti", str(kitti), str(out), "--split", "train"]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def said_by_labels(frame: Frame) -> Prediction:
    """The labels that count, as somebody would predict them who knows all."""
    cameras = {}
    for name, camera in frame.cameras.items():
        assert camera.boxes is not None and camera.boxes.ignore is not None
        known = camera.boxes.select(~camera.boxes.ignore)
        known.scores = np.ones(len(known), np.float32)
        cameras[name] = CameraLabels(boxes=known)
    return Prediction(frame.key, cameras)


def ceiling(overrides: list[str]) -> dict[str, Any]:
    """The results of `said_by_labels`."""
    recipe = open_recipe(str(RECIPE), *overrides)
    metrics = build_metrics(recipe)
    stream = build_loader(recipe).evaluation(data_spec(recipe, "val"), batch_micro=1, rank=0, world=1, threads=1, pin=False)
    for batch in stream:
        for frame in batch.frames or ():
            for metric in metrics.values():
                metric.update(said_by_labels(frame), frame)
        batch.release()
    return {name: metric.compute() for name, metric in metrics.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kitti", type=Path, help="a folder with training/ and ImageSets/train.txt")
    parser.add_argument("--build", type=Path, default=ROOT / "build" / "kitti-overfit")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--size", type=int, nargs=2, default=(192, 640), help="height and width of the input")
    wanted = parser.parse_args()
    convert(wanted.kitti, wanted.build)
    os.environ["DRIVETRAIN_DATA"] = str(wanted.build)
    overrides = [*OVERRIDES, f"train.steps={wanted.steps}", f"transforms.resize.size={list(wanted.size)}"]
    most = ceiling(overrides)
    found = launch(wanted.build, wanted.build / f"run-{wanted.steps}-{wanted.size[1]}", overrides, RECIPE)[-1]
    ap, best = found["kitti_ap"]["kitti_ap"], most["kitti_ap"]["kitti_ap"]
    by_class = found["kitti_ap"]["ap"]
    classes = {name: by_class[name]["bbox"]["moderate"]["AP_R40"] for name in by_class}
    about = {"steps": wanted.steps, "frames": found["kitti_ap"]["frames"], "ranks": 2, "engine": "ZeRO-2"}
    print(json.dumps({"figure": "kitti_overfit", "value": round(ap / best, 4), "unit": "ratio", "ap": round(ap, 2),
                      "of_labels": round(best, 2), "classes": classes, **about}))  # fmt: skip
    print(json.dumps({"figure": "kitti_overfit_ap50", "value": round(found["coco_map"]["AP50"], 4), "unit": "AP", **about}))


if __name__ == "__main__":
    main()
