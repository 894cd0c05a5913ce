"""Several hosts: what is wrong with one is said before the start; one that vanishes in the middle costs time, not samples."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from importlib.metadata import distributions
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import SMALL, drivetrain
from faults.crash import keys, losses
from faults.hosts import Hosts, missing

from drivetrain import open_run
from drivetrain.run import read_records


@pytest.fixture(scope="module")
def hosts(tmp_path_factory):
    """``one`` and ``two`` are right; ``other`` has another drivetrain and no xxhash; ``apart`` has other folders."""
    if absent := missing():
        pytest.skip(f"hosts of our own need {', '.join(absent)}")
    folder = tmp_path_factory.mktemp("hosts")
    (folder / "empty").mkdir()
    (folder / "runs").mkdir()
    installed = next(d for d in distributions(name="drivetrain") if d.read_text("METADATA"))  # not the source tree's egg-info
    metadata = Path(str(installed.locate_file(""))) / installed._path.name / "METADATA"
    (folder / "METADATA").write_text(metadata.read_text().replace("\nVersion: ", "\nVersion: 9."))
    xxhash = Path(find_spec("xxhash").origin).parent
    bind = f"mount --bind {folder / 'METADATA'} {metadata}; mount --bind {folder / 'empty'} {xxhash}"
    names = {"one": "", "two": "", "other": bind, "apart": f"mount -t tmpfs none {folder / 'runs'}"}
    try:
        with Hosts(folder, names) as up:
            yield up
    except subprocess.CalledProcessError as error:
        pytest.skip(f"this machine makes no hosts: {error.cmd}: {error.stderr!r}")


def test_what_is_wrong_with_a_host_is_said_before_the_start(shards, hosts):
    run = hosts.folder / "runs" / "refused"
    file = hosts.hostfile("one", "other", "apart", "nowhere")
    done = drivetrain("launch", SMALL, "--hostfile", file, "--run", run, **hosts.environment)
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    lines = {line.split(":")[0].strip(): line for line in done.stderr.splitlines()}
    assert "xxhash is not installed" in lines["other"] and "drivetrain 9." in lines["other"]
    assert "must be on a shared file system" in lines["apart"]
    assert "ssh does not reach it" in lines["nowhere"]
    assert "one" not in lines
    assert not (run / "run.json").exists()


@pytest.mark.parametrize(("lost", "left"), [
    ("two", "one"),
    pytest.param("one", "two", marks=pytest.mark.skipif(not os.environ.get("DRIVETRAIN_FAULTS"), reason="`make faults`")),
])  # fmt: skip
def test_a_host_that_vanishes_costs_time_and_not_a_sample(shards, hosts, lost, left):
    """Rank 0's, which all others report to, as well as another."""
    run, last = hosts.folder / "runs" / f"{lost}-cut", 8
    command = [sys.executable, "-m", "drivetrain", "launch", SMALL, "--hostfile", hosts.hostfile("one", "two"), "--run", run,
               "--restarts", "2", f"train.steps={last}", "checkpoint.every=3"]  # fmt: skip
    log = hosts.folder / "log"
    process = subprocess.Popen(list(map(str, command)), stderr=log.open("w"), stdout=subprocess.DEVNULL,
                               env={**os.environ, **hosts.environment}, start_new_session=True)  # fmt: skip
    try:
        end = time.monotonic() + 200
        while max((r["step"] for r in read_records(run / "metrics.jsonl")), default=0) < 4:
            assert process.poll() is None and time.monotonic() < end, log.read_text()[-4000:]
            time.sleep(0.02)
        hosts.cut(lost)
        began = time.monotonic()
        assert process.wait(240) == 0, log.read_text()[-4000:]
        took = time.monotonic() - began
    finally:
        process.kill()
        process.wait()
        hosts.mend(lost)
    text = log.read_text()
    assert f"rank {['one', 'two'].index(lost)} on {lost} has given no sign" in text, text[-4000:]
    assert f"going on with {left} (1)" in text and took < 200
    assert [len(r["hosts"]) for r in read_records(run / "provenance.jsonl")] == [2, 1]
    assert list(losses(open_run(run))) == list(range(1, last + 1))
    assert sorted(keys(open_run(run))) == [(step, slot) for step in range(1, last + 1) for slot in range(4)]
    assert "--hostfile" in text  # the command is shown
