"""One recipe with all five tasks: checked, drawn, trained, evaluated and looked at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from conftest import ROOT, drivetrain

from drivetrain import Overlay, decode_pixels

PLUGIN = ROOT / "tests" / "plugins" / "five_tasks.py"
RECIPE = """
seed: 1
data:
  train: {{world: {{shards: "{shards}/train"}}}}
  val: {{world: {{shards: "{shards}/val"}}}}
  taxonomy:
    world: {{pole: ignore, truck: car, pedestrian: person, cyclist: person, alternative: direct, right: drop, left: drop}}
  classes:
    object_detection: [car, person, traffic_sign]
    semantic_segmentation: [road, lane_marking, pavement, terrain, building, vegetation, traffic_sign, sky, car, person]
    drivable_area: [direct, background]
    lane_detection: [ego_left, ego_right]
    depth_estimation: []
transforms: {{resize: {{size: [96, 160]}}, flip: {{p: 0.5}}, colour: {{}}}}
model: {{plugin: five, tasks: [object_detection, semantic_segmentation, drivable_area, lane_detection, depth_estimation]}}
batch: {{global: 4, micro: 2}}
optimizer: {{plugin: adamw, lr: 1e-3}}
train: {{steps: 2}}
metrics: {{miou: {{}}}}
parallelism: {{plugin: single}}
"""


def run(*arguments):
    done = drivetrain("--plugin", PLUGIN, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_recipe_of_five_tasks_goes_all_the_way(tmp_path: Path):
    shards, recipe = tmp_path / "shards", tmp_path / "five.yaml"
    run("data", "synth", shards, "--train", 8, "--val", 3, "--size", "192x108", "--labels", "all", "--workers", 1)
    run("data", "view", shards / "train", "--count", 2, "--columns", 1, "--out", tmp_path / "view.png")
    assert cv2.imread(str(tmp_path / "view.png")).shape[1] > 3 * 192, "masks and depth side by side"
    recipe.write_text(RECIPE.format(shards=shards))
    assert "depth_estimation" in run("recipe", "show", recipe)
    run("data", "batch", recipe, "--out", tmp_path / "batch.png")
    assert cv2.imread(str(tmp_path / "batch.png")).shape[1] > 2 * 3 * 160
    run("train", recipe, "--run", tmp_path / "run")
    predicted = Overlay(next((tmp_path / "run").glob("predictions/**/overlay.json")).parent)
    camera = predicted.labels(predicted.keys()[0])["cam_front"]
    assert camera.lanes.names == ["ego_left"] and len(camera.boxes) == 1
    assert decode_pixels("depth", camera.depth).shape == (108, 192) and (decode_pixels("depth", camera.depth) > 0).all()
    assert set(np.unique(decode_pixels("drivable", camera.drivable))) <= {0, 1}
    pictures = sorted((tmp_path / "run" / "pictures").glob("*/*.png"))
    assert len(pictures) == 3 and cv2.imread(str(pictures[0])).shape[1] > 7 * 192


def test_classes_are_asked_for_where_a_task_has_them(tmp_path: Path):
    recipe = tmp_path / "five.yaml"
    text = RECIPE.format(shards="nowhere")
    for old, new, told in (
        ("[direct, background]", "[]", "drivable_area needs a class"),
        ("depth_estimation: []", "depth_estimation: [near, far]", "depth_estimation has no classes: expected []"),
        ("    drivable_area: [direct, background]\n", "", "data.classes.drivable_area: is needed"),
    ):
        recipe.write_text(text.replace(old, new))
        done = drivetrain("--plugin", PLUGIN, "recipe", "check", recipe)
        assert done.returncode == 2 and told in done.stderr, done.stderr
