"""kill -9 of ranks under the launcher at random moments, of starts, steps and saves: after the last resume the run cannot be
told from one that nothing happened to, and no checkpoint failed to load in between. `make kills` does it 100 times."""

from __future__ import annotations

import os
import random
import signal
import time
from pathlib import Path

import pytest
from conftest import SMALL
from faults.crash import SETTINGS, finish, keys, launch, losses, rank_pid

from drivetrain import open_run
from drivetrain.checkpoint import Checkpoint, all_checkpoints
from drivetrain.run import read_records

KILLS = int(os.environ.get("DRIVETRAIN_KILLS", "0"))
EVERY, PATIENCE = 3, 300
STEPS = 4 * KILLS + EVERY
OVERRIDES = [*SETTINGS, f"train.steps={STEPS}", f"checkpoint.every={EVERY}", "parallelism.zero_stage=2"]


def steps_done(run: Path) -> int:
    return max((record["step"] for record in read_records(run / "metrics.jsonl")), default=0)


def await_moment(run: Path, launcher, moment: str, begun_at: int) -> None:
    """Return at the moment, or when the launcher has ended before it."""
    end = time.monotonic() + PATIENCE
    wanted = min(STEPS, begun_at + random.randrange(1, 8))
    if moment == "start":
        return time.sleep(random.uniform(0, 8))
    while launcher.poll() is None:
        assert time.monotonic() < end, f"the run does not come to where it is to be killed: see {run}.log"
        if moment == "save" and any(run.glob("checkpoints/.step-*")):
            return time.sleep(random.choice([0, random.uniform(0, 0.05)]))
        if moment == "step" and steps_done(run) >= wanted:
            return time.sleep(random.uniform(0, 0.3))
        time.sleep(0.002)


def kill_some_time(run: Path, attempt: int) -> tuple[str, bool]:
    """Start the run, or resume it, and kill a rank. Returns the moment, and whether a save was cut short."""
    moment = ("step", "save", "step", "save", "start")[attempt % 5]
    launcher = launch(SMALL, run, OVERRIDES)
    try:
        await_moment(run, launcher, moment, steps_done(run) if run.exists() else 0)
        if (pid := rank_pid(launcher, random.randrange(2))) is not None:
            os.kill(pid, signal.SIGKILL)
        else:  # there are no ranks yet
            os.killpg(launcher.pid, signal.SIGKILL)
        launcher.wait(PATIENCE)
    finally:
        finish(launcher, 5)
    return moment, any(run.glob("checkpoints/.step-*"))


def newest_whole(run: Path) -> int:
    """Step of the newest checkpoint; all that are there are read, every byte."""
    return max((Checkpoint(path).step for path in all_checkpoints(run / "checkpoints")), default=0)


@pytest.mark.skipif(not KILLS, reason="some minutes: `make kills`")
def test_a_run_that_was_killed_many_times_cannot_be_told_from_a_whole_one(shards, tmp_path):
    random.seed(KILLS)
    assert finish(launch(SMALL, tmp_path / "whole", OVERRIDES), 3600) == 0
    run, newest, cut_short = tmp_path / "killed", 0, 0
    for attempt in range(KILLS):
        moment, cut = kill_some_time(run, attempt)
        cut_short += cut
        found = newest_whole(run)
        assert found >= newest, "a checkpoint was lost"
        newest = found
        print(
            f"kill {attempt + 1} ({moment}): {steps_done(run) if run.exists() else 0} steps, checkpoint at {newest}", flush=True
        )
    assert finish(launch(SMALL, run, OVERRIDES), 3600) == 0
    whole, killed = open_run(tmp_path / "whole"), open_run(run)
    assert keys(killed) == keys(whole)
    assert losses(killed) == losses(whole)
    samples = sum(len(of_slot) for of_slot in keys(whole).values())
    print(f"{KILLS} kills, {cut_short} in the middle of a save; {STEPS} steps, {samples} samples: keys and losses are equal")
