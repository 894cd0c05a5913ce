"""However a job of several ranks ends, all ranks end together, in bounded time, with one message and the right exit code."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import SMALL
from faults.crash import finish, launch, losses, rank_pid

from drivetrain import open_run
from drivetrain.checkpoint import newest_checkpoint
from drivetrain.run import read_records

FAULTY = str(Path(__file__).with_name("faulty.py"))
LONG = ["train.steps=1000", "checkpoint.every=2", "evaluation.at_end=false"]


def faulty(fault: str, rank: int = 1, step: int = 3) -> list[str]:
    return ["--plugin", FAULTY, f"parallelism={{plugin: faulty, fault: {fault}, rank: {rank}, step: {step}}}"]


def await_step(run: Path, step: int, process: subprocess.Popen) -> None:
    end = time.monotonic() + 120
    while max((r["step"] for r in read_records(run / "metrics.jsonl")), default=0) < step:
        assert process.poll() is None and time.monotonic() < end, (run.parent / f"{run.name}.log").read_text()[-4000:]
        time.sleep(0.02)


def step_of_newest(run: Path) -> int:
    told: list[str] = []
    found = newest_checkpoint(run / "checkpoints", told.append)
    assert found is not None and not told
    return found.step


@pytest.mark.parametrize(("fault", "code", "message"), [
    ("mistake", 2, r"error: rank 1 on \S+: too many samples are damaged\n  look at the disk\n"),
    ("crash", 1, r"error: rank 1 on \S+: Traceback"),
    ("kill", None, r"error: rank 1 on \S+ is gone: it was killed or it crashed \(last heard of: step [23], .*\)\n"),
])  # fmt: skip
def test_what_ends_one_rank_ends_all_and_is_told_once(shards, tmp_path, fault, code, message):
    process = launch(SMALL, tmp_path / "run", [*LONG, *faulty(fault)])
    await_step(tmp_path / "run", 2, process)
    began = time.monotonic()
    ended = finish(process, 60)
    assert time.monotonic() - began < 15
    log = (tmp_path / "run.log").read_text()
    assert ended == code or (code is None and ended != 0), log
    assert len(re.findall("error: ", log)) == 1 and re.search(message, log), log
    assert log.count("Traceback") == (fault == "crash")
    assert step_of_newest(tmp_path / "run") == 2


def test_the_ranks_that_are_left_name_rank_0(shards, tmp_path):
    process = launch(SMALL, tmp_path / "run", [*LONG, *faulty("kill", rank=0)])
    assert finish(process, 120) != 0
    log = (tmp_path / "run.log").read_text()
    assert "error: rank 0 on " in log and "is gone" in log and "Traceback" not in log


@pytest.mark.parametrize("fault", ["hang", "stop"])
def test_a_rank_that_hangs_is_named_with_its_place(shards, tmp_path, fault):
    process = launch(SMALL, tmp_path / "run", [*LONG, "train.timeout_s=4", *faulty(fault, step=5)])
    await_step(tmp_path / "run", 4, process)
    began = time.monotonic()
    assert finish(process, 60) not in (0, 2, 75)
    assert time.monotonic() - began < 30
    log = (tmp_path / "run.log").read_text()
    if fault == "hang":
        assert "no rank has moved" in log and "rank 1 on" in log and "<- behind" in log
        assert "time.sleep(600)" in log  # where it is
    else:
        assert "rank 1 on" in log and "has given no sign for 15 s" in log
    assert step_of_newest(tmp_path / "run") == 4


@pytest.mark.parametrize("to", ["rank 1", "launcher", "all"])
def test_sigterm_makes_all_ranks_save_after_the_same_step_and_leave(shards, tmp_path, to):
    run = tmp_path / "run"
    process = launch(SMALL, run, ["train.steps=1000", "checkpoint.every=null", "evaluation.at_end=false"])
    await_step(run, 3, process)
    began = time.monotonic()
    if to == "rank 1":
        os.kill(rank_pid(process, 1) or 0, signal.SIGUSR1)
        assert process.wait(40) == 75
    elif to == "launcher":  # it dies of it at once and tells nobody
        os.kill(process.pid, signal.SIGTERM)
    else:  # as a scheduler does
        os.killpg(process.pid, signal.SIGTERM)
    while rank_pid(process, 0) or rank_pid(process, 1):
        assert time.monotonic() - began < 40
        time.sleep(0.05)
    finish(process, 40)
    log = (tmp_path / "run.log").read_text()
    assert "Traceback" not in log and "error:" not in log and "stopped after step" in log, log
    assert step_of_newest(run) == max(losses(open_run(run))) >= 3


def test_a_stop_file_ends_the_run_as_it_says_and_the_run_goes_on_later(shards, tmp_path):
    run, settings = tmp_path / "run", ["train.steps=200", "checkpoint.every=null", "evaluation.at_end=false"]
    process = launch(SMALL, run, settings)
    await_step(run, 2, process)
    (run / "stop").write_text("0 enough\n")
    assert finish(process, 40) == 0
    last = step_of_newest(run)
    assert f"stopped after step {last} (enough)" in (tmp_path / "run.log").read_text()
    assert not (run / "stop").exists()
    assert finish(launch(SMALL, run, [*settings, f"train.stop_at={last + 1}"])) == 0
    assert list(losses(open_run(run))) == list(range(1, last + 2))
