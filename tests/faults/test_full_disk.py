"""A disk that is full ends a run, or lets a study rest, with a message, and what was saved before stands."""

from __future__ import annotations

import json
import subprocess

import pytest
from conftest import SMALL, drivetrain

from drivetrain.checkpoint import newest_checkpoint
from drivetrain.errors import DISK_FULL
from drivetrain.watch import EXIT_FILE, note_exit, noted_exit


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 70 MB: one checkpoint and a half of the small model."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=70m", "none", folder], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"a small disk needs the right to mount one: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def test_a_full_disk_is_named_and_the_newest_checkpoint_is_whole(shards, small_disk):
    run = small_disk / "run"
    done = drivetrain("train", SMALL, "--run", run, "parallelism={plugin: single}", "train.steps=4", "checkpoint.every=1")
    assert done.returncode == 6, done.stderr
    assert "could not be written" in done.stderr and "No space left" in done.stderr and "Traceback" not in done.stderr
    told: list[str] = []
    found = newest_checkpoint(run / "checkpoints", told.append)
    assert found is not None and found.step == 1


def test_an_exit_code_finds_room_on_a_full_disk(small_disk, monkeypatch):
    with pytest.raises(OSError, match="No space left"):
        (small_disk / "others").write_bytes(bytes(80 << 20))
    monkeypatch.setenv(EXIT_FILE, str(small_disk / ".exit"))
    note_exit(DISK_FULL)
    assert noted_exit(small_disk / ".exit") == DISK_FULL and noted_exit(small_disk / "none") is None


def test_a_study_rests_where_the_disk_is_full_and_goes_on_once_there_is_room(shards, small_disk, tmp_path):
    study, recipe = small_disk / "study", tmp_path / "mine.yaml"
    recipe.write_text(f"""
extends: [{SMALL}]
parallelism: {{plugin: single}}
train: {{steps: 2}}
search: {{space: {{optimizer.lr: {{low: 1e-4, high: 1e-2, log: true}}}}, objective: {{miou: max}}, trials: 2, retries: 0}}
""")
    done = drivetrain("search", recipe, "--study", study, "--parallel", 1)
    assert done.returncode == 6, done.stderr
    assert "no space is left, make room and resume the study: the checkpoint of step 2 could not be written" in done.stderr
    states = [trial["state"] for trial in json.loads(drivetrain("search", "status", study, "--json").stdout)["trials"]]
    assert states == ["complete", "waiting"]
    subprocess.run(["mount", "-o", "remount,size=300m", small_disk], check=True)
    done = drivetrain("search", "resume", study)
    assert done.returncode == 0, done.stderr
    states = [trial["state"] for trial in json.loads(drivetrain("search", "status", study, "--json").stdout)["trials"]]
    assert states == ["complete", "complete"]
