"""A detector's run predicts a shard set into pseudo-labels that a second run trains on, and goes to other runtimes."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from conftest import drivetrain

from drivetrain import UserError, open_run, open_shards
from drivetrain.cli import run as command

RECIPE = """
seed: 7
data:
  train: {small: {shards: "${SMALL_SHARDS}/train"}}
  val: {small: {shards: "${SMALL_SHARDS}/val"}}
  classes: [traffic_sign, car, truck, pedestrian, cyclist]
transforms: {resize: {size: [64, 96]}}
model: {plugin: road_detector, task: object_detection, size: n}
batch: {global: 2, micro: 2}
parallelism: {plugin: single}
optimizer: {plugin: adamw, lr: 1e-3}
train: {steps: 1, log_every: 1}
evaluation: {at_end: false}
metrics: {coco_map: {}}
"""


def here(*arguments: object) -> None:
    """The command line in this process, which has imported torch already."""
    assert command([str(argument) for argument in arguments]) == 0


@pytest.fixture(scope="module")
def recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "detector.yaml"
    path.write_text(RECIPE)
    return path


@pytest.fixture(scope="module")
def run(shards, recipe, tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "run"
    done = drivetrain("train", recipe, "--run", path)
    assert done.returncode == 0, done.stderr
    return path


def test_pseudo_labels_of_a_shard_set_are_trained_on(shards, run, recipe, tmp_path):
    options = ("--overlay", tmp_path / "pseudo", "--min-score", "car=.011", "--ignore-score", "car=.01", "--panels", 2)
    here("predict", run, shards / "train", "--out", tmp_path / "out", *options)
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == 2
    images = json.loads((tmp_path / "out" / "images.json").read_text())["images"]
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert len(images) == 24 and {row["image_id"] for row in rows} <= {image["id"] for image in images}
    laid = open_shards(str(shards / "train"), [str(tmp_path / "pseudo")])
    cameras = [laid.frame(number).cameras["cam_front"] for number in range(24)]
    assert all(camera.labelled_classes["object_detection"] == ("car",) for camera in cameras)
    assert {name for camera in cameras for name in camera.boxes.names} <= {"car"}
    over = f"data.train.small.overlays=[{tmp_path / 'pseudo'}]"
    done = drivetrain("train", recipe, "--run", tmp_path / "student", "--dry-run", over)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("format", ["onnx", "torch-export"])
def test_an_export_is_the_model(run, format, tmp_path, capsys):
    if format == "onnx":
        pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    file = tmp_path / "model"
    here("export", run, "--format", format, "--out", file, "--size", "32x64", "--frames", 2)
    told = capsys.readouterr().out
    assert "boxes [1, " in told and "differs by" in told
    about = json.loads((tmp_path / "model.json").read_text())
    assert about["run"] == open_run(run).info()["id"] and about["check"]["frames"] == 2
    assert about["classes"]["object_detection"][1] == "car" and about["input"]["shape"] == [1, 3, 32, 64]
    picture = torch.rand(1, 3, 32, 64)
    if format == "onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        assert [one.name for one in session.get_outputs()] == ["boxes", "scores"]
        found = session.run(None, {"images": picture.numpy()})
    else:
        with open(file, "rb") as opened:
            found = torch.export.load(opened).module()(picture)
    assert [list(one.shape) for one in found] == [one["shape"] for one in about["outputs"]]
    assert np.isfinite(np.asarray(found[0].detach() if format != "onnx" else found[0])).all()


def test_what_cannot_be_done_is_told_with_a_remedy(run, shards, tmp_path):
    for arguments, said in (
        (("predict", run, tmp_path / "nowhere", "--out", tmp_path / "o"), "does not exist"),
        (("export", run, "--format", "onx", "--out", tmp_path / "m"), "did you mean 'onnx'"),
        (("predict", run, shards / "val", "--out", tmp_path / "o", "--overlay", tmp_path / "p"), "--min-score car=.6"),
    ):
        with pytest.raises(UserError, match=said):
            here(*arguments)
    assert not (tmp_path / "p").exists() and not (tmp_path / "o" / ".footage").exists()


def test_an_export_that_is_not_the_model_is_refused(run, tmp_path):
    with pytest.raises(UserError, match="the export is not the model"):
        here("export", run, "--format", "torch-export", "--out", tmp_path / "m", "--tolerance", "-1", "--frames", 1)
    assert not list(tmp_path.iterdir())
