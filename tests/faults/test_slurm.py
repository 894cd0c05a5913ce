"""Under a real Slurm of one host: the batch script of docs/launching.md leaves at the signal, is queued again and goes on; a
study's trials are jobs."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import time

import pytest
from conftest import ROOT, SMALL
from faults.crash import keys, losses
from faults.slurm import Slurm, missing

from drivetrain import open_run
from drivetrain.run import read_records

LAST = 12
PLUGIN = ROOT / "tests" / "plugins" / "diverging.py"


@pytest.fixture(scope="module")
def slurm(tmp_path_factory):
    if absent := missing():
        pytest.skip(f"a Slurm of our own needs {', '.join(absent)}")
    try:
        with Slurm(tmp_path_factory.mktemp("slurm")) as up:
            yield up
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine runs no Slurm: {error.cmd}: {error.stderr!r}")


def documented_script(run) -> str:
    """The batch script of the docs, for this machine: two tasks, this interpreter, a run of some steps."""
    text = (ROOT / "docs" / "launching.md").read_text()
    script = next(block for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) if block.startswith("#!/bin/bash"))
    words = {
        "drivetrain launch recipes/mine.yaml": f"{shlex.quote(sys.executable)} -m drivetrain launch {SMALL}",
        "/shared/runs/mine --restarts 3": f"{run} --restarts 3 train.steps={LAST}",
        "--nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8": "--nodes=1 --ntasks-per-node=2",
    }
    for theirs, ours in words.items():
        assert theirs in script
        script = script.replace(theirs, ours)
    return script


def await_step(run, step: int, log) -> None:
    end = time.monotonic() + 240
    while max((r["step"] for r in read_records(run / "metrics.jsonl")), default=0) < step:
        assert time.monotonic() < end, log.read_text() if log.exists() else "the job does not start"
        time.sleep(0.05)


def test_the_documented_batch_script_leaves_at_the_signal_is_queued_again_and_goes_on(shards, slurm, tmp_path):
    run, script, log = tmp_path / "run", tmp_path / "job.sh", tmp_path / "log"
    script.write_text(documented_script(run))
    job = slurm.run("sbatch", "--parsable", f"--output={log}", script).strip()
    await_step(run, 3, log)
    slurm.run("scancel", "--signal=USR1", "--batch", job)
    state = slurm.await_end(job)
    assert (state["JobState"], state["Restarts"], state["ExitCode"]) == ("COMPLETED", "1", "0:0"), log.read_text()
    done = open_run(run)
    assert list(losses(done)) == list(range(1, LAST + 1))
    assert sorted(keys(done)) == [(step, slot) for step in range(1, LAST + 1) for slot in range(4)]
    assert done.records(superseded=True) == done.records(), "it saved before it left: nothing was done twice"
    assert [r["world"] for r in read_records(run / "provenance.jsonl")] == [2, 2]


def test_plain_srun_starts_ranks_that_meet_where_they_are_told(shards, slurm, tmp_path):
    run = tmp_path / "run"
    command = ["srun", "--ntasks=2", "--kill-on-bad-exit=1", sys.executable, "-m", "drivetrain", "train", SMALL, "--run", run,
               "train.steps=2"]  # fmt: skip
    alone = subprocess.run(list(map(str, command)), env=slurm.environment, capture_output=True, text=True, timeout=300)
    assert alone.returncode and "export MASTER_ADDR" in alone.stderr  # the code is of whichever task srun ends first
    where = {**slurm.environment, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(20_000 + os.getpid() % 10_000)}
    told = subprocess.run(list(map(str, command)), env=where, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr
    assert sorted(keys(open_run(run))) == [(step, slot) for step in (1, 2) for slot in range(4)]


def test_trials_of_a_study_are_jobs(shards, slurm, tmp_path):
    recipe, study = tmp_path / "mine.yaml", tmp_path / "100%j \"größer\" als '50'"
    recipe.write_text(f"""
extends: [{SMALL}]
model: {{plugin: diverging, task: semantic_segmentation, steps: []}}
parallelism: {{plugin: single}}
train: {{steps: 2}}
search:
  space: {{optimizer.lr: [1e-4, 1e-3]}}
  trials: 2
  executor: {{plugin: slurm, poll_s: 0.5, trials: 2}}
""")
    command = [sys.executable, "-m", "drivetrain", "search", recipe, "--study", study, "--plugin", PLUGIN]
    done = subprocess.run(list(map(str, command)), env=slurm.environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr + "".join(p.read_text() for p in study.glob("trials/*/log"))
    assert done.stderr.count(" complete at step 2") == 2, done.stderr
    names = slurm.run("squeue", "--states=all", "--noheader", "--format=%j").split()
    assert sorted(name.split(".")[1] for name in names if name.startswith("100_j__gr")) == ["00000", "00001"]
    assert not list(study.parent.glob("100[!%]*")), "whoever reads % as a part of a pattern writes the log elsewhere"
