"""A rank is killed with -9 in the middle; the run that resumes cannot be told from one that nothing happened to."""

from __future__ import annotations

import pytest
from conftest import SMALL
from faults.crash import CHECKPOINT_EVERY, KILL_AFTER, SETTINGS, STEPS, finish, keys, launch, losses, run_and_kill

from drivetrain import open_run


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_after_kill_9_the_following_losses_are_bitwise_those_of_the_whole_run(shards, tmp_path, stage):
    overrides = [*SETTINGS, f"parallelism.zero_stage={stage}"]
    assert finish(launch(SMALL, tmp_path / "whole", overrides)) == 0
    assert run_and_kill(SMALL, tmp_path / "killed", overrides, rank=1, after_step=KILL_AFTER) != 0
    before = losses(open_run(tmp_path / "killed"))
    assert KILL_AFTER <= max(before) < STEPS
    assert finish(launch(SMALL, tmp_path / "killed", overrides)) == 0
    whole, killed = open_run(tmp_path / "whole"), open_run(tmp_path / "killed")
    assert losses(killed) == losses(whole)
    assert keys(killed) == keys(whole)
    superseded = [r["step"] for r in killed.records(superseded=True) if r.get("superseded")]
    assert superseded and min(superseded) == KILL_AFTER // CHECKPOINT_EVERY * CHECKPOINT_EVERY + 1
