"""A detector's run predicts a shard set into pseudo-labels that a second run trains on, and goes to other runtimes."""

from __future__ import annotations

import json
import resource
import shutil

import numpy as np
import pytest
import torch
from conftest import drivetrain

from drivetrain import Overlay, UserError, open_run, open_shards
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


@pytest.fixture(scope="module")
def file(run):
    """An ONNX file of the run, with a calibration set."""
    pytest.importorskip("onnxruntime"), pytest.importorskip("onnxscript")
    path = run.parent / "model.onnx"
    here("export", run, "--format", "onnx", "--out", path, "--frames", 2, "--calibration", 3)
    return path


def test_an_onnx_file_is_the_model(run, file):
    import onnxruntime

    about = json.loads((file.parent / "model.onnx.json").read_text())
    assert about["run"] == open_run(run).info()["id"] and about["check"]["frames"] == 2
    assert about["classes"]["object_detection"][1] == "car" and about["input"]["shape"] == [1, 3, 64, 96]
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert [one.name for one in session.get_outputs()] == ["boxes", "scores"]
    pictures = np.load(file.parent / "model.onnx.calibration.npy")
    assert pictures.shape == (3, 3, 64, 96) and pictures.dtype == np.float32
    assert len({picture.tobytes() for picture in pictures}) == 3 and -2.2 < pictures.min() < pictures.max() < 2.7
    for picture in pictures:
        found = session.run(None, {"images": picture[None]})
        assert [list(one.shape) for one in found] == [one["shape"] for one in about["outputs"]]
        assert all(np.isfinite(one).all() for one in found)


def test_a_torch_program_is_the_model(run, tmp_path, capsys):
    here("export", run, "--format", "torch-export", "--out", tmp_path / "model", "--size", "32x64", "--frames", 2)
    told = capsys.readouterr().out
    assert "boxes [1, " in told and "differs by" in told and "trtexec" not in told
    about = json.loads((tmp_path / "model.json").read_text())
    with open(tmp_path / "model", "rb") as opened:
        found = torch.export.load(opened).module()(torch.rand(1, 3, 32, 64))
    assert [list(one.shape) for one in found] == [one["shape"] for one in about["outputs"]]
    assert all(one.isfinite().all() for one in found)


def test_an_onnx_file_predicts_in_its_models_place(run, file, capsys):
    here("eval", run, "--onnx", file, "--json", "--draws", 2, "--panels", 0)
    results = json.loads(capsys.readouterr().out)
    assert results["coco_map"]["frames"] == results["against"]["coco_map"]["frames"] == 7
    assert abs(results["difference"]["coco_map"]["coco_map"]["value"]) < 1e-3
    theirs, ours = (Overlay(run / "predictions" / f"step-00000001-val-onnx{end}") for end in ("", "-against"))
    for key in (keys := ours.keys()):
        one, other = (overlay.labels(key)["cam_front"].boxes for overlay in (theirs, ours))
        assert len(one) == len(other) > 5 and np.allclose(np.sort(one.scores), np.sort(other.scores), atol=1e-4)
        assert np.allclose(np.sort(one.xyxy, 0), np.sort(other.xyxy, 0), atol=0.5)
    assert len(keys) == 7


def test_files_of_something_else_are_refused(run, file, tmp_path, monkeypatch):
    def refused(path, told: str) -> None:
        with pytest.raises(UserError, match=told):
            here("eval", run, "--onnx", path)

    copy, beside = tmp_path / "copy.onnx", tmp_path / "copy.onnx.json"
    refused(copy, "there is no file")
    shutil.copy(file, copy)
    refused(copy, "there is no copy.onnx.json beside it")
    about = json.loads((file.parent / "model.onnx.json").read_text())
    small = {"shape": [1, 3, 32, 64]}
    for change, told in (
        ({"step": 7}, "step 7, here 1\n.*--checkpoint 7"), ({"run": "feed"}, "run feed, here"),
        ({"weights": "ema"}, "weights ema, here raw"), ({"model": "other"}, "model other, here road_detector"),
        ({"classes": {"object_detection": ["bus"]}}, "classes object_detection: bus, here .*car"),
        ({"outputs": about["outputs"][:1]}, "is not what copy.onnx.json tells"),
        ({"input": about["input"] | small}, "takes pictures of 32x64, .* has 64x96\n.*--size 64x96"),
    ):  # fmt: skip
        beside.write_text(json.dumps(about | change))
        refused(copy, told)
    beside.write_text(json.dumps(about))
    copy.write_bytes(b"no graph")
    refused(copy, "cannot be opened as onnx")
    monkeypatch.setattr("drivetrain.exported.find_spec", lambda name: None)
    refused(file, r"ONNX needs onnxruntime\n.*pip install 'drivetrain\[onnx\]'")


def test_the_network_is_timed_as_trained_and_as_exported(run, file, capsys):
    here("latency", run, file, "--runs", 3, "--json")
    found = json.loads(capsys.readouterr().out)
    assert [row["what"] for row in found["rows"]] == ["eager", "onnx"]  # tests have one thread
    assert all(0 < row["median_ms"] <= row["p95_ms"] for row in found["rows"]) and found["input"] == [1, 3, 64, 96]
    assert found["megabytes"] == file.stat().st_size / 1e6 and found["parameters"] > 1e5
    here("latency", run, file, "--runs", 2)
    assert "one picture of 64x96" in capsys.readouterr().out


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


def test_a_disk_that_takes_no_more_is_named(run, tmp_path):
    """By a limit on the size of files, which the system answers as it answers a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(UserError, match="m cannot be written: File too large"):
            here("export", run, "--format", "torch-export", "--out", tmp_path / "m", "--size", "32x64", "--frames", 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())
