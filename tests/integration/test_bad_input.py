"""A user's mistake is answered with the place, what was expected and what to do: exit code 2, no traceback."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from conftest import SMALL, drivetrain
from faults.crash import finish, launch

RECIPE = Path(SMALL).read_text()


def refused(done, *patterns: str, code: int = 2) -> str:
    assert done.returncode == code, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    for pattern in patterns:
        assert re.search(pattern, done.stderr), (pattern, done.stderr)
    return done.stderr


@pytest.fixture
def recipe(tmp_path):
    def write(old: str, new: str) -> Path:
        assert old in RECIPE
        path = tmp_path / "mine.yaml"
        path.write_text(RECIPE.replace(old, new))
        return path

    return write


@pytest.mark.parametrize(
    ("old", "new", "patterns"),
    [
        (
            "lraspp_mobilenet_v3_large",
            "lrasp_mobilenet_v3_large",
            [r"mine\.yaml:\d+: model\.plugin: no model", r"did you mean 'lraspp_mob"],
        ),
        ("steps: 10", "stepss: 10", [r"mine\.yaml:\d+: train\.stepss", "did you mean 'steps'"]),
        ("steps: 10", "steps: many", [r"mine\.yaml:\d+: train\.steps", "integer|whole number|number"]),
        ("micro: 2", "micro: 3", [r"mine\.yaml:\d+: batch\.global", "not a multiple"]),
        ("task: semantic_segmentation", "task: object_detection", [r"mine\.yaml:\d+: model\.task", "object_detection"]),
        ("road, lane_marking", "road, road", [r"data\.classes", "named twice: road"]),
        ("miou: {}", "coco_map: {}", [r"mine\.yaml:\d+: metrics\.coco_map", "object_detection"]),
        ("size: [96, 144]", "size: [96]", [r"mine\.yaml:\d+: transforms\.resize\.size"]),
        ("flip: {p: 0.5}", "flop: {p: 0.5}", [r"mine\.yaml:\d+: transforms\.flop", "did you mean 'flip'"]),
    ],
)  # fmt: skip
def test_a_wrong_recipe(shards, tmp_path, recipe, old, new, patterns):
    refused(drivetrain("train", recipe(old, new), "--run", tmp_path / "run"), *patterns)
    assert not (tmp_path / "run").exists()


def test_no_recipe_no_shards_no_run(shards, tmp_path):
    refused(drivetrain("train", "recipes/dmo.yaml"), "no recipe 'recipes/dmo.yaml'")
    gone = drivetrain("train", SMALL, "--run", tmp_path / "run", "data.train.small.shards=./nowhere/train")
    refused(gone, r"nowhere/train", "dataset.json", "drivetrain data")
    refused(drivetrain("eval", tmp_path / "none"), "is no run")


def test_a_class_that_nothing_maps(shards, tmp_path, recipe):
    path = recipe("truck, pedestrian", "lorry, pedestrian")
    refused(drivetrain("train", path, "--run", tmp_path / "run"), r"'truck' is not mapped", r"data\.taxonomy\.small\.truck")


def test_a_taxonomy_mends_it(shards, tmp_path, recipe):
    path = recipe("truck, pedestrian", "lorry, pedestrian")
    done = drivetrain("train", path, "--run", tmp_path / "run", "data.taxonomy={small: {truck: lorry}}", "train.steps=1",
                      "parallelism={plugin: single}")  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_ranks_that_do_not_divide_the_slots(shards, tmp_path):
    run = tmp_path / "run"
    assert finish(launch(SMALL, run, [], ranks=3)) == 2
    log = (tmp_path / "run.log").read_text()
    assert "3 ranks do not divide the 4 micro-batches" in log and "[1, 2, 4]" in log and "Traceback" not in log
    assert log.count("do not divide") == 1  # told once, not by every rank


def test_a_shard_that_fails_its_checksum(shards, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(shards / "train", damaged)
    tar = damaged / "shard-000001.tar"
    data = bytearray(tar.read_bytes())
    data[3000] ^= 0xFF
    tar.write_bytes(data)
    refused(drivetrain("data", "verify", damaged, "--full"), r"shard-000001", "checksum")


@pytest.mark.parametrize(("mask", "pattern"), [
    (np.zeros((50, 96), np.uint8), r"mask.*(96x50|50x96|\(96, 50\)|\(50, 96\))"),
    (np.full((64, 96), 200, np.uint8), r"200"),
])  # fmt: skip
def test_a_mask_that_cannot_be(tmp_path, mask, pattern):
    cv2.imwrite(str(tmp_path / "a.jpg"), np.zeros((64, 96, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "a.png"), mask)
    lines = [
        {"classes": {"semantic_segmentation": [{"name": "road", "id": 0}]}},
        {"key": "a", "image": "a.jpg", "semantic": "a.png"},
    ]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = drivetrain("data", "shard", "manifest", tmp_path, tmp_path / "out", "--split", "train")
    refused(done, pattern, r"a\.png|train\.jsonl:2|'a'")
    assert not (tmp_path / "out" / "dataset.json").exists()


def test_a_wrong_dataset_folder_and_option(tmp_path):
    refused(drivetrain("data", "shard", "camvid", tmp_path, tmp_path / "out", "--split", "train"), r"train\.txt")
    refused(drivetrain("data", "shard", "camvdi", tmp_path, tmp_path / "out", "--split", "train"), "did you mean 'camvid'")
    done = drivetrain("data", "shard", "synthetic", "-", tmp_path / "out", "--split", "train", "--option", "frmes=3")
    refused(done, "frmes", "frames")


def test_a_plugin_file_that_is_not_there(tmp_path):
    refused(drivetrain("plugins", "list", "--plugin", tmp_path / "none.py"), "no such file")
    refused(drivetrain("plugins", "list", "modle"), "did you mean 'model'")


def test_a_gate_that_is_not_reached_has_an_exit_code_of_its_own(shards, tmp_path):
    done = drivetrain(
        "train", SMALL, "--run", tmp_path / "run", "train.steps=1", "evaluation.at_end=true", "gates={miou: {min: 0.99}}"
    )
    assert done.returncode == 3 and "below min 0.99" in done.stderr and "Traceback" not in done.stderr
    again = drivetrain(
        "train", SMALL, "--run", tmp_path / "run", "train.steps=1", "evaluation.at_end=true", "gates={miou: {min: 0.0}}"
    )
    assert again.returncode == 0, again.stderr  # nothing is left to do, and the figure on record passes


def test_weights_that_are_no_weights(shards, tmp_path):
    (tmp_path / "a.pth").write_bytes(b"not a checkpoint")
    refused(drivetrain("weights", "import", tmp_path / "a.pth"), r"a\.pth")
    init = drivetrain("train", SMALL, "--run", tmp_path / "run", "model.init_from={path: nothing_of_that_name}",
                      "train.steps=1", "parallelism={plugin: single}", DRIVETRAIN_WEIGHTS=str(tmp_path))  # fmt: skip
    refused(init, "nothing_of_that_name", "drivetrain weights import")


@pytest.mark.parametrize(("name", "pattern"), [
    ("LRASPP_MobileNet_V3_Large_Weights.COCO_WITH_VOC_LABELS_V1", r"lraspp_mobilenet_v3.*\.pth is not in .*cannot be fetched"),
    ("LRASPP_MobileNet_V3_Large_Weights.COCO", "torchvision has no weights"),
])  # fmt: skip
def test_torchvisions_weights_without_a_network(shards, tmp_path, name, pattern):
    done = drivetrain("train", SMALL, "--run", tmp_path / "run", f"model.init_from={{path: {name}}}", "train.steps=1",
                      "parallelism={plugin: single}", TORCH_HOME=str(tmp_path), https_proxy="http://127.0.0.1:9")  # fmt: skip
    refused(done, pattern)
