"""kill -9 of a study's controller and of trials' ranks: the study goes on, nothing is lost, nobody is left behind."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from conftest import ROOT, SMALL, drivetrain

from drivetrain import open_run
from drivetrain.search.folder import StudyFolder
from drivetrain.search.journal import read_journal

KILLS = int(os.environ.get("DRIVETRAIN_KILLS", "0"))
SIMULATED = """
import sys, time
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

folder = Path(sys.argv[1])
Lease(folder).take()
print("begun", flush=True)
one = controller(scheduler="asha", trials=int(sys.argv[3]), journal=folder / "journal", executor=Slow(loss, 3), steps=64)
one.journal._durable = True
one.run()
"""


def test_a_controller_that_is_killed_again_and_again_loses_no_trial(tmp_path):
    script, trials, rng = tmp_path / "study.py", 60, random.Random(KILLS)
    script.write_text(SIMULATED)
    study = tmp_path / "study"
    study.mkdir()
    words = [sys.executable, str(script), str(study), str(ROOT / "tests"), str(trials)]
    before: list = []
    for _ in range(KILLS or 3):
        process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        time.sleep(rng.uniform(0.0, 0.4))
        process.kill()
        process.wait()
        records = read_journal(study / "journal") if (study / "journal").exists() else []
        assert records[: len(before)] == before, "what was on record stays"
        before = records
    assert subprocess.run(words, stdout=subprocess.DEVNULL, timeout=300).returncode == 0
    records = read_journal(study / "journal")
    assert records[: len(before)] == before
    asked = [r["trial"] for r in records if r["kind"] == "asked"]
    assert asked == list(range(trials))
    running: set[int] = set()
    for record in records:
        if record["kind"] == "started":
            assert record["trial"] not in running, "twice at once"
            running.add(record["trial"])
        elif record["kind"] == "ended":
            running.discard(record["trial"])
    assert not running


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


def test_ranks_leave_with_their_controller_and_come_back_after_a_crash(shards, tmp_path):
    recipe, study = tmp_path / "mine.yaml", tmp_path / "study"
    recipe.write_text(f"""
extends: [{SMALL}]
model: {TINY}
train: {{steps: 400, log_every: 1, record_samples: false}}
checkpoint: {{every: 20}}
search: {{space: {{optimizer.lr: [1e-4]}}, trials: 1, ranks: 2}}
""")
    options = ["--plugin", str(ROOT / "tests" / "plugins" / "diverging.py")]
    run = study / "trials" / "00000" / "run"
    command = [sys.executable, "-m", "drivetrain", "search"]

    def step() -> int:
        return max((r["step"] for r in open_run(run).records()), default=0) if (run / "metrics.jsonl").is_file() else 0

    controller = subprocess.Popen([*command, str(recipe), "--study", str(study), *options])
    await_(lambda: step() >= 30, 300, "no step")
    controller.kill()
    controller.wait()
    await_(lambda: not processes_of(run), 60 if KILLS else 30, "ranks outlive their controller")
    left_at = step()
    assert (run / "checkpoints" / f"step-{left_at:08d}").is_dir(), "they left with a save"
    assert "trial" not in drivetrain("search", "best", study).stdout, "no evaluation yet"

    controller = subprocess.Popen([*command, "resume", str(study), *options])
    for _ in range(max(1, KILLS)):
        known = step()
        await_(lambda known=known: step() > known or controller.poll() is not None, 300, "it does not go on")
        ranks = [pid for pid, rank in processes_of(run) if rank == "1"]
        if controller.poll() is not None or not ranks:
            break
        os.kill(ranks[0], signal.SIGKILL)
        await_(lambda pid=ranks[0]: pid not in [p for p, _ in processes_of(run)], 30, "it lives on")
    assert controller.wait(600) == 0
    _, ledger = StudyFolder(study).read()
    assert [t.state for t in ledger.trials] == ["complete"] and ledger.trials[0].step == 400
    ends = [r["how"] for r in read_journal(study / "journal") if r["kind"] == "ended"]
    assert ends[0] == "left" and ends[-1] == "complete" and set(ends[1:-1]) <= {"retry", "left"}
    assert not processes_of(run)
