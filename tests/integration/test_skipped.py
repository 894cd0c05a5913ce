"""Steps whose gradient is not finite: not taken, told with their samples, and after too many the run ends."""

from __future__ import annotations

import json

from conftest import ROOT, SMALL, drivetrain
from faults.crash import keys
from integration.test_bad_input import refused

from drivetrain import open_run
from drivetrain.run import read_records

PLUGIN = ["--plugin", ROOT / "tests" / "plugins" / "diverging.py"]


def diverge(run, steps, *overrides):
    model = f"model={{plugin: diverging, task: semantic_segmentation, steps: {steps}}}"
    return drivetrain("train", SMALL, "--run", run, *PLUGIN, model, "parallelism={plugin: single}", "train.steps=4", *overrides)


def test_a_step_is_skipped_and_its_samples_are_named(shards, tmp_path):
    done = diverge(tmp_path / "run", [1, 2])
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "run")
    skipped = list(read_records(run.path / "skipped.jsonl"))
    assert [(one["step"], one["keys"]) for one in skipped] == [(step, [keys(run)[step, 1]]) for step in (2, 3)]
    assert keys(run)[2, 1][0] in done.stderr and "step 2 was not taken" in done.stderr
    records = {r["step"]: r for r in run.records() if r["kind"] == "training"}
    assert [records[step]["skipped"] for step in (1, 2, 3, 4)] == [0, 1, 2, 2]
    assert records[2]["loss"] is None and records[2]["grad_norm"] is None and records[4]["loss"] > 0
    assert "NaN" not in run.metrics.read_text(), "JSON has no such number"


def test_too_many_in_a_row_end_the_run(shards, tmp_path):
    text = refused(diverge(tmp_path / "run", [1, 2, 3], "train.max_skipped=2", "checkpoint.every=1"), "2 steps in a row",
                   code=4)  # fmt: skip
    assert "skipped.jsonl" in text and "up to step 3" in text
    run = open_run(tmp_path / "run")
    assert [json.loads(line)["step"] for line in (run.path / "skipped.jsonl").read_text().splitlines()] == [2, 3]


def test_a_taken_step_in_between_starts_the_count_anew(shards, tmp_path):
    done = diverge(tmp_path / "run", [0, 1, 3], "train.max_skipped=3")
    assert done.returncode == 0, done.stderr
