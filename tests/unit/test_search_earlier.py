"""Warm start: what earlier studies saw teaches the algorithm, is told apart from this study's, and outlives their folders."""

from __future__ import annotations

import json
import shutil

import pytest
from conftest import SMALL
from unit.search_made import PLANE, SPACE, bowl, controller, values_of

from drivetrain import Rng, UserError
from drivetrain.manager import get_manager
from drivetrain.recipe import load_recipe
from drivetrain.search.earlier import Observation
from drivetrain.search.journal import read_journal
from drivetrain.search.page import write_study_page
from drivetrain.search.study import Study

SPACES = "{optimizer.lr: {low: %s, high: 1e-1, log: true}, batch.micro: [2, %s]}"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """Makes a study over a real recipe whose trials a function plays; what it says is in ``said``."""
    monkeypatch.setenv("SMALL_SHARDS", str(tmp_path))
    said: list[str] = []

    def made(name, *changes, space=SPACES % ("1e-5", 4), trials=30):
        simulated = "{plugin: simulated, objective: 'unit.search_made:miou', slots: 3}"
        section = f"search={{space: {space}, trials: {trials}, algorithm: {{plugin: genetic}}, executor: {simulated}}}"
        return Study(load_recipe(SMALL, [section, *changes], get_manager()), tmp_path / name, said.append)

    made.said, made.at = said, tmp_path
    return made


def warm(*paths):
    return f"search.warm_start={json.dumps([str(path) for path in paths])}"


def test_what_is_known_is_taken_as_far_as_it_fits(study):
    old = study("old")
    old.run()
    lives = [t.values for t in old.ledger.trials]
    new = study("new", warm(old.folder.path), space=SPACES % ("1e-4", 8), trials=12)
    fitting = [v for v in lives if v["optimizer.lr"] >= 1e-4 and v["batch.micro"] == 2]
    low = sum(v["optimizer.lr"] < 1e-4 for v in lives)
    assert len(fitting) >= 3 and low >= 3
    [line] = [text for text in study.said if text.startswith("warm start")]
    assert f"{len(fitting)} of 30 trials" in line
    assert f"{low} (optimizer.lr is not a number from 0.0001 to 0.1)" in line and "(batch.micro is not one of 2, 8)" in line
    new.run()
    assert [t.number for t in new.ledger.trials] == list(range(12)) and len(new.ledger.seen) == 12
    about, *records = read_journal(new.folder.journal)
    assert [one["values"] for one in about["earlier"]] == fitting
    assert {one["step"] for one in about["earlier"]} == {10} and not any(r.get("trial", 0) < 0 for r in records)
    best = max(t.figures["miou"] for t in new.ledger.trials if t.losses)
    assert new.folder.read()[1].best.figures["miou"] == best
    write_study_page(new.folder, study.at / "page.html")
    shown = (study.at / "page.html").read_text()
    on_page = lambda found: {json.dumps(v["optimizer.lr"]) in shown for v in found}
    assert on_page(values_of(new)) == {True} and on_page(fitting) == {False}, "the page is of this study's trials"


def test_it_goes_on_without_the_earlier_study(study):
    old = study("old", trials=20)
    old.run()
    new = study("new", warm(old.folder.path), trials=6)
    new.run()
    shutil.rmtree(old.folder.path)
    again = study("new", warm(old.folder.path), trials=10)
    assert again.earlier == new.earlier and len(again.earlier) == 20
    again.run()
    assert len(again.ledger.trials) == 10


def test_what_one_of_the_studies_does_not_vary_is_what_its_recipe_says(study):
    """A study over fewer keys, and over others, learns of those trials that were at its own recipe's values."""
    narrow = "{optimizer.lr: {low: 1e-5, high: 1e-1, log: true}}"
    old = study("old", "batch.micro=2", space=narrow, trials=6)
    old.run()
    wider = study("wider", warm(old.folder.path), space=SPACES % ("1e-5", 4))
    assert [one.values for one in wider.earlier] == [{**t.values, "batch.micro": 2} for t in old.ledger.trials]
    wider.run()
    other = study("other", warm(wider.folder.path), "batch.micro=4", space=narrow)
    at_4 = [{"optimizer.lr": t.values["optimizer.lr"]} for t in wider.ledger.trials if t.values["batch.micro"] == 4]
    assert [one.values for one in other.earlier] == at_4 and 3 <= len(at_4) < 30
    assert f"{30 - len(at_4)} (another batch.micro)" in next(t for t in reversed(study.said) if t.startswith("warm start"))
    apart = study("apart", warm(old.folder.path), space="{optimizer.lr: {low: 1e-5, high: 1e-1}, batch.micro: [4, 8]}")
    assert apart.earlier == [] and "6 (batch.micro is not one of 4, 8)" in study.said[-2]


@pytest.mark.parametrize(("change", "words"), [
    ((warm("nowhere"),), ["nowhere is no study"]),
    (("search.objective=train.loss",), ["no figure 'train.loss'", "they have: miou"]),
])  # fmt: skip
def test_what_cannot_be_read_is_told_before_the_first_trial(study, change, words):
    old = study("old", trials=3)
    old.run()
    with pytest.raises(UserError) as caught:
        study("new", warm(old.folder.path), *change)
    assert all(word in str(caught.value) for word in words), caught.value
    assert not (study.at / "new").exists()


def test_trials_of_another_length_teach_nothing(study):
    old = study("old", trials=4)
    old.run()
    new = study("new", warm(old.folder.path), "train.steps=40", "search.scheduler={plugin: asha, eta: 2, first: 10}")
    assert [one.step for one in new.earlier] == [10] * 4, "the first rung is where they were compared"
    longer = study("longer", warm(old.folder.path), "train.steps=15")
    assert longer.earlier == [] and "4 (no figures at the steps of this study, but at 10)" in study.said[-2]


@pytest.mark.parametrize(("algorithm", "least"), [("bayes", 6), ("tpe", 6), ("genetic", 6), ("nsga2", 5)])
def test_algorithms_learn_of_it(algorithm, least):
    """Told of many points of which those near one are the best, the first proposals are near it."""
    drawn = [SPACE.draw(Rng(n, "earlier")) for n in range(60)]
    losses = [((0.0 if v["kind"] == "wide" else 9.0) + abs(v["depth"] - 3),) for v in drawn]
    known = [Observation(-1 - n, values, 16, loss) for n, (values, loss) in enumerate(zip(drawn, losses))]

    def liked(earlier):
        one = controller(algorithm, trials=8, slots=8, earlier=earlier)
        one.run()
        return sum(v["kind"] == "wide" and abs(v["depth"] - 3) <= 1 for v in values_of(one))

    assert liked(known) >= least > liked(())


def test_the_evolution_strategy_begins_where_earlier_trials_were_good():
    def median_loss(earlier):
        one = controller("cmaes", trials=8, slots=1, space=PLANE, objective=bowl, earlier=earlier)
        one.run()
        return sorted(trial.losses[0] for trial in one.ledger.trials[1:])[3]

    drawn = [PLANE.draw(Rng(n, "earlier")) for n in range(60)]
    known = [Observation(-1 - n, values, 16, (bowl(values, 16)["loss"],)) for n, values in enumerate(drawn)]
    assert median_loss(known) < 0.3 * median_loss(())
