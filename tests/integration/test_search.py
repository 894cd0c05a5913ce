"""A study of real jobs: outcomes told apart, weights taken over, the winner a recipe; and what is wrong told beforehand."""

from __future__ import annotations

import csv
import json
import shutil
import time
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, drivetrain
from integration.test_bad_input import refused
from unit.test_tracker_wandb import recorded

from drivetrain import Ended, ExecutorContext, Job, OwnedJob, Report, open_run
from drivetrain.manager import Controls, get_manager
from drivetrain.plugins.hpo.config import LocalConfig
from drivetrain.plugins.hpo.local import LocalExecutor
from drivetrain.recipe import load_recipe
from drivetrain.recipe_sources import write_yaml
from drivetrain.search import jobs
from drivetrain.search.asking import FIGURES_OF_TRAINING, trial_recipe

PLUGIN = ROOT / "tests" / "plugins" / "diverging.py"
TINY = "{plugin: diverging, task: semantic_segmentation, steps: %s}"
ENDS = "{plugin: diverging, task: semantic_segmentation, steps: [], ends: %s}"


@pytest.fixture
def recipe(shards, tmp_path):
    """One convolution, one rank; whose loss is not finite in the steps that are asked for."""
    path = tmp_path / "mine.yaml"
    path.write_text(f"""
extends: [{SMALL}]
model: {TINY % []}
parallelism: {{plugin: single}}
train: {{steps: 2, max_skipped: 1}}
search:
  space:
    model: [{TINY % []}, {TINY % [0]}, {ENDS % "memory"}, {ENDS % "kill"}]
    batch.micro: [2, 3, 4]
    optimizer.lr: {{low: 1e-4, high: 1e-2, log: true}}
  given:
  - {{model: {TINY % []}, batch.micro: 2}}
  - {{model: {TINY % [0]}, batch.micro: 2}}
  - {{model: {TINY % []}, batch.micro: 3}}
  - {{model: {ENDS % "memory"}, batch.micro: 2}}
  - {{model: {ENDS % "kill"}, batch.micro: 2}}
  objective: {{miou: max, cost.parameters: min}}
  constraints: {{cost.latency_ms: {{max: 60000}}, cost.memory_bytes: {{min: 1}}}}
  trials: 5
  retries: 0
""")
    return path


def test_a_study_ends_with_each_outcome_and_a_recipe(recipe, tmp_path):
    study = tmp_path / "study"
    checked = drivetrain("recipe", "check", recipe, "--plugin", PLUGIN)
    assert "; a search over model, batch.micro, optimizer.lr" in checked.stdout, checked.stderr
    done = drivetrain("search", recipe, "--study", study, "--parallel", 2, "--plugin", PLUGIN)
    assert done.returncode == 0, done.stderr
    status = json.loads(drivetrain("search", "status", study, "--json").stdout)
    trials = status["trials"]
    assert [t["state"] for t in trials] == ["complete", "diverged", "infeasible", "out of memory", "crashed"], trials
    assert "1 steps in a row were not taken" in trials[1]["why"] and "8 is not a multiple of batch.micro, 3" in trials[2]["why"]
    assert trials[3]["why"].startswith("out of memory: ") and trials[4]["why"] == "ended by signal 9: Killed"
    assert status["run_by"] is None and status["best"]["trial"] == 0 and 0 <= status["best"]["figures"]["miou"] <= 1
    cost = {name: value for name, value in status["best"]["figures"].items() if name.startswith("cost.")}
    assert cost.pop("cost.parameters") == 13 * 4 and 0 < cost.pop("cost.latency_ms") < 60000
    assert 2**20 < cost.pop("cost.memory_bytes") < 2**40 and not cost
    assert [t["trial"] for t in json.loads(drivetrain("search", "best", study, "--json").stdout)] == [0]
    assert not (study / "trials" / "00002").exists(), "an infeasible point costs no job"
    best = json.loads(drivetrain("recipe", "show", study / "best.yaml", "--json", "--plugin", PLUGIN).stdout)
    assert best["optimizer"]["lr"] == trials[0]["values"]["optimizer.lr"] and best["search"] is None
    assert best["evaluation"]["at_end"] is False and best["evaluation"]["cost"] == [], (
        "as the recipe had it, not as trials need it"
    )
    told = (study / "best.yaml").read_text()
    (study / "best.yaml").unlink()  # as before a first trial has ended
    done = drivetrain("search", "best", study, "--out", tmp_path / "best.yaml", "--plugin", PLUGIN)
    assert done.returncode == 0 and (tmp_path / "best.yaml").read_text() == told, done.stderr
    filed = json.loads((study / "trials" / "00000" / "run" / "run.json").read_text())
    assert (filed["name"], filed["group"], filed["job_type"]) == ("study-00000", "study", "trial")
    table = list(csv.DictReader(drivetrain("search", "export", study).stdout.splitlines()))
    assert [row["state"] for row in table] == [t["state"] for t in trials]
    again = drivetrain("search", "resume", study, "--plugin", PLUGIN)
    assert again.returncode == 0 and "all trials are done" in again.stderr
    refused(drivetrain("search", "resume", study, "--plugin", PLUGIN, "train.steps=3"), "cannot go on with another train.steps")
    frozen = (study / "recipe.yaml").read_text()
    (study / "recipe.yaml").write_text(frozen.replace("high: 0.01", "high: 0.02"))
    refused(
        drivetrain("search", "resume", study, "--plugin", PLUGIN), "cannot go on with another search.space.optimizer.lr.high"
    )
    (study / "recipe.yaml").write_text(frozen)
    refused(drivetrain("search", "importance", study), "fewer than 8 trials")


