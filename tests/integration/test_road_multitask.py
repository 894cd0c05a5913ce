"""Five tasks from two sets that are labelled for some of them each, on two ranks of the real launcher: as in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BIN, drivetrain

from drivetrain import Overlay, open_run

RECIPE = """
seed: 1
data:
  train: {{one: {{shards: "{shards}/one/train"}}, other: {{shards: "{shards}/other/train"}}}}
  val: {{one: {{shards: "{shards}/one/val"}}}}
  taxonomy: {{one: {{cyclist: pedestrian, truck: car}}, other: {{alternative: direct}}}}
  classes:
    object_detection: [car, pedestrian, traffic_sign]
    semantic_segmentation: [road, lane_marking, pavement, terrain, building, vegetation, pole, traffic_sign, sky, car,
                            pedestrian]
    drivable_area: [direct, background]
    lane_detection: [ego_left, ego_right, left, right]
    depth_estimation: []
transforms: {{resize: {{size: [96, 160]}}, flip: {{p: 0.5}}, colour: {{}}}}
model:
  plugin: road_multitask
  tasks: [object_detection, semantic_segmentation, drivable_area, lane_detection, depth_estimation]
  balance: uncertainty
  semantic_segmentation: {{lovasz: 0.5}}
  lane_detection: {{threshold: 0.0}}
batch: {{global: 4, micro: 2}}
optimizer: {{plugin: adamw, lr: 1e-3}}
ema: {{decay: 0.9}}
train: {{steps: 3, clip: 10.0, log_every: 1}}
metrics: {{miou: {{}}, coco_map: {{}}}}
"""


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with the runs ``single`` and ``z2``."""
    folder = tmp_path_factory.mktemp("multitask")
    for name, labels in (("one", "semantic,boxes"), ("other", "drivable,lanes,depth")):
        done = drivetrain("data", "synth", folder / name, "--train", 8, "--val", 3, "--size", "192x108", "--labels", labels)
        assert done.returncode == 0, done.stderr
    recipe = folder / "recipe.yaml"
    recipe.write_text(RECIPE.format(shards=folder))
    alone = drivetrain("train", recipe, "--run", folder / "single", "parallelism.plugin=single")
    assert alone.returncode == 0, alone.stderr
    command = [BIN / "deepspeed", "--quiet", "--num_accelerators", "2", "--master_port", "29619", "--no_local_rank", "--module",
               "drivetrain", "train", recipe, "--run", folder / "z2", "parallelism.zero_stage=2"]  # fmt: skip
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"})  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return folder


def test_losses_on_two_ranks_are_those_of_one_process(runs):
    """Ranks see other tasks' labels in the same step, and their graphs are the same: the check of the first steps is on."""
    alone, together = ([r for r in open_run(runs / n).records() if r["kind"] == "training"] for n in ("single", "z2"))
    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together):
        assert one["samples"] == other["samples"] and other["skipped"] == 0
        assert other["losses"] == pytest.approx(one["losses"], rel=2e-3, abs=1e-4)
    learnt = {name.split("/")[0] for record in alone for name, value in record["losses"].items() if value}
    assert len(learnt) == 5, "both sets were seen"


def test_all_is_predicted_of_every_frame(runs):
    assert open_run(runs / "z2").records()[-1]["coco_map"]["frames"] == 3
    predicted = Overlay(next((runs / "z2").glob("predictions/**/overlay.json")).parent)
    for key in list(predicted.keys()):
        camera = predicted.labels(key)["cam_front"]
        labels = (camera.boxes, camera.semantic, camera.drivable, camera.lanes, camera.depth)
        assert all(label is not None for label in labels)
        assert len(camera.lanes) == 4
