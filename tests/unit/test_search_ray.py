"""Trials on a Ray cluster of this host: found again by a new controller, and a worker that is killed survived."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

from unit.search_made import controller  # noqa: E402
from unit.test_search_slurm import await_, context, events_until, has_ended, script  # noqa: E402

from drivetrain import Ended, Job, Parameter, Report, Space  # noqa: E402
from drivetrain.plugins.hpo import ray_executor  # noqa: E402
from drivetrain.plugins.hpo.config import RayConfig  # noqa: E402
from drivetrain.plugins.hpo.ray_executor import NAMESPACE, RayExecutor  # noqa: E402


@pytest.fixture(scope="module")
def cluster():
    """Two CPUs, whatever there are; its workers as urgent as this process."""
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    ray.init(num_cpus=2, num_gpus=0, namespace=NAMESPACE, include_dashboard=False, log_to_driver=False,
             object_store_memory=80_000_000)  # fmt: skip
    yield
    ray.shutdown()


@pytest.fixture
def executor(cluster, tmp_path, monkeypatch):
    """Makes executors whose actors run a stand-in for `drivetrain train`."""
    script(tmp_path / "trial", "trial_stand_in.py")

    class Owner(ray_executor.Owner):
        def __init__(self, words, ranks, run, log, environment, folder):
            sys.executable = str(Path(run).parents[3] / "trial")
            super().__init__(words, ranks, run, log, environment, folder)

    monkeypatch.setattr(ray_executor, "Owner", Owner)
    return lambda **settings: RayExecutor(RayConfig(**settings), context(tmp_path))


def reservations() -> list[str]:
    return [g["name"] for g in ray.util.placement_group_table().values() if g["state"] != "REMOVED"]


def test_a_study_fills_the_cluster_and_outcomes_are_told_apart(executor):
    given = ["fine", "diverged", "crashes once", "out of memory"]
    space = Space((Parameter("do", choices=tuple(given)),))
    one = controller(trials=4, space=space, steps=4, executor=executor(), given=[{"do": what} for what in given])
    one.run()
    assert [t.state for t in one.ledger.trials] == ["complete", "diverged", "complete", "out of memory"]
    await_(lambda: not reservations())


def test_a_controller_that_comes_back_finds_its_trials(executor):
    before, job, never = executor(), Job(0, {"do": "fine", "seconds": 1}, 4), Job(1, {"do": "fine"}, 4)
    before.start(job)
    await_(lambda: (before.files.run(job) / "began").exists(), 120)
    before.close()
    after = executor()
    assert after.recover([job, never]) == [Ended(1, "left", "the controller was gone")]
    report, end = events_until(after, has_ended, 120)
    assert (report.step, end) == (4, Ended(0, "reached", ""))
    assert (after.files.run(job) / "began").read_text().count("\n") == 1


def test_a_killed_worker_is_a_crash_and_its_ranks_are_gone_before_it_is_told(executor):
    one, job = executor(), Job(0, {"do": "hangs", "seconds": 1}, 1000)
    one.start(job)
    began = one.files.run(job) / "began"
    await_(lambda: began.exists() and began.read_text(), 120)
    rank = int(began.read_text())
    assert b"DRIVETRAIN_THREADS=1\0" in Path(f"/proc/{rank}/environ").read_bytes(), "not as many as the host has cores"
    worker = int(Path(f"/proc/{rank}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(worker, signal.SIGKILL)
    end = events_until(one, has_ended, 120)[-1]
    assert end.how == "crashed" and "Ray worker is gone" in end.why
    assert not Path(f"/proc/{rank}").exists() or "Z" in Path(f"/proc/{rank}/stat").read_text().split()[2]
    again = Job(0, {"do": "fine"}, 4, attempt=1)
    (one.files.folder(0) / "recipe.yaml").unlink()
    one.start(again)
    assert events_until(one, has_ended, 120)[-1].how == "reached"


def test_stopping_is_asked_for(executor):
    """Of one that runs; one that waits for room does not begin."""
    one, job = executor(cpus=2), Job(0, {"do": "fine", "seconds": 0.1}, 1000)
    one.start(job)
    await_(lambda: (one.files.run(job) / "began").exists(), 120)
    began = time.monotonic()
    waiting = Job(1, {"do": "fine"}, 1000)
    one.start(waiting)
    one.stop(1, "enough")
    end = events_until(one, has_ended, 120)[-1]
    assert (end.number, end.how) == (1, "left")
    assert time.monotonic() - began < 10 and not (one.files.run(waiting) / "began").exists()
    one.stop(0, "enough")
    events = events_until(one, has_ended, 120)
    assert events[-1].how == "left" and not any(isinstance(e, Report) for e in events)
    assert time.monotonic() - began < 60


def test_an_actor_that_is_unavailable_for_a_while_is_asked_again(tmp_path):
    """Its ranks go on meanwhile: they are not to be ended."""
    from ray.exceptions import ActorUnavailableError

    answers = [ActorUnavailableError("the network is slow", None), None, ("reached", "")]

    def get(_):
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    played = SimpleNamespace(wait=lambda asked, timeout: (asked, []), get=get, exceptions=ray.exceptions)
    actor = SimpleNamespace(await_end=SimpleNamespace(remote=lambda seconds: seconds))
    job = ray_executor.RayJob(played, "a", actor, tmp_path / "run", tmp_path / "log", 0.0)
    assert [job.poll() for _ in range(3)] == [None, None, ("reached", "")]


def test_why_an_actor_could_not_begin_is_told(executor, monkeypatch):
    one = executor()
    monkeypatch.setattr(os, "getcwd", lambda: "/of/this/host/alone")
    one.start(Job(0, {"do": "fine"}, 4))
    end = events_until(one, has_ended, 120)[-1]
    assert end.how == "crashed" and end.why.endswith("No such file or directory: '/of/this/host/alone'")
