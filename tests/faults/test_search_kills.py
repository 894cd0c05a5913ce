"""kill -9 of a study's controller, of trials' ranks and of everything, also in the middle of a write: the study goes on, no
trial is lost or run twice at once, nobody is left behind."""

from __future__ import annotations

import contextlib
import os
import random
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT, SMALL

from drivetrain import open_run
from drivetrain.search.folder import StudyFolder
from drivetrain.search.journal import frame, read_journal

KILLS = int(os.environ.get("DRIVETRAIN_KILLS", "0"))
SIMULATED = """
import itertools, os, random, sys, time
sys.path.insert(0, sys.argv[2])
from pathlib import Path
from unit.search_made import SimulatedExecutor, controller, loss
from drivetrain.search.lease import Lease

class Slow(SimulatedExecutor):
    def poll(self):
        time.sleep(0.01)
        return super().poll()

    def start(self, job):
        assert job.number not in self._running, "twice at once"
        super().start(job)

def write_or_hang(file, data, count=itertools.count(1), write=os.write):
    if next(count) == int(sys.argv[4]):
        write(file, data[: random.randrange(1, len(data))])
        print("torn", flush=True)
        time.sleep(600)
    return write(file, data)

folder = Path(sys.argv[1])
Lease(folder).take()
os.write = write_or_hang
print("begun", flush=True)
one = controller(scheduler="asha", trials=int(sys.argv[3]), journal=folder / "journal", executor=Slow(loss, 3), steps=64,
                 durable=True)
one.run()
"""
NEVER = 0


def check_once_at_a_time(records: Iterable[Mapping[str, Any]], trials: int) -> None:
    """No trial is lost, and none is started while it runs."""
    asked, running = [], set()
    for record in records:
        if record["kind"] == "asked":
            asked.append(record["trial"])
        elif record["kind"] == "started":
            assert record["trial"] not in running, "twice at once"
            running.add(record["trial"])
        elif record["kind"] == "ended":
            running.discard(record["trial"])
    assert asked == list(range(trials)) and not running


