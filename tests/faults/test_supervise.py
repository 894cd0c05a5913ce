"""A job comes back by itself after a crash, as long as it gets anywhere; what is done, wrong or told to leave stays ended."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drivetrain.supervise import clear_shared_memory

JOB = """
import json, os, sys, time
from pathlib import Path
run = Path(sys.argv[1])
code, step = json.loads((run / "todo.json").read_text())[len((run / "done").read_text()) if (run / "done").exists() else 0]
with (run / "done").open("a") as done:
    done.write("x")
with (run / "metrics.jsonl").open("a") as metrics:
    metrics.write(json.dumps({"kind": "training", "step": step}) + "\\n")
while code is None:
    if (run / "stop").exists():
        sys.exit(int((run / "stop").read_text().split()[0]))
    time.sleep(0.01)
sys.exit(code)
"""
SUPERVISOR = """
import sys
from pathlib import Path
from drivetrain import supervise
from drivetrain.launcher import Command
from drivetrain.run import RunFolder
supervise.LONGEST_WAIT_S = 0.05
run = Path(sys.argv[1])
make = lambda: Command([sys.executable, str(run / "job.py"), str(run)], {})
sys.exit(supervise.Supervisor(RunFolder(run), make, int(sys.argv[2]), 5, lambda text: print(text)).run())
"""


def supervised(run: Path, restarts: int, *attempts: tuple[int | None, int]) -> subprocess.Popen:
    """A supervisor of a job whose attempts end with a code after reaching a step."""
    (run / "job.py").write_text(JOB)
    (run / "run.json").write_text(json.dumps({"layout": 1}))
    (run / "todo.json").write_text(json.dumps(attempts))
    return subprocess.Popen([sys.executable, "-c", SUPERVISOR, str(run), str(restarts)], stdout=subprocess.PIPE, text=True)


def await_attempt(run: Path) -> None:
    end = time.monotonic() + 20
    while not (run / "metrics.jsonl").exists():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.mark.parametrize(("restarts", "attempts", "code", "done"), [
    (0, [(1, 5), (0, 9)], 1, 1),
    (1, [(1, 5), (0, 9)], 0, 2),
    (1, [(1, 5), (1, 5), (0, 9)], 1, 2),  # no step further
    (1, [(1, 5), (1, 6), (247, 7), (0, 9)], 0, 4),  # each a step further
    (5, [(2, 5), (0, 9)], 2, 1),
    (5, [(3, 5), (0, 9)], 3, 1),
    (5, [(75, 5), (0, 9)], 75, 1),
])  # fmt: skip
def test_only_a_crash_is_started_again_and_only_while_it_gets_further(tmp_path, restarts, attempts, code, done):
    process = supervised(tmp_path, restarts, *attempts)
    assert process.wait(30) == code, process.communicate()
    assert len((tmp_path / "done").read_text()) == done


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_passed_on_through_the_runs_folder(tmp_path, number):
    process = supervised(tmp_path, 3, (None, 5), (0, 9))
    await_attempt(tmp_path)
    process.send_signal(number)
    assert process.wait(20) == 75
    assert (tmp_path / "done").read_text() == "x" and not (tmp_path / "stop").exists()


LEFT_BEHIND = """
import fcntl, os, sys, time
lock = open(os.path.join(sys.argv[1], ".lock"), "w")
fcntl.flock(lock, fcntl.LOCK_EX)
if os.fork() == 0:
    time.sleep(20)
"""


def test_a_launcher_that_ends_well_before_its_ranks_has_crashed(tmp_path):
    """As `deepspeed` does where its second process is killed."""
    process = supervised(tmp_path, 0)
    (tmp_path / "job.py").write_text(LEFT_BEHIND)
    assert process.wait(30) == 1, process.communicate()


def test_an_exit_code_that_could_not_be_written_is_the_launchers(tmp_path):
    """The disk was full: there is a file with nothing in it."""
    process = supervised(tmp_path, 0)
    (tmp_path / "job.py").write_text("import os, sys; open(os.environ['DRIVETRAIN_EXIT_FILE'], 'w'); sys.exit(6)")
    assert process.wait(30) == 6, process.communicate()


def test_the_launcher_ends_with_its_supervisor(tmp_path):
    process = supervised(tmp_path, 3, (None, 5), (0, 9))
    await_attempt(tmp_path)
    [child] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    process.kill()
    end = time.monotonic() + 10
    while Path(f"/proc/{child}").exists():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("how", ["mmap.mmap(file.fileno(), 4096)", "'open alone'"])
def test_shared_memory_that_nobody_has_open_is_cleared(tmp_path, how):
    left, used, other = (tmp_path / name for name in ("deepspeed_allreduce_buffer_1", "deepspeed_allreduce_buffer_2", "mine"))
    for path in (left, used, other):
        path.write_bytes(bytes(4096))
    gone = tmp_path / "deepspeed_allreduce_buffer_3"  # by the time that it is looked at, as one of a job that ends just now
    gone.symlink_to("nothing")
    hold = f"import mmap, sys, time; file = open(sys.argv[1], 'r+b'); shared = {how};print('ready', flush=True); time.sleep(60)"
    holder = subprocess.Popen([sys.executable, "-c", hold, str(used)], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == "ready\n"
        clear_shared_memory(tmp_path)
        assert {path.name for path in tmp_path.iterdir()} == {used.name, other.name, gone.name}
    finally:
        holder.kill()
        holder.wait()
