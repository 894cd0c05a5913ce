"""Each dataset in its official layout, made small, through shards, a shipped recipe with ``small`` over it, and a metric."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BIN
from unit import layouts_made as made
from unit.argoverse_made import write_argoverse2
from unit.lanes_made import write_culane, write_tusimple
from unit.nuscenes_made import write_nuscenes
from unit.waymo_made import write_waymo

from drivetrain import open_run
from drivetrain.cli import run as command
from drivetrain.data import convert, open_dataset
from drivetrain.manager import get_manager
from drivetrain.taxonomies import find_taxonomy

TINY = ("transforms.resize.size=[64, 96]", "train.steps=2", "train.log_every=1", "evaluation.every=null", "evaluation.panels=0",
        "checkpoint.at_end=false")  # fmt: skip
ALONE = ("batch.global=2", "parallelism={plugin: single}", "tracker.wandb.enabled=false")


def write_bdd100k(root: Path, frames) -> None:
    """By night, and with lanes, which lie in the older json."""
    made.write_bdd100k(root, frames)
    text = (root / "labels/det_20/det_val.json").read_text().replace('"timeofday": "undefined"', '"timeofday": "night"')
    for name in ("det_20/det_val.json", "bdd100k_labels_images_val.json"):
        made.save(root / "labels" / name, text)


def write_coco(root: Path, frames) -> None:
    """With COCO's names of the classes."""
    made.write_coco(root, frames)
    path = root / "annotations/instances_val2017.json"
    text = path.read_text()
    for ours, theirs in (("pedestrian", "person"), ("cyclist", "bicycle"), ("traffic_sign", "stop sign")):
        text = text.replace(f'"{ours}"', f'"{theirs}"')
    path.write_text(text)


def write_all_of_nuscenes(root: Path, frames) -> None:
    """With all of the official categories."""
    write_nuscenes(root, frames)
    path = root / "v1.0-mini/category.json"
    rows = json.loads(path.read_text())
    more = find_taxonomy("nuscenes:detection", get_manager()).keys() - {row["name"] for row in rows}
    path.write_text(json.dumps([*rows, *({"token": f"k{name}", "name": name, "description": ""} for name in sorted(more))]))


def write_camvid(root: Path, frames) -> None:
    lines = []
    for number, frame in enumerate(frames):
        made.save(root / f"train/0001TP_{number:06d}.png", made.png(made.picture(frame)))
        made.save(root / f"trainannot/0001TP_{number:06d}.png", made.png(made.picture(frame)[..., 0] // 22))
        lines.append(f"/SegNet/CamVid/train/0001TP_{number:06d}.png /SegNet/CamVid/trainannot/0001TP_{number:06d}.png\n")
    made.save(root / "train.txt", "".join(lines))


DATASETS = {
    "argoverse2": (write_argoverse2, "val", {"boxes": True}),
    "bdd100k": (write_bdd100k, "val", {"labels": ["detection", "drivable", "lanes"]}),
    "bdd10k": (made.write_bdd100k_semantic, "val", {"labels": ["semantic"]}),
    "camvid": (write_camvid, "train", {}),
    "cityscapes": (made.write_cityscapes, "train", {}),
    "coco": (write_coco, "val2017", {}),
    "culane": (write_culane, "train", {}),
    "kitti": (made.write_kitti, "train", {}),
    "nuscenes": (write_all_of_nuscenes, "v1.0-mini", {}),
    "tusimple": (write_tusimple, "train", {}),
    "waymo": (write_waymo, "training", {}),
}
RECIPES = {
    "argoverse2": "argoverse2-road-detector,small", "bdd100k": "bdd100k-multitask,small",
    "bdd10k": "bdd100k-deeplabv3,small,scratch", "camvid": "camvid-segmentation,small", "coco": "coco-fcos,small,scratch",
    "culane": "culane-lanes,small", "kitti": "kitti-road-detector,small", "nuscenes": "nuscenes-road-detector,small",
    "tusimple": "tusimple-lanes,small", "waymo": "waymo-road-detector,small",
}  # fmt: skip


def shard(dataset: str, frames, folder: Path) -> None:
    """The set as train and as val."""
    write, split, options = DATASETS[dataset]
    write(folder / "official", frames)
    _, reader = open_dataset({"bdd10k": "bdd100k"}.get(dataset, dataset), options)
    convert(dataset, reader, folder / "official", folder / dataset / "train", split, workers=1, samples_per_shard=2)
    (folder / dataset / "val").symlink_to(folder / dataset / "train")


def check(run: Path) -> None:
    """Two steps have been learnt from, and every metric of the recipe has a figure."""
    *steps, evaluation = open_run(run).records()
    losses = [value for record in steps for value in record["losses"].values()]
    assert [record["step"] for record in steps] == [1, 2] and losses and all(map(math.isfinite, losses))
    for name in open_run(run).resolved_recipe()["metrics"]:
        assert evaluation[name]["frames"] >= 3 and 0 <= (evaluation[name][name] or 0) <= 100, evaluation


@pytest.mark.parametrize("dataset", RECIPES)
def test_a_dataset_is_trained_on_by_its_recipe(dataset, synthetic_frames, tmp_path, monkeypatch):
    shard(dataset, synthetic_frames, tmp_path)
    monkeypatch.setenv("DRIVETRAIN_DATA", str(tmp_path))
    assert command(["train", RECIPES[dataset], "--run", str(tmp_path / "run"), *TINY, *ALONE]) == 0
    check(tmp_path / "run")


def test_two_ranks_train_one_with_norms_over_both(synthetic_frames, tmp_path):
    shard("cityscapes", synthetic_frames, tmp_path)
    launch = [BIN / "deepspeed", "--quiet", "--num_accelerators", "2", "--master_port", "29641", "--no_local_rank", "--module",
              "drivetrain", "train", "cityscapes-lraspp,small,scratch", "--run", tmp_path / "run", *TINY]  # fmt: skip
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "DRIVETRAIN_DATA": str(tmp_path)}
    done = subprocess.run([sys.executable, *map(str, launch)], capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    check(tmp_path / "run")
