"""Trials as jobs of Slurm, against a stand-in for its commands: outcomes, adoption, and a controller daemon that fails."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import pytest
from unit.search_made import controller

from drivetrain import Ended, ExecutorContext, Job, Parameter, Report, Space, UserError
from drivetrain.plugins.hpo import jobs as shared
from drivetrain.plugins.hpo import slurm as batch
from drivetrain.plugins.hpo.config import SlurmConfig
from drivetrain.plugins.hpo.slurm import Claim, SlurmExecutor, from_config
from drivetrain.plugins.hpo.slurm_queue import exit_code
from drivetrain.plugins.hpo.slurm_steps import StepsExecutor, per_node

HERE = Path(__file__).parent
EXPECTED = {
    "fine": ("complete", 1), "out of memory": ("out of memory", 1), "diverged": ("diverged", 1),
    "infeasible": ("infeasible", 1), "crashes once": ("complete", 2), "NODE_FAIL": ("complete", 2),
    "PREEMPTED": ("complete", 2),
    "TIMEOUT": ("complete", 2), "OUT_OF_MEMORY": ("out of memory", 1),
}  # fmt: skip
"""What a trial does -> how it ends, and how many jobs that takes."""


def script(path: Path, source: str) -> None:
    """This interpreter without what makes its start slow."""
    path.write_text(f"#!{sys.executable} -SI\n{(HERE / source).read_text()}")
    path.chmod(0o755)


@pytest.fixture
def home(tmp_path, monkeypatch):
    """The stand-in's folder, with its commands first on the path."""
    folder, commands = tmp_path / "slurm", tmp_path / "bin"
    folder.mkdir(), commands.mkdir()
    for name in ("sbatch", "squeue", "scancel", "sacct", "srun", "scontrol"):
        script(commands / name, "slurm_stand_in.py")
    script(commands / "trial", "trial_stand_in.py")
    (folder / "slots").write_text("3")
    monkeypatch.setenv("PATH", f"{commands}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("STAND_IN_HOME", str(folder))
    monkeypatch.setenv("STAND_IN_RUNS", str(commands / "trial"))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    monkeypatch.setenv("SQUEUE_PARTITION", "another")  # what this user likes to see
    return folder


def context(folder: Path, **more) -> ExecutorContext:
    def write(values, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(dict(values)))

    return ExecutorContext(folder=folder / "a study of 50%'s", steps=4, figures=("loss",), own_figures={"loss": "loss"},
                           grace_s=0.0, write_recipe=write, **more)  # fmt: skip


def executor(folder: Path, **settings) -> SlurmExecutor:
    one = from_config(SlurmConfig(poll_s=0.2, **settings), context(folder))
    assert isinstance(one, SlurmExecutor)
    one.python = os.environ["STAND_IN_RUNS"]
    return one


def jobs(home: Path) -> list[dict]:
    return [json.loads(p.read_text()) for p in sorted(home.glob("job-*"), key=lambda p: int(p.name[4:]))]


def events_until(one, what, seconds=60.0) -> list:
    events, end = [], time.monotonic() + seconds
    while not what(events):
        assert time.monotonic() < end, events
        events += one.poll()
    return events


def has_ended(events) -> bool:
    return any(isinstance(event, Ended) for event in events)


def await_(what, seconds=30.0) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_study_tells_its_jobs_ends_apart(home, tmp_path):
    space = Space((Parameter("do", choices=tuple(EXPECTED)),))
    given = [{"do": what} for what in EXPECTED]
    one = controller(trials=len(given), space=space, steps=4, executor=executor(tmp_path), given=given)
    one.run()
    ends = {t.values["do"]: t for t in one.ledger.trials}
    names = [job["name"] for job in jobs(home)]
    for what, (state, count) in EXPECTED.items():
        assert ends[what].state == state, (what, ends[what])
        assert sum(f".{ends[what].number:05d}." in name for name in names) == count, what
    assert "it is diverged" in ends["diverged"].why and "OUT_OF_MEMORY" in ends["OUT_OF_MEMORY"].why
    assert len(set(names)) == len(names) and all(name.startswith("a_study_of_50__s-") for name in names)
    assert jobs(home)[0]["options"]["signal"] == "B:USR1@60"


def test_jobs_of_a_controller_that_is_gone_are_adopted(home, tmp_path):
    """By number, by name, ended meanwhile, or not even submitted: a trial has one job."""
    before = executor(tmp_path)
    running = [Job(n, {"do": "fine", "seconds": 0.3}, 4) for n in range(3)]
    for job in running:
        before.start(job)
    quick, never = Job(3, {"do": "diverged"}, 4), Job(4, {"do": "fine"}, 4)
    (home / "slots").write_text("4")
    before.start(quick)
    before.close()
    nameless = Claim(before.files.folder(1))
    nameless.write(nameless.read()[0])  # it died before it wrote the number down
    await_(lambda: jobs(home)[3]["state"] == "FAILED")
    after = executor(tmp_path)
    told = after.recover([*running, quick, never])
    assert told == [Ended(4, "left", "the controller was gone")]
    told = events_until(after, lambda events: sum(isinstance(e, Ended) for e in events) == 4)
    assert {e.number: e.how for e in told if isinstance(e, Ended)} == {0: "reached", 1: "reached", 2: "reached", 3: "diverged"}
    assert {e.number for e in told if isinstance(e, Report)} == {0, 1, 2}
    assert len(jobs(home)) == 4
    assert all(len((after.files.run(job) / "began").read_text().split()) == 1 for job in running)


def test_no_decision_without_an_answer(home, tmp_path):
    one = executor(tmp_path)
    one.start(Job(0, {"do": "fine"}, 4))
    await_(lambda: jobs(home)[0]["state"] == "COMPLETED")
    (home / "squeue-fails").touch()
    said: list[str] = []
    one.context = context(tmp_path, say=said.append)
    assert not has_ended(events_until(one, lambda _: said) + one.poll())
    assert len(said) == 1 and "Unable to contact" in said[0]
    (home / "squeue-fails").unlink()
    assert events_until(one, has_ended)[-1] == Ended(0, "reached", "")


def test_ends_that_slurm_has_forgotten(home, tmp_path, monkeypatch):
    """In order: the accounting knows; there is none, but the job left its code; nobody knows."""
    monkeypatch.setattr(batch, "FORGOTTEN_S", 0.5)
    (home / "forgotten").write_text("1 2 3")
    one = executor(tmp_path)
    one.start(Job(0, {"do": "NODE_FAIL"}, 4))
    assert "NODE_FAIL" in events_until(one, has_ended)[-1].why
    (home / "no-accounting").touch()
    one.start(Job(1, {"do": "diverged"}, 4))
    assert events_until(one, has_ended)[-1].how == "diverged"
    one.start(Job(2, {"do": "NODE_FAIL", "seconds": 0.5}, 4))
    (one.files.folder(2) / "slurm-exit").mkdir()  # nowhere to leave the code
    end = events_until(one, has_ended)[-1]
    assert end.how == "crashed" and "knows nothing of job 3" in end.why


def test_a_job_that_runs_for_the_accounting_alone_has_ended(home, tmp_path, monkeypatch):
    """It missed the end: `sacctmgr show runawayjobs` tells of such."""
    monkeypatch.setattr(batch, "FORGOTTEN_S", 0.5)
    (home / "forgotten").write_text("1")
    one = executor(tmp_path)
    one.start(Job(0, {"do": "hangs", "seconds": 60}, 4000))
    await_(lambda: jobs(home)[0]["state"] == "RUNNING")
    assert "knows nothing of job 1" in events_until(one, has_ended)[-1].why
    batch.slurm("scancel", "1")


def test_a_number_that_was_given_to_another_job_is_not_the_trials(home, tmp_path, monkeypatch):
    """Slurm begins anew after its last number, or where its state was lost."""
    monkeypatch.setattr(batch, "FORGOTTEN_S", 0.5)
    one, job = executor(tmp_path), Job(0, {"do": "hangs", "seconds": 60}, 4000)
    one.start(job)
    await_(lambda: jobs(home)[0].get("process"))
    claim = Claim(one.files.folder(0))
    claim.write("of last year", "1")
    after = executor(tmp_path)
    assert after.recover([job]) == []
    after.stop(0, "enough")
    after._running[0].process.kill()
    assert "knows nothing of job 1" in events_until(after, has_ended)[-1].why
    assert jobs(home)[0]["state"] == "RUNNING" and "cancelled" not in jobs(home)[0]
    batch.slurm("scancel", "1")


@pytest.mark.parametrize("late", [True, False])
def test_an_sbatch_that_fails_is_looked_up_before_it_is_tried_again(home, tmp_path, late):
    one = executor(tmp_path)
    (home / "sbatch-fails").write_text("late" if late else "")
    one.start(Job(0, {"do": "fine"}, 4))
    one.poll()
    (home / "sbatch-fails").unlink()
    assert events_until(one, has_ended)[-1] == Ended(0, "reached", "")
    assert len(jobs(home)) == 1
    assert (one.files.run(Job(0, {}, 4)) / "began").read_text().count("\n") == 1


def test_a_job_that_is_no_longer_its_trials_does_nothing(home, tmp_path):
    (home / "slots").write_text("0")
    one = executor(tmp_path)
    one.start(Job(0, {"do": "fine"}, 4))
    Claim(one.files.folder(0)).write("another")
    (home / "slots").write_text("1")
    await_(lambda: jobs(home)[0]["state"] == "COMPLETED")
    assert not (one.files.run(Job(0, {}, 4)) / "began").exists()


def test_stopping_is_asked_for_then_made(home, tmp_path, monkeypatch):
    monkeypatch.setattr(shared, "MARGIN_S", 1.0)
    one, (fine, hung, waiting) = executor(tmp_path), (Job(n, {"do": d, "seconds": 5 if d == "hangs" else 0.05}, 4000)
                                                      for n, d in enumerate(("fine", "hangs", "fine")))  # fmt: skip
    (home / "slots").write_text("2")
    for job in (fine, hung, waiting):
        one.start(job)
    await_(lambda: all((one.files.run(job) / "began").exists() for job in (fine, hung)))
    events_until(one, lambda _: len(one.queue.answer.jobs) == 3)
    one.stop(2, "enough")
    await_(lambda: jobs(home)[2]["state"] == "CANCELLED")
    one.stop(0, "enough")
    one.stop(1, "enough")
    ends = {e.number: e for e in events_until(one, lambda es: sum(isinstance(e, Ended) for e in es) == 3)}
    assert [ends[n].how for n in range(3)] == ["left"] * 3
    assert [job["state"] for job in jobs(home)] == ["FAILED", "CANCELLED", "CANCELLED"]
    assert jobs(home)[0]["code"] == 75 and not (one.files.run(waiting) / "began").exists()


def test_one_that_somebody_else_cancels_has_crashed(home, tmp_path):
    one = executor(tmp_path)
    one.start(Job(0, {"do": "fine", "seconds": 5}, 4000))
    await_(lambda: jobs(home)[0].get("process"))
    batch.slurm("scancel", "1")
    end = events_until(one, has_ended)[-1]
    assert end.how == "crashed" and "CANCELLED, not by the search" in end.why


def test_what_sbatch_refuses_is_told_before_the_first_trial(home, tmp_path):
    with pytest.raises(UserError, match="Invalid partition name"):
        executor(tmp_path, partition="nix")
    with pytest.raises(UserError, match="need an allocation"):
        from_config(SlurmConfig(mode="steps"), context(tmp_path))


def test_steps_share_an_allocation(home, tmp_path, monkeypatch):
    of_all = {"GPUS": "4", "GPUS_PER_NODE": "2", "NTASKS_PER_NODE": "2"}
    allocated = {"JOB_ID": "7", "JOB_NODELIST": "node1,node2", "NTASKS": "4", "TASKS_PER_NODE": "2(x2)"}
    for name, value in (allocated | of_all).items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    with pytest.raises(UserError, match="3 ranks, but there are 2 on node1, 2 on node2"):
        from_config(SlurmConfig(), context(tmp_path, ranks=3))
    one = from_config(SlurmConfig(gpus=1), context(tmp_path, ranks=2))
    assert isinstance(one, StepsExecutor)
    for number in range(2):
        assert one.has_room()
        one.start(Job(number, {"do": "fine"}, 4))
    assert not one.has_room()
    events = events_until(one, lambda events: sum(isinstance(e, Ended) for e in events) == 2)
    assert all(e.how == "reached" for e in events if isinstance(e, Ended)) and len(events) == 4
    assert one.has_room()
    called = [json.loads(p.read_text()) for p in home.glob("srun-*")]
    assert {address for _, address, *_ in called} == {"node1", "node2"} and len({port for _, _, port, _ in called}) == 2
    for words, address, _, variables in called:
        assert {f"SLURM_{name}" for name in allocated} == {*variables}, "with the GPUs of all, steps would wait for each other"
        assert {f"--nodelist={address}", "--ntasks=2", "--exact", "--gpus-per-task=1", "--gpu-bind=none"} <= set(words)


def test_codes_and_counts_as_slurm_writes_them():
    assert [exit_code(text) for text in ("0:0", "75:0", "0:9", "19200", "9", "0")] == [0, 75, -9, 75, -9, 0]
    assert per_node("2(x3),1") == [2, 2, 2, 1]
