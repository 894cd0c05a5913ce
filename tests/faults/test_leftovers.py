"""What a killed or refused process left behind is neither trusted nor in the way, and what a user has is not touched."""

from __future__ import annotations

import json
import shutil

from conftest import SMALL, drivetrain
from faults.crash import finish, launch, losses

from drivetrain import open_run
from drivetrain.checkpoint import Checkpoint, all_checkpoints


def test_files_of_a_save_that_was_killed_are_not_taken_for_the_next_ones(shards, tmp_path):
    settings = ["train.steps=4", "checkpoint.every=2", "evaluation.at_end=false"]
    run = tmp_path / "run"
    assert finish(launch(SMALL, run, settings)) == 0
    expected = losses(open_run(run))
    # As if rank 1 had written its part of step 4, from other weights, and the run had died before the manifest.
    newest, older = (run / "checkpoints" / f"step-{step:08d}" for step in (4, 2))
    for path in older.glob("rank-00001.*"):
        shutil.copy(path, newest / path.name)
    (newest / "rank-00000.done").unlink()
    (newest / "manifest.json").unlink()
    assert finish(launch(SMALL, run, settings)) == 0
    assert losses(open_run(run)) == expected
    stale, fresh = Checkpoint(older), Checkpoint(newest)
    assert fresh.step == 4
    weights = [fresh.tensor("weight", name).ne(stale.tensor("weight", name)).any() for name in fresh.names()]
    assert sum(weights) > 0.9 * len(weights)


def test_a_newest_checkpoint_that_is_damaged_is_named_and_passed_over(shards, tmp_path):
    settings = ["train.steps=4", "checkpoint.every=2", "parallelism={plugin: single}"]
    assert drivetrain("train", SMALL, "--run", tmp_path / "run", *settings).returncode == 0
    expected = losses(open_run(tmp_path / "run"))
    file = tmp_path / "run" / "checkpoints" / "step-00000004" / "rank-00000.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    done = drivetrain("train", SMALL, "--run", tmp_path / "run", *settings)
    assert done.returncode == 0, done.stderr
    assert "step-00000004/rank-00000.safetensors is damaged" in done.stderr and "after step 2" in done.stderr
    assert losses(open_run(tmp_path / "run")) == expected


FULL_DISK = """
import resource
from drivetrain import hookimpl

@hookimpl
def drivetrain_checkpoint_saved(run, path, step):
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))  # from now on no file of a size
"""


def test_a_disk_that_becomes_full_ends_the_run_with_the_cause_and_the_newest_checkpoint_named(shards, tmp_path):
    (tmp_path / "full_disk.py").write_text(FULL_DISK)
    run = tmp_path / "run"
    done = drivetrain("--plugin", tmp_path / "full_disk.py", "train", SMALL, "--run", run, "checkpoint.every=2",
                      "parallelism={plugin: single}")  # fmt: skip
    assert done.returncode == 6 and "Traceback" not in done.stderr, done.stderr
    assert "the checkpoint of step 4 could not be written" in done.stderr and "File too large" in done.stderr
    assert f"the newest whole one is {run / 'checkpoints' / 'step-00000002'}" in done.stderr
    assert [p.name for p in all_checkpoints(run / "checkpoints")] == ["step-00000002"]
    assert Checkpoint(run / "checkpoints" / "step-00000002").step == 2


def test_a_start_that_was_refused_does_not_bind_the_next_one(shards, tmp_path):
    run = tmp_path / "run"
    refused = drivetrain("train", SMALL, "--run", run, "data.train.small.shards=./nowhere", "train.steps=1")
    assert refused.returncode == 2
    mended = drivetrain("train", SMALL, "--run", run, "train.steps=1", "parallelism={plugin: single}")
    assert mended.returncode == 0, mended.stderr
    before = (run / "recipe.yaml").read_text(), (run / "recipe.resolved.json").read_text()
    other = drivetrain("train", SMALL, "--run", run, "data.val.small.shards=./nowhere", "train.steps=2")
    assert other.returncode == 2
    assert ((run / "recipe.yaml").read_text(), (run / "recipe.resolved.json").read_text()) == before


def test_a_place_that_is_no_run_is_a_message(shards, tmp_path):
    (tmp_path / "file").write_text("mine")
    done = drivetrain("train", SMALL, "--run", tmp_path / "file", "train.steps=1")
    assert done.returncode == 2 and "Traceback" not in done.stderr and "name another --run" in done.stderr
    assert (tmp_path / "file").read_text() == "mine"


def test_training_and_predicting_leave_what_is_there_alone(shards, tmp_path):
    run = tmp_path / "run"
    settings = ["checkpoint.every=1", "evaluation.every=1", "parallelism={plugin: single}"]
    assert drivetrain("train", SMALL, "--run", run, "train.steps=1", *settings).returncode == 0
    assert drivetrain("eval", run).returncode == 0
    assert drivetrain("train", SMALL, "--run", run, "train.steps=2", *settings).returncode == 0
    assert {p.name for p in (run / "predictions").iterdir()} == {"step-00000001-val", "step-00000002"}
    done = drivetrain("predict", run, shards / "val", "--out", run)
    assert done.returncode == 2 and "is no prediction set" in done.stderr
    assert len(list((run / "predictions").iterdir())) == 2
    assert json.loads((run / "predictions" / "step-00000001-val" / "overlay.json").read_text())["made_from"]["split"] == "val"
