"""The W&B tracker, read back from what W&B itself recorded, offline; and with a service that hangs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import time
import warnings

import cv2
import numpy as np
import pytest

from drivetrain import Boxes, CameraLabels, Panel, TrackerContext
from drivetrain.plugins.trackers.wandb.config import WandbConfig
from drivetrain.plugins.trackers.wandb.tracker import build

CLASSES = {"semantic_segmentation": ("road", "car"), "object_detection": ("car", "person")}
RECIPE = {"seed": 1, "model": {"plugin": "x"}}


@pytest.fixture(autouse=True)
def no_credentials(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_SERVICE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


def tracker(run_dir, config=None, **context):
    context = {"name": "try", "recipe": RECIPE, "job_type": "train", "classes": CLASSES, **context}
    return build(WandbConfig(**{"finish_timeout": 20, **(config or {})}), TrackerContext(run_dir, **context))


def recorded(run_dir, run_id):
    """Type -> the records of a run as `wandb leet inspect` reads them, and the folder of its files."""
    (log,) = run_dir.glob(f"wandb/offline-run-*-{run_id}/run-{run_id}.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    out = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    records = {}
    for record in map(json.loads, out.splitlines()):
        records.setdefault(record["type"], []).append(record[record["type"]])
    return records, log.parent / "files"


def panel(key="k1"):
    mask = np.zeros((90, 120), np.uint8)
    mask[:30], mask[60:] = 1, 255
    truth = Boxes([[1, 2, 30, 40], [50, 50, 60, 60]], ["car", "DontCare"], ignore=[False, True])
    found = Boxes([[2, 2, 30, 40]], ["person"], scores=[0.25])
    return Panel(key, np.full((90, 120, 3), 128, np.uint8), CameraLabels(truth, mask), CameraLabels(found, mask))


def test_what_is_logged_is_recorded_offline(tmp_path):
    run = tracker(tmp_path, {"project": "p", "tags": ["a"], "group": "g", "panels": 2}, about={"git": "abc"}, tags=("b",))
    for step in (300, 600):
        run.log(step, {"train/loss": 1 / step, "val/miou": step / 1000})
    run.panels(600, [panel("k1"), panel("k2"), panel("k3")])
    run.summary({"best/miou": 0.6})
    run.finish(None)
    records, files = recorded(tmp_path, run.run_id)

    start = records["run"][0]
    assert {k: start[k] for k in ("project", "run_group", "job_type", "display_name", "notes")} == {
        "project": "p", "run_group": "g", "job_type": "train", "display_name": "try", "notes": "git: abc",
    }  # fmt: skip
    assert sorted(start["tags"]) == ["a", "b"] and RECIPE.items() <= start["config"]["update"].items()
    assert {m["name"]: m["step_metric"] for m in records["metric"]} == {"train/loss": "step", "val/miou": "step"}
    rows = [h["item"] for h in records["history"]]
    assert [(r["step"], r["train/loss"], r["val/miou"]) for r in rows[:2]] == [(300, 1 / 300, 0.3), (600, 1 / 600, 0.6)]
    assert any(s["update"].get("best/miou") == 0.6 for s in records["summary"])
    assert [e["exit_code"] for e in records["exit"]] == [0]

    shown = {name.removeprefix("panels/validation."): value for name, value in rows[2].items()}
    assert rows[2]["step"] == 600 and shown["captions"] == ["k1", "k2"] and shown["width"] == 120
    labels = records["config"][-1]["update"]["_wandb"]
    for layer in ("truth", "prediction"):
        key = f"panels/validation_wandb_delimeter_{layer}"
        assert labels["mask/class_labels"][key]["value"] == {"0": "road", "1": "car", "255": "ignore"}
        assert labels["bounding_box/class_labels"][key]["value"] == {"0": "car", "1": "person", "255": "ignore"}
    mask = cv2.imread(str(files / shown["all_masks"][0]["truth"]["path"]), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(mask, panel().truth.semantic)
    boxes = [json.loads((files / shown["all_boxes"][0][n]["path"]).read_text())["box_data"] for n in ("truth", "prediction")]
    assert [(b["class_id"], b["box_caption"]) for b in boxes[0]] == [(0, "car"), (255, "DontCare (ignored)")]
    assert boxes[1] == [{"position": {"minX": 2, "minY": 2, "maxX": 30, "maxY": 40}, "domain": "pixel", "class_id": 1,
                         "box_caption": "person 0.25", "scores": {"score": 0.25}}]  # fmt: skip
    assert cv2.imread(str(files / shown["filenames"][0])).shape == (90, 120, 3)


def test_a_resumed_run_keeps_its_id_and_its_steps(tmp_path):
    first = tracker(tmp_path)
    first.log(10, {"loss": 1.0})
    first.finish(ValueError("diverged"))
    records, _ = recorded(tmp_path, first.run_id)
    assert [e["exit_code"] for e in records["exit"]] == [1]
    assert any("ValueError" in json.dumps(alert) for alert in records["alert"])
    later = tmp_path / "later"
    later.mkdir()
    second = tracker(later, resume_id=first.run_id)
    second.log(8, {"loss": 2.0})  # from an older checkpoint: W&B's own step would drop it
    second.finish(None)
    assert second.run_id == first.run_id
    rows = recorded(later, first.run_id)[0]["history"]
    assert [(row["item"]["step"], row["item"]["loss"]) for row in rows] == [(8, 2.0)]


def test_what_cannot_be_recorded_is_told_once_and_the_run_goes_on(tmp_path):
    run = tracker(tmp_path, classes={})  # no classes: a panel's masks have no names
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        run.panels(1, [panel()])
        run.panels(2, [panel()])
        run.log(3, {"loss": 0.5})
        run.finish(None)
    ours = [str(w.message) for w in told if "W&B did not record" in str(w.message)]
    assert len(ours) == 1 and "semantic_segmentation" in ours[0]
    assert recorded(tmp_path, run.run_id)[0]["history"][0]["item"]["loss"] == 0.5


def test_without_a_server_the_run_is_recorded_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: nobody listens
    with pytest.warns(UserWarning, match="W&B cannot be reached, the run is recorded offline"):
        run = tracker(tmp_path, {"init_timeout": 2}, resume_id="abc123")
    run.log(1, {"loss": 0.5})
    run.finish(None)
    assert run.run_id == "abc123" and recorded(tmp_path, "abc123")[0]["history"][0]["item"]["step"] == 1


def test_a_service_that_was_inherited_and_is_gone_is_not_asked(tmp_path):
    """It would end the run at its start; whoever starts a run may have tracked another one before."""
    script = """
        import sys
        from pathlib import Path
        from drivetrain import TrackerContext
        from drivetrain.plugins.trackers.wandb.config import WandbConfig
        from drivetrain.plugins.trackers.wandb.tracker import build
        build(WandbConfig(), TrackerContext(Path(sys.argv[1]), "n", {}, "train", {})).finish(None)
    """
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    gone = {**os.environ, "WANDB_SERVICE": f"3-1-unix-{tmp_path / 'socket'}"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=gone)
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("wandb/offline-run-*/run-*.wandb"))) == 1


def test_a_disabled_tracker_writes_nothing(tmp_path):
    run = tracker(tmp_path, {"mode": "disabled"})
    run.log(1, {"loss": 0.5})
    run.panels(1, [panel()])
    run.finish(None)
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_hangs_neither_blocks_log_nor_the_end_of_the_process(tmp_path):
    script = """
        import os, signal, sys, time
        from pathlib import Path
        import wandb
        from drivetrain import TrackerContext
        from drivetrain.plugins.trackers.wandb.config import WandbConfig
        from drivetrain.plugins.trackers.wandb.tracker import build
        run = build(WandbConfig(finish_timeout=2), TrackerContext(Path(sys.argv[1]), "n", {}, "train", {}))
        os.kill(wandb.setup()._connection._proc._process.pid, signal.SIGSTOP)
        start = time.monotonic()
        for step in range(20_000):
            run.log(step, {"loss": 0.5})
        logged = time.monotonic()
        run.finish(None)
        print(logged - start, time.monotonic() - logged)
    """
    start = time.monotonic()
    command = [sys.executable, "-c", textwrap.dedent(script), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    elapsed = time.monotonic() - start
    assert done.returncode == 0, done.stderr
    logging, finishing = map(float, done.stdout.split())
    assert logging < 5 and finishing < 3 and elapsed < 15
    assert "W&B did not finish in 2 s" in done.stderr and "wandb sync" in done.stderr
    assert "Traceback" not in done.stderr
