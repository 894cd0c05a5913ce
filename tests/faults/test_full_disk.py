"""A disk that is full ends a run with a message, and what was saved before stands."""

from __future__ import annotations

import subprocess

import pytest
from conftest import SMALL, drivetrain

from drivetrain.checkpoint import newest_checkpoint


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
    assert done.returncode == 2, done.stderr
    assert "could not be written" in done.stderr and "No space left" in done.stderr and "Traceback" not in done.stderr
    told: list[str] = []
    found = newest_checkpoint(run / "checkpoints", told.append)
    assert found is not None and found.step == 1
