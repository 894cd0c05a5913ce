"""Commands that look: pictures of shards, batches and predictions, statistics, health, and a recipe written from data."""

from __future__ import annotations

import json
import tarfile

import cv2
import numpy as np
import pytest
from conftest import SMALL, drivetrain

from drivetrain import open_recipe, open_run, open_shards


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory):
    """A run of two steps on one rank."""
    path = tmp_path_factory.mktemp("runs") / "run"
    done = drivetrain("train", SMALL, "--run", path, "train.steps=2", "evaluation.at_end=true", "parallelism={plugin: single}")
    assert done.returncode == 0, done.stderr
    return path


def picture(path) -> np.ndarray:
    image = cv2.imread(str(path))
    assert image is not None and image.std() > 5  # something is drawn
    return image


def test_a_run_leaves_what_people_look_at(run):
    height, width, _ = picture(next((run / "pictures" / "step-00000002").glob("*.png"))).shape
    assert width > 2 * height  # picture, truth and prediction side by side
    picture(run / "curves.png")
    provenance = json.loads((run / "provenance.jsonl").read_text())
    assert provenance["versions"]["torch"] and provenance["data"]["train.small"]["content_id"]
    assert "HOME" not in (run / "provenance.jsonl").read_text()


def test_sheets_of_shards_and_of_a_step(shards, run, tmp_path):
    assert drivetrain("data", "view", shards / "train", "--out", tmp_path / "view.png").returncode == 0
    picture(tmp_path / "view.png")
    drawn = drivetrain("data", "batch", run, "--step", 2, "--out", tmp_path / "batch.png")
    listed = drivetrain("data", "samples", SMALL, "--step", 2)
    keys = [key for line in listed.stdout.splitlines() for key in line.split(": ")[1].split()]
    assert drawn.stdout.splitlines()[:-1] == keys and len(keys) == 8
    picture(tmp_path / "batch.png")
    read = [json.loads(line) for line in (run / "samples" / "rank-00000.jsonl").read_text().splitlines()]
    assert [key for record in read if record["step"] == 2 for key in record["keys"]] == keys


def test_statistics_count_what_is_there(shards):
    found = json.loads(drivetrain("data", "stats", shards / "train", "--json").stdout)
    frames = [open_shards(shards / "train").frame(i) for i in range(24)]
    assert found["frames"] == 24 and found["labelled_frames"] == {"object_detection": 24, "semantic_segmentation": 24}
    cars = sum(frame.cameras["cam_front"].boxes.names.count("car") for frame in frames)
    assert found["class_counts"]["object_detection"]["car"] == cars > 0
    assert sum(found["class_counts"]["semantic_segmentation"].values()) == 24 * 192 * 128
    boxes = [frame.cameras["cam_front"].boxes for frame in frames]
    heights = np.concatenate([one.xyxy[:, 3] - one.xyxy[:, 1] for one in boxes])
    edges = [*found["boxes"]["height_bins_px"], np.inf]
    total = np.sum(list(found["boxes"]["heights"].values()), 0)
    assert total.tolist() == np.histogram(heights, edges)[0].tolist()
    areas = np.concatenate([np.prod(one.xyxy[:, 2:] - one.xyxy[:, :2], axis=1) for one in boxes])
    small = sum(sizes["small"] for sizes in found["boxes"]["sizes"].values())
    assert small == (areas < 32**2).sum() > 0 and found["image_sizes"] == {"cam_front": {"192x128": 24}}
    assert sum(int(n) * count for n, count in found["boxes"]["a_frame"].items()) == len(heights)
    assert sum(found["frames_by_scene"].values()) == 24 and found["damaged_frames"] == 0
    assert "24 frames" in drivetrain("data", "stats", shards / "train").stdout
    assert drivetrain("data", "list", shards).stdout.count("synthetic") == 2


def test_predicting_a_folder_of_pictures_of_any_size(shards, run, tmp_path):
    pictures = tmp_path / "pictures" / "night"
    pictures.mkdir(parents=True)
    for name, size in (("a.jpg", (90, 160, 3)), ("b.b.png", (128, 192, 3))):
        cv2.imwrite(str(pictures / name), np.random.default_rng(0).integers(0, 255, size, np.uint8))
    done = drivetrain("predict", run, tmp_path / "pictures", "--out", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / "out" / "predictions" / "overlay.json").read_text())["made_from"]
    assert about["run"] == open_run(run).info()["id"]
    with tarfile.open(tmp_path / "out" / "predictions" / "part-00000.tar") as tar:
        masks = {n: tar.extractfile(n).read() for n in tar.getnames() if n.endswith("semantic.png")}
    shapes = {n.split(".")[0]: cv2.imdecode(np.frombuffer(m, np.uint8), cv2.IMREAD_UNCHANGED).shape for n, m in masks.items()}
    assert shapes == {"night%2Fa": (90, 160), "night%2Fb%2Eb": (128, 192)}
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) >= 1


def test_predicting_a_shard_set(shards, run, tmp_path):
    done = drivetrain("predict", run, shards / "val", "--out", tmp_path / "out", "--panels", 2)
    assert done.returncode == 0, done.stderr
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == 2


def test_a_recipe_written_from_data_trains(shards, tmp_path):
    for task, metric in (("semantic_segmentation", "miou"), ("object_detection", "coco_map")):
        path = tmp_path / f"{task}.yaml"
        assert drivetrain("recipe", "new", "--data", shards, "--task", task, "--out", path).returncode == 0
        assert metric in open_recipe(str(path)).metrics
        done = drivetrain("train", path, "--run", tmp_path / task, "--dry-run", "batch.global=4", "batch.micro=2")
        assert done.returncode == 0, done.stderr


def test_doctor(shards):
    done = drivetrain("doctor")
    assert done.returncode == 0 and "deepspeed" in done.stdout and "torch" in done.stdout


def test_real_street_pictures_make_the_whole_way(shared, tmp_path):
    source = shared / "data" / "camvid" / "CamVid"
    for split, frames in (("train", 260), ("val", 60)):
        done = drivetrain("data", "shard", "camvid", source, tmp_path / "camvid" / split, "--split", split)
        assert done.stdout.strip().endswith(f"{frames} frames"), done.stderr
    assert drivetrain("data", "verify", tmp_path / "camvid" / "val", "--full").returncode == 0
    done = drivetrain("train", "camvid-segmentation", "--run", tmp_path / "run", "--dry-run", DRIVETRAIN_DATA=str(tmp_path))
    assert done.returncode == 0, done.stderr
    [told] = [r for r in open_run(tmp_path / "run").records() if r["kind"] == "evaluation"]
    assert told["miou"]["at"] == "180x240"


def test_the_page_of_statistics_needs_nothing_else(shards, tmp_path):
    page = tmp_path / "stats.html"
    done = drivetrain("data", "stats", shards / "train", "--html", page, "--workers", "1")
    assert done.returncode == 0 and str(page) in done.stdout, done.stderr
    text = page.read_text()
    assert text.count("data:image/svg+xml") >= 8 and "http" not in text and "heights of boxes" in text
    found = json.loads(drivetrain("data", "stats", shards / "train", "--json", "--index-only").stdout)
    assert found["class_counts"] and "boxes" not in found