def test_a_controller_that_is_killed_again_and_again_loses_no_trial(tmp_path):
    """At any time, and every other time with a part of a record just written."""
    script, study, trials, rng = tmp_path / "study.py", tmp_path / "study", 60 + 10 * KILLS, random.Random(KILLS)
    script.write_text(SIMULATED)
    study.mkdir()
    words = [sys.executable, str(script), str(study), str(ROOT / "tests"), str(trials)]
    before: list = []
    torn = 0
    for number in range(2 * (KILLS or 2)):
        write = rng.randrange(2, 12) if number % 2 else NEVER
        process = subprocess.Popen([*words, str(write)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        if write == NEVER:
            time.sleep(rng.uniform(0.0, 0.4))
        else:
            assert process.stdout.readline() == "torn\n"
        process.kill()
        process.wait()
        journal = study / "journal"
        records = read_journal(journal) if journal.exists() else []
        assert records[: len(before)] == before, "what was on record stays"
        torn += journal.exists() and journal.stat().st_size > sum(len(frame(record)) for record in records)
        before = records
    assert torn >= (KILLS or 2)
    assert subprocess.run([*words, str(NEVER)], stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    records = read_journal(study / "journal")
    assert records[: len(before)] == before
    check_once_at_a_time(records, trials)


DIVERGING = ROOT / "tests" / "plugins" / "diverging.py"
TINY = "{plugin: diverging, task: semantic_segmentation, steps: []}"


def await_(what: Callable[[], bool], seconds: float, otherwise: str) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, otherwise
        time.sleep(0.05)


def processes_of(run: Path) -> list[tuple[int, str]]:
    """(process, its rank) of a trial's job."""
    out = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            environment = dict(item.partition("=")[::2] for item in path.read_text(errors="replace").split("\0"))
        except OSError:
            continue
        if environment.get("DRIVETRAIN_TRIAL_RUN") == str(run.resolve()):
            out.append((int(path.parent.name), environment.get("RANK", "")))
    return out


class Killed:
    """A study of jobs of two ranks, its controller a process that is killed and started again."""

    def __init__(self, recipe: Path, study: Path):
        self.recipe, self.study = recipe, study

    def __enter__(self) -> Killed:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.controller.kill()  # where the test has failed
        self.controller.wait()

    def start(self) -> None:
        words = ["resume", self.study] if (self.study / "journal").exists() else [self.recipe, "--study", self.study]
        options = ["--plugin", DIVERGING]
        self.controller = subprocess.Popen([sys.executable, "-m", "drivetrain", "search", *map(str, [*words, *options])])

    @property
    def runs(self) -> list[Path]:
        return sorted(self.study.glob("trials/*/run"))

    def processes(self) -> list[tuple[int, str]]:
        return [found for run in self.runs for found in processes_of(run)]

    @property
    def begun(self) -> list[Path]:
        """The latest last."""
        runs = [run for run in self.runs if (run / "metrics.jsonl").is_file()]
        return sorted(runs, key=lambda run: (run / "metrics.jsonl").stat().st_mtime)

    def step(self) -> int:
        """Of all trials together."""
        return sum(last_step(run) for run in self.begun)

    def await_step(self, more: int = 1) -> bool:
        """Whether it is in the midst of training, after ``more`` steps; else the study has ended."""
        goal = self.step() + more
        await_(lambda: self.step() >= goal or self.controller.poll() is not None, 600, "it does not go on")
        return self.controller.poll() is None

    def kill_rank(self, rng: random.Random) -> None:
        """The controller sees to all else."""
        ranks = [pid for pid, rank in self.processes() if rank == str(rng.randrange(2))]
        kill(ranks)
        await_(lambda: not {*ranks} & {pid for pid, _ in self.processes()}, 30, "it lives on")

    def kill_controller(self) -> float:
        """Its ranks leave by themselves; after how many seconds."""
        began = time.monotonic()
        kill([self.controller.pid])
        self.controller.wait()
        await_(lambda: not self.processes(), 60, "ranks outlive their controller")
        return time.monotonic() - began

    def kill_all(self) -> None:
        kill([self.controller.pid, *(pid for pid, _ in self.processes())])
        self.controller.wait()
        await_(lambda: not self.processes(), 10, "a process lives on")


def last_step(run: Path) -> int:
    return max((record["step"] for record in open_run(run).records()), default=0)


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def test_a_study_of_real_jobs_outlives_kills_of_any_of_its_processes(shards, tmp_path):
    recipe, study, rng = tmp_path / "mine.yaml", tmp_path / "study", random.Random(KILLS)
    rounds, trials = max(1, KILLS), 1 + KILLS // 2
    recipe.write_text(f"""
extends: [{SMALL}]
model: {TINY}
train: {{steps: 400, log_every: 1, record_samples: false}}
checkpoint: {{every: 5}}
search: {{space: {{optimizer.lr: {[1e-4 * (n + 1) for n in range(trials)]}}}, trials: {trials}, ranks: 2, retries: {rounds}}}
""")
    left_after = []
    with Killed(recipe, study) as one:
        for _ in range(rounds):
            assert one.await_step(30)
            left_after.append(one.kill_controller())
            newest = one.begun[-1]
            assert (newest / "checkpoints" / f"step-{last_step(newest):08d}").is_dir(), "they left with a save"
            one.start()
            assert one.await_step()
            one.kill_rank(rng)
            assert one.await_step()
            time.sleep(rng.uniform(0, 0.3))
            before = read_journal(study / "journal")
            one.kill_all()
            assert read_journal(study / "journal")[: len(before)] == before
            one.start()
        assert one.controller.wait(3000) == 0
    _, ledger = StudyFolder(study).read()
    assert [(t.state, t.step) for t in ledger.trials] == [("complete", 400)] * trials
    records = read_journal(study / "journal")
    check_once_at_a_time(records, trials)
    ends = [record["how"] for record in records if record["kind"] == "ended"]
    assert set(ends) <= {"retry", "left", "complete"} and ends.count("complete") == trials
    assert not one.processes()
    print(f"ranks left {max(left_after):.1f} s after their controller at the latest")
    assert not KILLS or max(left_after) <= 10, "of a machine that does nothing else"


@pytest.fixture
def group_of_4_gib():
    """A control group of memory, by version 1 or 2 of its interface; a word that a shell enters it with."""
    version_1 = Path("/sys/fs/cgroup/memory")
    group = (version_1 if version_1.is_dir() else version_1.parent) / f"few-{os.getpid()}"
    try:
        group.mkdir()
        (group / ("memory.limit_in_bytes" if version_1.is_dir() else "memory.max")).write_text(f"{2**32}")
    except OSError as error:
        pytest.skip(f"no control group can be made here: {error}")
    yield f"echo $$ > {group / 'cgroup.procs'} && exec"
    group.rmdir()


@pytest.mark.skipif(not KILLS, reason="a part of make kills")
def test_a_rank_that_the_system_kills_for_memory_is_told_from_one_that_somebody_kills(shards, tmp_path, group_of_4_gib):
    recipe, study = tmp_path / "mine.yaml", tmp_path / "study"
    ends = [TINY.replace("steps: []", f"steps: [], ends: {how}") for how in ("group", "kill")]
    recipe.write_text(f"""
extends: [{SMALL}]
model: {TINY}
train: {{steps: 2}}
search:
  space: {{model: [{", ".join([*ends, TINY])}]}}
  algorithm: {{plugin: grid}}
  trials: 3
  ranks: 2
  retries: 0
""")
    words = [sys.executable, "-m", "drivetrain", "search", recipe, "--study", study, "--plugin", DIVERGING]
    subprocess.run(["sh", "-c", f"{group_of_4_gib} {shlex.join(map(str, words))}"], check=True, timeout=600)
    _, ledger = StudyFolder(study).read()
    found = {str(t.values["model"].get("ends")): (t.state, t.why) for t in ledger.trials}
    assert found == {
        "group": ("out of memory", "the host's memory was full: the system killed a process"),
        "kill": ("crashed", "a rank ended by signal 9: Killed"), "None": ("complete", ""),
    }  # fmt: skip
