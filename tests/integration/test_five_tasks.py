"""One recipe with all five tasks: checked, drawn, trained, evaluated and looked at."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import ROOT, drivetrain

from drivetrain import Overlay, RecipeError, UserError, decode_pixels, open_run, open_shards
from drivetrain.datasets.synthetic.command import synth
from drivetrain.looking import sheet_of_shards, sheet_of_step
from drivetrain.manager import Controls, PluginManager
from drivetrain.recipe import load_recipe

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
metrics:
  miou: {{}}
  coco_map: {{}}
  drivable_miou: {{}}
  culane_f1: {{lane_width: 6}}
  tusimple_accuracy: {{first_row: 60, last_row: 105, step: 5}}
  abs_rel: {{}}
gates: {{abs_rel: {{max: 1000}}, lanes: {{metric: tusimple_accuracy, figure: fn, max: 1}}}}
parallelism: {{plugin: single}}
"""


@pytest.fixture(scope="module")
def manager():
    return PluginManager(Controls(files=(str(PLUGIN),), allowed=()))


def test_a_recipe_of_five_tasks_goes_all_the_way(tmp_path: Path, manager):
    shards, recipe = tmp_path / "shards", tmp_path / "five.yaml"
    synth(shards, train=4, val=3, size="192x108", seed=0, labels="all", workers=1)
    sheet_of_shards(open_shards(str(shards / "train")), 2, 1, tmp_path / "view.png")
    assert cv2.imread(str(tmp_path / "view.png")).shape[1] > 3 * 192, "masks and depth side by side"
    recipe.write_text(RECIPE.format(shards=shards))
    assert len(sheet_of_step(load_recipe(str(recipe), (), manager), 1, tmp_path / "batch.png")) == 4
    assert cv2.imread(str(tmp_path / "batch.png")).shape[1] > 2 * 3 * 160
    done = drivetrain("--plugin", PLUGIN, "train", recipe, "--run", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    [scored] = [record for record in open_run(tmp_path / "run").records() if record["kind"] == "evaluation"]
    names = ("miou", "coco_map", "drivable_miou", "culane_f1", "tusimple_accuracy", "abs_rel")
    assert {name: scored[name]["frames"] for name in names} == dict.fromkeys(names, 3)
    assert all(scored[name][name] is not None for name in names) and "lanes    passed" in done.stderr
    predicted = Overlay(next((tmp_path / "run").glob("predictions/**/overlay.json")).parent)
    camera = predicted.labels(predicted.keys()[0])["cam_front"]
    assert camera.lanes.names == ["ego_left"] and len(camera.boxes) == 1
    assert decode_pixels("depth", camera.depth).shape == (108, 192) and (decode_pixels("depth", camera.depth) > 0).all()
    assert set(np.unique(decode_pixels("drivable", camera.drivable))) <= {0, 1}
    pictures = sorted((tmp_path / "run" / "pictures").glob("*/*.png"))
    assert len(pictures) == 3 and cv2.imread(str(pictures[0])).shape[1] > 7 * 192


def test_the_world_says_which_labels_it_has(tmp_path: Path):
    with pytest.raises(UserError, match="no label 'lane'\n  did you mean 'lanes'"):
        synth(tmp_path, train=1, val=1, size="192x108", seed=0, labels="boxes,lane", workers=1)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("[direct, background]", "[]", "drivable_area needs a class"),
        ("depth_estimation: []", "depth_estimation: [near, far]", r"depth_estimation has no classes: expected \[\]"),
        ("    drivable_area: [direct, background]\n", "", "data.classes.drivable_area: is needed"),
    ],
)
def test_classes_are_asked_for_where_a_task_has_them(tmp_path: Path, manager, old, new, told):
    recipe = tmp_path / "five.yaml"
    recipe.write_text(RECIPE.format(shards="nowhere").replace(old, new))
    with pytest.raises(RecipeError, match=told):
        load_recipe(str(recipe), (), manager)


def test_depth_needs_no_list_of_classes(tmp_path: Path, manager):
    recipe = tmp_path / "five.yaml"
    recipe.write_text(RECIPE.format(shards="nowhere").replace("    depth_estimation: []\n", ""))
    assert load_recipe(str(recipe), (), manager).classes["depth_estimation"] == ()