def tracked(run: Path) -> dict[str, list]:
    """What W&B recorded of a run, offline."""
    (log,) = run.glob("wandb/offline-run-*/run-*.wandb")
    return recorded(run, log.stem.removeprefix("run-"))[0]


def ended(executor: LocalExecutor) -> list[Report | Ended]:
    """What a job told until its end."""
    events: list = []
    end = time.monotonic() + 300
    while not any(isinstance(event, Ended) for event in events):
        assert time.monotonic() < end
        events += executor.poll()
    return events


def test_another_ones_weights_go_on_with_changed_hyperparameters(recipe, tmp_path):
    """The rate that the optimizer has after loading is that of the new values; nothing is trained again."""
    base = load_recipe(recipe, ["tracker={wandb: {mode: offline}}"], get_manager(Controls(files=(str(PLUGIN),), allowed=())))

    def write(values, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(write_yaml(trial_recipe(base, values).resolved()))

    context = ExecutorContext(folder=tmp_path, steps=2, figures=("miou", "train.loss"), own_figures={"miou": "miou"},
                              write_recipe=write, words=("--plugin", str(PLUGIN)))  # fmt: skip
    executor = LocalExecutor(LocalConfig(), context)
    executor.start(Job(0, {"optimizer.lr": 1e-3}, until=1))
    assert not executor.has_room()
    report, end = ended(executor)
    assert (report.step, end.how) == (1, "reached") and report.figures["train.loss"] > 0
    executor.start(Job(1, {"optimizer.lr": 5e-3}, until=2, weights=(0, 1), life=1))
    events = ended(executor)
    assert [(e.step if isinstance(e, Report) else e.how) for e in events] == [2, "reached"], events
    donor, taker = (open_run(tmp_path / "trials" / name) for name in ("00000/run", "00001/run-1"))
    filed = [tracked(tmp_path / "trials" / name)["run"][0] for name in ("00000/run", "00001/run-1")]
    assert [(one["run_group"], one["job_type"]) for one in filed] == [(tmp_path.name, "trial")] * 2
    assert filed[0]["run_id"] != filed[1]["run_id"], "it goes on from the other's weights, not with its curves"
    assert filed[1]["display_name"].endswith("00001-1")
    [first], [second] = ([r for r in run.records() if r["kind"] == "training"] for run in (donor, taker))
    assert (first["step"], second["step"]) == (1, 2)
    numbers = {name for name, value in first.items() if isinstance(value, (int, float))} - {"step"}
    assert numbers == set(FIGURES_OF_TRAINING), "what a search may name"
    assert second["lr"] / first["lr"] == pytest.approx(2 * 5e-3 / 1e-3), (
        "a warm-up of which the second step has twice the first's"
    )


def test_a_process_that_the_system_kills_for_memory_is_no_crash(tmp_path, monkeypatch):
    """The same SIGKILL: only the system's own count tells one from the other."""
    count = 7
    monkeypatch.setattr(jobs, "killed_for_memory", lambda: count)
    monkeypatch.setattr(OwnedJob, "_explained", 0)
    made = [OwnedJob(["plugins", "list"], 1, tmp_path / "trials" / f"0000{n}" / "run", tmp_path / "log", {}) for n in range(3)]
    for job in made:
        job._process.kill()
        job._process.wait()
    assert made[0].poll() == ("crashed", "ended by signal 9: Killed")
    count += 1
    how, why = made[1].poll()
    assert how == "out of memory" and "the system killed a process" in why
    assert made[2].poll()[0] == "crashed", "that one was another trial's, which ran beside it"


@pytest.mark.parametrize(("lines", "why"), [
    (["run a: tiny", "error: rank 1 has gone", "[2026] [ERROR] [launch.py:259:sigkill_handler] x exits with return code = -9"],
     "rank 1 has gone"),
    (["run a: tiny", "[2026] [ERROR] [launch.py:259:sigkill_handler] x exits with return code = -9"],
     "a rank ended by signal 9: Killed"),
    (["ZeroDivisionError: division by zero", "[2026] [ERROR] [launch.py:259:sigkill_handler] x exits with return code = 1"],
     "ZeroDivisionError: division by zero"),
    ([], "exit code 1"),
])  # fmt: skip
def test_why_a_job_crashed_is_what_its_ranks_said_last(tmp_path, lines, why):
    """Not what their launcher says of their command."""
    (tmp_path / "log").write_text("\n".join(lines))
    assert jobs.JobFiles(tmp_path / "run", tmp_path / "log").outcome(1) == ("crashed", why)


def test_who_counts_processes_killed_for_memory(tmp_path):
    def write(name, text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    assert jobs.killed_for_memory(str(tmp_path)) == 0
    write("proc/vmstat", "nr_free_pages 5\noom_kill 3\n")
    write("proc/self/cgroup", "1:memory:/a\n0::/b/c\n")
    assert jobs.killed_for_memory(str(tmp_path)) == 3
    write("sys/fs/cgroup/b/c/memory.events", "low 0\noom 9\noom_kill 1\noom_group_kill 0\n")
    assert jobs.killed_for_memory(str(tmp_path)) == 1, "other containers' kills are not this one's"


@pytest.mark.parametrize(("change", "words"), [
    (["search.space={optimizer.lrr: [1, 2]}"], ["no such key", "did you mean 'lr'"]),
    (["search.space={optimizer.lr: {low: 1e-2, high: 1e-3}}"], ["expected low below high"]),
    (["search.space={optimizer.lr: [fast, slow]}"], ["expected a number", '"fast"']),
    (["search.objective=miuo"], ["no metric 'miuo'", "did you mean 'miou'"]),
    (["search.objective=latency_ms"], ["no metric 'latency_ms'", "did you mean 'cost.latency_ms'"]),
    (["search.objective=[miou, cost.parameter]"], ["cost has no figure 'parameter'", "did you mean 'cost.parameters'"]),
    (["search.constraints={train.secnds: {max: 1}}"], ["train has no figure 'secnds'", "did you mean 'train.seconds'"]),
    (["search.objective={miou.iou.raod: max}"], ["no figure 'iou.raod'", "iou.road"]),
    (["search.ranks=4", "search.executor={slots: 2}"], ["4 ranks, but there are 2 slots"]),
    (["search.trials=null"], ["neither trials nor a budget"]),
    (["search.scheduler={plugin: median}", "search.objective=miou"], ["set evaluation.every"]),
    (["search.scheduler={plugin: pbt}", "search.objective=miou"], ["batch.micro cannot change while a trial goes on"]),
    (["search.space={model: null, batch.micro: null, optimizer: [{plugin: adamw}, {plugin: sgd}]}", "search.objective=miou",
      "search.given=[]", "search.scheduler={plugin: pbt, interval: 1}"], ["optimizer cannot change while a trial"]),
    (["search.given=[{optimizer.lr: 3}]"], ["a number from 0.0001 to 0.01"]),
    (["search.space={model.plugin: [lraspp_mobilenet_v3_larg, lraspp_mobilenet_v3_large]}"], ["no model", "v3_large'"]),
    (["search.space={train.steps: [4, 8]}"], ["search.space", "cannot vary"]),
    (["search.space={optimizer.lr: [.nan, 1.0]}"], ["a choice is no finite number"]),
    (["search.space={batch.micro: [2, 4], optimizer.lr: {low: 0.1, high: 1, when: {batch.micro: []}}}"], ["never comes true"]),
    (["search.constraints={miou: {min: 0.4, max: 0.1}}"], ["nothing is admissible"]),
    (["search.space={batch.micro: null}", "search.given=[]", "search.ranks=3"], ["search.ranks", "3 ranks do not divide"]),
    (["data.train.small.shards=nowhere/train"], ["data.train.small", "no folder nowhere/train here"]),
    (["search.budget=2 hours"], ["90s, 30m, 2h, 1.5d"]),
    (["search.warm_start=[nowhere]"], ["search.warm_start", "nowhere is no study"]),
    (["search.scheduler={plugin: asha, first: 100}", "search.objective=miou"], ["search.scheduler", "nowhere before"]),
    (["search.algorithm={plugin: cmaes}", "search.objective=[miou, cost.parameters]", "search.scheduler={}"],
     ["search.algorithm", "one objective"]),
    (["search.executor={plugin: simulated, objective: 'no.such:thing'}"], ["search.executor", "no function"]),
    (["search.algorithm={plugin: typ}"], ["no search algorithm 'typ'", "did you mean 'tpe'"]),
    (["search.algorithm={plugin: grid, points: 100000}"], ["a grid of more than 1000000 points", "take fewer points"]),
])  # fmt: skip
def test_what_is_wrong_is_told_before_the_first_trial(recipe, tmp_path, change, words):
    from drivetrain import UserError
    from drivetrain.search.study import Study

    manager = get_manager(Controls(files=(str(PLUGIN),), allowed=()))
    with pytest.raises(UserError) as caught:
        Study(load_recipe(recipe, change, manager), tmp_path / "study", lambda text: None)
    assert all(word in str(caught.value) for word in words), caught.value
    assert not (tmp_path / "study").exists()


def test_a_study_does_not_go_on_where_its_paths_lead_elsewhere(recipe, tmp_path, monkeypatch, shards):
    """Each trial would end as infeasible, since there is no such data."""
    from drivetrain import UserError
    from drivetrain.search.journal import Journal
    from drivetrain.search.study import Study

    manager, study = get_manager(Controls(files=(str(PLUGIN),), allowed=())), tmp_path / "study"
    study.mkdir()

    def begin() -> None:
        data = ["data.train.small.shards=./data/train", "data.val.small.shards=./data/val"]
        one = Study(load_recipe(recipe, data, manager), study, lambda text: None)
        one._check_same(journal := Journal(study / "journal"))
        journal.close()

    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    (tmp_path / "here" / "data").symlink_to(shards)
    monkeypatch.chdir(tmp_path / "here")
    begin()
    begin()
    monkeypatch.chdir(tmp_path / "there")
    with pytest.raises(UserError, match=r"no folder ./data/train here(.|\n)*cd .*here"):
        begin()
    for name in ("train", "val"):
        (tmp_path / "there" / "data" / name).mkdir(parents=True)
    with pytest.raises(UserError, match=r"data.train.small.shards, data.val.small.shards would lead(.|\n)*cd .*here"):
        begin()
    shutil.rmtree(tmp_path / "there" / "data")
    (tmp_path / "there" / "data").symlink_to(shards)
    begin()
