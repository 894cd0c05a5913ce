"""Jobs of trials as processes of this host: ends that come at awkward moments, and what they must not inherit or take."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from unit.search_made import controller
from unit.test_search_slurm import context, events_until, has_ended

from drivetrain import Ended, Job, JobFiles, OwnedJob
from drivetrain.plugins.hpo import jobs as shared
from drivetrain.plugins.hpo.config import LocalConfig
from drivetrain.plugins.hpo.jobs import JobsExecutor, TrialFiles
from drivetrain.plugins.hpo.local import LocalExecutor


class Played:
    """A process that has evaluated step 2 with its trial's number as the loss; it ends, if it does, in the moment that this is
    seen."""

    def __init__(self, run: Path, number: int, end: tuple[str, str] | None):
        self.end = end
        run.mkdir(parents=True, exist_ok=True)
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"kind": "evaluation", "step": 2, "loss": {"loss": number}}) + "\n")

    def poll(self):
        return self.end

    def has_news(self):
        return True

    def ask_to_leave(self, why):
        self.end = "left", why

    def kill(self):
        pass


class PlayedExecutor(JobsExecutor):
    """One job at a time; ``ends`` of one after the other."""

    def __init__(self, folder, *ends):
        super().__init__(context(folder))
        self.ends = iter(ends)

    def has_room(self):
        return not self._running

    def _begin(self, job: Job, words):
        return Played(self.files.run(job), job.number, next(self.ends))


FULL = "out of memory", ""


@pytest.mark.parametrize("end", [None, ("left", "it was preempted"), ("crashed", "its disk was lost")])
def test_a_trial_may_end_in_the_moment_in_which_it_is_stopped(tmp_path, end):
    """It is stopped for good, however it has ended; what it was asked for after its end is asked of nobody."""
    one = controller(scheduler="median", scheduler_settings={"startup": 2}, trials=3, steps=4, every=2,
                     executor=PlayedExecutor(tmp_path, FULL, FULL, end))  # fmt: skip
    one.run()
    assert (one.ledger.trials[2].state, one.ledger.trials[2].why) == ("pruned", "2 of 2 others were better at step 2")


def test_a_job_that_ends_well_too_early_is_tried_again(tmp_path):
    """As DeepSpeed's launcher does where its second process is killed: it passes on no signal's number."""
    one = controller(trials=1, steps=4, executor=PlayedExecutor(tmp_path, ("reached", ""), FULL))
    one.run()
    assert one.ledger.trials[0].state == "out of memory"


SAYS = """
import json, os, sys
from pathlib import Path
(Path(sys.argv[1]) / f"rank-{os.environ.get('RANK', 'none')}").write_text(json.dumps(dict(os.environ)))
"""


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_of_a_trial_are_told_of_their_own_job_alone(tmp_path, monkeypatch, ranks):
    """By the real launcher. The search itself may be a rank of something, and a host's GPUs have names of many kinds."""
    (tmp_path / "drivetrain").mkdir()
    (tmp_path / "drivetrain" / "__main__.py").write_text(SAYS)
    outer = {"RANK": "5", "WORLD_SIZE": "7", "LOCAL_RANK": "5", "LOCAL_WORLD_SIZE": "7", "MASTER_ADDR": "elsewhere",
             "MASTER_PORT": "1", "SLURM_STEP_NUM_TASKS": "7", "TORCHELASTIC_RUN_ID": "a", "PYTHONPATH": str(tmp_path),
             "LOCAL_DATA": "mine"}  # fmt: skip
    for name, value in outer.items():
        monkeypatch.setenv(name, value)
    names = ["MIG-3f1c", "GPU-08ab"][:ranks]
    job = OwnedJob([str(tmp_path)], ranks, tmp_path / "study" / "trials" / "00000" / "run", tmp_path / "log",
                   {"CUDA_VISIBLE_DEVICES": ",".join(names), "DRIVETRAIN_OWNER": "another"})  # fmt: skip
    while (end := job.poll()) is None:
        time.sleep(0.1)
    assert end == ("reached", ""), (tmp_path / "log").read_text()
    told = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("rank-*"))]
    assert len(told) == ranks and all(one["CUDA_VISIBLE_DEVICES"] == ",".join(names) for one in told)
    assert all(one["DRIVETRAIN_OWNER"] != "another" for one in told)
    assert {name for one in told for name in outer if one.get(name) == outer[name]} == {"PYTHONPATH", "LOCAL_DATA"}
    assert [one.get("RANK") for one in told] == ([None] if ranks == 1 else ["0", "1"])


def test_a_trial_that_does_not_leave_in_time_has_not_crashed(tmp_path, monkeypatch):
    """It is in a long evaluation, say: the study rests, and it goes on from its newest checkpoint."""
    (tmp_path / "drivetrain").mkdir()
    (tmp_path / "drivetrain" / "__main__.py").write_text("import time; time.sleep(60)")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(shared, "MARGIN_S", 0.2)
    executor = LocalExecutor(LocalConfig(), context(tmp_path / os.fsdecode(b"gr\xf6\xdfer als 'a b'")))
    executor.start(Job(0, {"do": "hangs"}, 4))
    executor.stop(0, "")
    assert events_until(executor, has_ended) == [Ended(0, "left", "it did not leave in time, and was ended")]


def test_a_stop_file_is_whole_as_soon_as_it_is_there(tmp_path):
    """Ranks that look for it once a second would take an empty one for the wish to end with exit code 0."""
    files = JobFiles(tmp_path / "run", tmp_path / "log")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "stop").write_text("75 before\n")
    with (tmp_path / "run" / "stop").open() as looking:
        files.ask_to_leave("enough")
        assert looking.read() == "75 before\n", "it was replaced, not written over"
    assert (tmp_path / "run" / "stop").read_text() == "75 enough\n"


def test_weights_are_those_of_the_donors_latest_life(tmp_path):
    """However often it took over another's itself."""
    files = TrialFiles(context(tmp_path))
    for life in ("run", "run-9", "run-101"):
        (files.folder(0) / life / "checkpoints" / "step-00000004").mkdir(parents=True)
        (files.folder(0) / life / "checkpoints" / "step-00000004" / life).touch()
    job = Job(1, {}, 8, weights=(0, 4), life=3)
    files.prepare(job)
    assert [p.name for p in (files.run(job) / "checkpoints" / "step-00000004").iterdir()] == ["run-101"]
