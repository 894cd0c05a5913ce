"""However training on several ranks ends, under the real launchers: all ranks together, in bounded time, told once, with the
right exit code, the newest checkpoint whole. test_watch.py has more of it with bare ranks; `make faults` does all of these."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import SMALL
from faults.crash import finish, launch, losses, rank_pid

from drivetrain import open_run
from drivetrain.checkpoint import newest_checkpoint
from drivetrain.run import read_records

FAULTY = str(Path(__file__).with_name("faulty.py"))
LONG = ["train.steps=1000", "checkpoint.every=2", "checkpoint.asynchronous=false", "evaluation.at_end=false"]
"""Saves are not under way while the fault happens: which one is the newest is known."""
PATIENCE = 200  # seconds for a start on a machine that does other things
seldom = pytest.mark.skipif("DRIVETRAIN_FAULTS" not in os.environ, reason="takes a while: make faults")


def faulty(fault: str, rank: int = 1, step: int = 3) -> list[str]:
    return ["--plugin", FAULTY, f"parallelism={{plugin: faulty, fault: {fault}, rank: {rank}, step: {step}}}"]


def await_step(run: Path, step: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + PATIENCE
    while max((r["step"] for r in read_records(run / "metrics.jsonl")), default=0) < step:
        assert process.poll() is None and time.monotonic() < end
        time.sleep(0.02)


def step_of_newest(run: Path) -> int:
    told: list[str] = []
    found = newest_checkpoint(run / "checkpoints", told.append)
    assert found is not None and not told
    return found.step


@pytest.mark.parametrize(("fault", "code", "message"), [
    ("mistake", 2, r"error: rank 1 on \S+: too many samples are damaged\n  look at the disk\n"),
    pytest.param("crash", 1, r"error: rank 1 on \S+: Traceback", marks=seldom),
    pytest.param("kill", None, r"error: rank 1 on \S+ is gone: it was killed or it crashed \(last", marks=seldom),
])  # fmt: skip
def test_what_ends_one_rank_ends_all_and_is_told_once(shards, tmp_path, fault, code, message):
    process = launch(SMALL, tmp_path / "run", [*LONG, *faulty(fault)])
    await_step(tmp_path / "run", 2, process)
    began = time.monotonic()
    ended = finish(process, PATIENCE)
    took = time.monotonic() - began
    log = (tmp_path / "run.log").read_text()
    assert ended == code or (code is None and ended != 0), log
    assert len(re.findall("error: ", log)) == 1 and re.search(message, log), log
    assert log.count("Traceback") == (fault == "crash") and took < 30
    assert step_of_newest(tmp_path / "run") == 2


@seldom
@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_a_rank_that_hangs_is_named_with_its_place(shards, tmp_path, fault):
    process = launch(SMALL, tmp_path / "run", [*LONG, "train.timeout_s=8", *faulty(fault, step=5)])
    await_step(tmp_path / "run", 4, process)
    assert finish(process, PATIENCE) not in (0, 2, 75)
    log = (tmp_path / "run.log").read_text()
    if fault == "hang":
        assert "no rank has moved" in log and "rank 1 on" in log and "<- behind" in log
        assert "time.sleep(600)" in log  # where it is
    else:
        assert "no rank has moved" in log or ("rank 1 on" in log and "has given no sign for 15 s" in log)
    assert step_of_newest(tmp_path / "run") == 4


@pytest.mark.parametrize("to", [pytest.param("rank 1", marks=seldom), pytest.param("launcher", marks=seldom), "all"])
def test_a_signal_makes_all_ranks_save_after_the_same_step_and_leave(shards, tmp_path, to):
    run = tmp_path / "run"
    process = launch(SMALL, run, ["train.steps=1000", "checkpoint.every=null", "evaluation.at_end=false"])
    await_step(run, 3, process)
    if to == "rank 1":
        os.kill(rank_pid(process, 1) or 0, signal.SIGUSR1)
        assert process.wait(PATIENCE) == 75
    elif to == "launcher":  # it dies of it at once and tells nobody
        os.kill(process.pid, signal.SIGTERM)
    else:  # as a scheduler does
        os.killpg(process.pid, signal.SIGTERM)
    end = time.monotonic() + PATIENCE
    while rank_pid(process, 0) or rank_pid(process, 1):
        assert time.monotonic() < end
        time.sleep(0.05)
    finish(process, 40)
    log = (tmp_path / "run.log").read_text()
    assert "Traceback" not in log and "error:" not in log and "stopped after step" in log, log
    assert step_of_newest(run) == max(losses(open_run(run))) >= 3


@pytest.mark.parametrize("with_", ["torchrun", pytest.param("deepspeed", marks=seldom)])
def test_a_stop_file_ends_a_launched_run_as_it_says_and_the_run_goes_on_later(shards, tmp_path, with_):
    run = tmp_path / "run"
    command = [sys.executable, "-m", "drivetrain", "launch", SMALL, "--ranks", "2", "--with", with_, "--run", str(run),
               "--restarts", "3", "train.steps=200", "checkpoint.every=null", "evaluation.at_end=false"]  # fmt: skip
    process = subprocess.Popen(command, stderr=(tmp_path / "log").open("w"))
    await_step(run, 2, process)
    (run / "stop").write_text("75 maintenance\n")
    assert process.wait(PATIENCE) == 75
    last = step_of_newest(run)
    assert f"stopped after step {last} (maintenance)" in (tmp_path / "log").read_text()
    assert not (run / "stop").exists()
    assert subprocess.run([*command, f"train.stop_at={last + 1}"], timeout=PATIENCE).returncode == 0
    assert list(losses(open_run(run))) == list(range(1, last + 2))
