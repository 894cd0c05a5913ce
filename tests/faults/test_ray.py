"""A study of real jobs on a Ray cluster that the test starts: a worker of it is killed with -9, and the study goes on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

ray = pytest.importorskip("ray", reason="the extra ray is not installed")

from conftest import SMALL, drivetrain  # noqa: E402
from faults.test_search_kills import TINY, Killed, check_once_at_a_time, kill  # noqa: E402
from unit.test_search_ray import cluster, reservations  # noqa: E402, F401

from drivetrain.search.journal import read_journal  # noqa: E402


def worker_of(processes: list[tuple[int, str]]) -> int:
    """Ray's process, which is the parent of a launcher's first one."""
    own = {pid for pid, _ in processes}
    [parent] = {p for pid in own if (p := int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])) not in own}
    return parent


def test_a_killed_worker_costs_a_study_nothing_but_time(shards, tmp_path, cluster, monkeypatch):  # noqa: F811
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    recipe, study = tmp_path / "mine.yaml", tmp_path / "study"
    recipe.write_text(f"""
extends: [{SMALL}]
model: {TINY}
train: {{steps: 80, log_every: 1, record_samples: false}}
checkpoint: {{every: 20}}
search: {{space: {{optimizer.lr: [1e-4, 2e-4]}}, trials: 2, ranks: 2, executor: {{plugin: ray}}}}
""")
    with Killed(recipe, study) as one:
        assert one.await_step(25)
        kill([worker_of(one.processes())])
        assert one.controller.wait(1200) == 0
    trials = json.loads(drivetrain("search", "status", study, "--json").stdout)["trials"]
    assert [(trial["state"], trial["step"]) for trial in trials] == [("complete", 80)] * 2
    records = read_journal(study / "journal")
    check_once_at_a_time(records, 2)
    assert sorted(record["how"] for record in records if record["kind"] == "ended") == ["complete", "complete", "retry"]
    assert "Ray worker is gone" in next(record["why"] for record in records if record.get("how") == "retry")
    assert not one.processes() and not reservations()
