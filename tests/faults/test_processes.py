"""Worker processes end with the process that started them, also where it is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from drivetrain.owner import OWNER, process_start

SCRIPT = """
import os, sys, time
from pathlib import Path
from drivetrain import process_pool

def start(folder):
    (Path(folder) / str(os.getpid())).touch()

def idle(_):
    time.sleep(600)

if __name__ == "__main__":
    with process_pool(2, start, sys.argv[1]) as pool:
        list(pool.map(idle, range(4)))
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_workers_end_with_a_parent_that_is_killed(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "pids").mkdir()
    parent = subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path / "pids")])
    deadline = time.monotonic() + 30
    while len(pids := [int(path.name) for path in (tmp_path / "pids").iterdir()]) < 2:
        assert time.monotonic() < deadline and parent.poll() is None
        time.sleep(0.05)
    assert all(map(alive, pids))
    os.kill(parent.pid, signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 5
    while any(map(alive, pids)):
        assert time.monotonic() < deadline, "workers outlive their parent"
        time.sleep(0.05)


@pytest.mark.parametrize("inherited", [signal.SIG_DFL, signal.SIG_IGN])
def test_what_has_an_owner_ends_with_it(inherited):
    """Also where what was started in between is gone, or goes on; and where a job starter had SIGTERM ignored."""
    owner = subprocess.Popen(["sleep", "600"])
    name = f"{socket.gethostname()} {owner.pid} {process_start(owner.pid)}"
    code = "import time; from drivetrain.owner import follow_owner; follow_owner(); print('up', flush=True); time.sleep(600)"
    owned = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env={**os.environ, OWNER: name},
                             preexec_fn=lambda: signal.signal(signal.SIGTERM, inherited))  # fmt: skip
    assert owned.stdout is not None and owned.stdout.readline() == b"up\n"
    time.sleep(1)
    assert owned.poll() is None
    owner.kill()
    owner.wait()
    assert owned.wait(10) == -signal.SIGTERM
