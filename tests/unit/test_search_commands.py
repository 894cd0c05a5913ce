"""What `drivetrain search` says of a study that is there."""

from __future__ import annotations

import csv

import pytest
from conftest import SMALL
from unit.test_search_page import made

from drivetrain import Parameter, Space
from drivetrain.cli import run
from drivetrain.manager import get_manager
from drivetrain.recipe import load_recipe
from drivetrain.search.asking import read_search
from drivetrain.search.study import Study
from drivetrain.search.trials import Objectives


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """A study whose first trial was evaluated once."""
    monkeypatch.setenv("SMALL_SHARDS", str(tmp_path))
    simulated = "{plugin: simulated, objective: 'unit.search_made:miou', slots: 1, every: 1}"
    space = "{optimizer.lr: {low: 1e-4, high: 1e-2}, evaluation.panels: [1, 2]}"
    section = f"search={{space: {space}, budget: 0.5, executor: {simulated}}}"
    study = Study(load_recipe(SMALL, [section], get_manager()), tmp_path / "study", lambda text: None)
    study.run()
    assert study.ledger.best.step == 1
    return study


@pytest.mark.parametrize("empty", ["[]", "{}", "null"])
def test_no_objective_is_the_only_metric(begun, empty):
    asked = load_recipe(begun.folder.recipe, [f"search.objective={empty}"], get_manager())
    assert read_search(asked).objectives.directions == {"miou": "max"}


def test_the_best_is_a_recipe_also_before_a_trial_has_ended(begun, tmp_path):
    """While it runs there is none yet in its folder, or that of the one that was the best before."""
    (begun.folder.path / "best.yaml").unlink()
    assert run(["search", "best", str(begun.folder.path), "--out", str(tmp_path / "best.yaml")]) == 0
    best = load_recipe(tmp_path / "best.yaml").resolved()
    assert best["optimizer"]["lr"] == begun.ledger.best.values["optimizer.lr"] and best["search"] is None
    assert best["evaluation"]["panels"] == begun.ledger.best.values["evaluation.panels"] and not best["evaluation"]["at_end"]


def test_nobody_is_stopped_where_nobody_runs_it(begun, capsys):
    assert run(["search", "stop", str(begun.folder.path)]) == 0
    assert "nobody runs it" in capsys.readouterr().err and not begun.folder.stop_file.exists()
    begun.lease.__init__(begun.folder.path)
    begun.lease.take()
    assert run(["search", "stop", str(begun.folder.path)]) == 0 and begun.folder.stop_file.exists()
    begun.lease.release()


def test_a_table_tells_null_from_what_is_not_set(tmp_path):
    kinds = Parameter("kind", choices=(None, [1, "ü\n\"'<"], True))
    space = Space((kinds, Parameter("x", low=0.5, high=1.0, when=(("kind", (None,)),))))
    goals = Objectives({"loss": "min"}, {"loss": (None, 5.0)})
    folder, one = made(tmp_path / "a", space=space, objectives=goals, trials=12, objective=lambda v, step: {"loss": len(v)})
    assert run(["search", "export", str(folder.path), "--out", str(tmp_path / "a.csv")]) == 0
    head, *rows = csv.reader((tmp_path / "a.csv").open(newline=""))
    assert head == ["trial", "state", "step", "loss", "kind", "x", "origin", "why"], "each once"
    shown = {None: "null", True: "True"}
    for trial, row in zip(one.ledger.trials, rows, strict=True):
        kind, x = trial.values["kind"], trial.values.get("x", "")
        assert row[4:6] == [shown[kind] if kind in (None, True) else '[1, "\\u00fc\\n\\"\'<"]', str(x)]
    assert {row[4] for row in rows} >= {"null", "True"}
