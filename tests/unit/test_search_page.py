"""A study to look at: a page of it, and what its journal tells of its course."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pytest
from unit.search_made import SPACE, Failure, controller, loss

from drivetrain import Parameter, Space, UserError
from drivetrain.search.drawing import Choices, Scale, broken, scale_over
from drivetrain.search.folder import StudyFolder
from drivetrain.search.optuna_export import distribution_of, export_optuna, told_to_optuna
from drivetrain.search.page import write_study_page
from drivetrain.search.space import space_as_json, space_from
from drivetrain.search.story import Story
from drivetrain.search.trials import Objectives

RATES = Space((Parameter("lr", low=1e-4, high=1e-1, log=True), Parameter("decay", low=1e-4, high=1e-1, log=True)))


def made(folder, space=SPACE, objectives=None, steps=16, **set_up):
    """A study's folder, whose trials ran on a virtual clock; and its controller."""
    goals = objectives or Objectives({"loss": "min"})
    folder.mkdir(exist_ok=True)
    one = controller(journal=folder / "journal", space=space, objectives=goals, steps=steps, **set_up)
    one.journal.append({"kind": "study", "layout": 1, "objectives": dict(goals.directions), "steps": steps,
                        "limits": {n: list(limit) for n, limit in goals.limits.items()}, "space": space_as_json(space),
                        "parameters": [p.name for p in space.parameters], "rungs": list(one.scheduler.rungs)})  # fmt: skip
    one.run()
    one.journal.close()
    return StudyFolder(folder), one


class Page(HTMLParser):
    """A page's headings, marks by trial, rows of its last table; raises where tags do not close in order."""

    def __init__(self, text):
        super().__init__()
        self.headings, self.marks, self.rows, self._open = [], {}, [], []
        self.feed(text)
        self.close()
        assert not self._open, self._open

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if tag not in ("meta", "wbr", "circle", "path"):
            self._open.append(tag)
        if "data-t" in given:
            self.marks.setdefault(tag, set()).add(int(given["data-t"]))
        if tag == "table":
            self.rows = []
        elif tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_endtag(self, tag):
        if tag not in ("circle", "path"):
            assert self._open.pop() == tag

    def handle_data(self, data):
        if self._open[-1:] == ["h2"]:
            self.headings.append(data)
        elif self._open[-1:] in (["td"], ["th"]):
            self.rows[-1][-1] += data


def page_of(folder, tmp_path):
    out = tmp_path / "out" / "page.html"
    write_study_page(folder, out)
    text = out.read_text()
    assert not re.search(r"(src|href)=|@import|url\(|https?://", text), "it needs nothing else"
    return Page(text), text


def fails_deep(values, step):
    if values["depth"] == 6:
        raise Failure("out of memory", "no <room> for 6")
    return loss(values, step)


def test_a_study_with_rungs_and_failures(tmp_path):
    folder, one = made(tmp_path / "a", trials=60, scheduler="asha", objective=fails_deep)
    page, text = page_of(folder, tmp_path)
    assert page.headings == ["History", "Curves", "Rungs", "Importance", "Parallel coordinates", "Slices", "Trials"]
    trials = one.ledger.trials
    assert [row[:3] for row in page.rows[1:]] == [[str(t.number), t.state, str(t.step)] for t in trials]
    assert page.marks["circle"] == {t.number for t in trials if t.losses}
    failed = {t.number for t in trials if t.state == "out of memory"}
    assert failed and failed <= page.marks["path"] and "no <room> for 6" in {row[-1] for row in page.rows}
    texts = json.loads(re.search(r'id="texts">(.*?)</script>', text)[1])
    assert len(texts) == 60 and "no <room> for 6" in texts[min(failed)]
    rungs = {step: sum(t.losses_at(step) is not None for t in trials) for step in one.scheduler.rungs}
    for step, count in rungs.items():
        assert f"<td class=number>{step}</td><td class=number>{count}</td>" in text


@pytest.mark.parametrize("trials", [0, 1])
def test_a_study_that_has_hardly_begun(tmp_path, trials):
    folder, _ = made(tmp_path / "a", trials=trials)
    page, _ = page_of(folder, tmp_path)
    assert len(page.rows) == 1 + trials and ("History" in page.headings) == bool(trials)


def test_a_front_of_several_objectives(tmp_path):
    def figures(values, step):
        return {"accuracy": -loss(values, step)["loss"], "size": values["depth"] * values.get("width", 16)}

    goals = Objectives({"accuracy": "max", "size": "min"}, {"size": (None, 500.0)})
    folder, one = made(tmp_path / "a", trials=40, objective=figures, objectives=goals)
    _, text = page_of(folder, tmp_path)
    front = set(map(int, re.findall(r'class="best" data-t="(\d+)"', text)))
    assert front == {t.number for t in one.ledger.front} and len(front) > 1
    beyond = set(map(int, re.findall(r'class="complete hollow" data-t="(\d+)"', text)))
    assert beyond == {t.number for t in one.ledger.trials if t.figures["size"] > 500}


def test_the_lineage_of_a_population(tmp_path):
    """Every stretch of the best one's line begins where the one before was, with the weights on record."""
    rates = lambda values, step: {"loss": abs(values["lr"] - 1e-2 / step) + values["decay"]}
    folder, one = made(tmp_path / "a", space=RATES, trials=8, scheduler="pbt", objective=rates,
                       scheduler_settings={"population": 8, "interval": 2})  # fmt: skip
    story = Story(folder)
    assert story.has_lineage
    for life in story.lives:
        if life.parent is not None:
            assert any(step == life.begin for step, _ in life.parent.curve)
        assert [step for step, _ in life.curve] == list(range(life.begin + 2, life.begin + 2 + 2 * len(life.curve), 2))
    line = list(story.best_life().line())
    assert line[0].values == one.ledger.best.values and line[-1].begin == 0
    page, text = page_of(folder, tmp_path)
    assert "Lineage" in page.headings and text.count("<td class=number>0 to ") == 1


def test_the_best_so_far_only_gets_better(tmp_path):
    folder, one = made(tmp_path / "a", trials=30)
    best = Story(folder).best
    assert [losses for _, losses in best] == sorted((losses for _, losses in best), reverse=True)
    assert best[-1][1] == one.ledger.best.losses and best[-1][0] <= one.ledger.spent


def test_spaces_are_read_back():
    space = Space((*SPACE.parameters, Parameter("m", choices=({"plugin": "a"}, None, 2, 2.5)), Parameter("s", step=0.25)))
    assert space_from(json.loads(json.dumps(space_as_json(space)))) == space


def test_a_mapping_is_the_choice_that_it_equals_in_optuna_too():
    heads = Parameter("head", choices=({"plugin": "a", "width": 1}, None))
    told = told_to_optuna(heads, {"width": 1, "plugin": "a"})
    assert distribution_of(heads)._contains(distribution_of(heads).to_internal_repr(told))


def test_choices_that_are_mappings_are_told_apart():
    engines = ({"plugin": "deepspeed", "zero_stage": 1}, {"plugin": "deepspeed", "zero_stage": 3}, {"plugin": "ddp"}, None)
    assert [text for _, text in Choices(engines, 0, 1).ticks()] == ["deepspeed 1", "deepspeed 3", "ddp", "null"]
    assert [text for _, text in Choices(({"plugin": "ddp"},), 0, 1).ticks()] == ['{"plugin": "ddp"}']


def test_scales_and_names():
    assert [text for _, text in Scale(1e-5, 1e-1, 0, 100, log=True).ticks()] == ["1e-05", "0.0001", "0.001", "0.01", "0.1"]
    assert [round(x) for x, _ in Scale(0, 10, 0, 100).ticks()] == [0, 20, 40, 60, 80, 100]
    far = scale_over([0.1 * n for n in range(20)] + [1e6], 0, 100, best_low=True)
    assert far.high < 10 and far.at(1e6) == 100, "one that lies far off does not press the others together"
    assert broken("transforms.photometric_distortion.strength", 16) == [
        "transforms.",
        "photometric_",
        "distortion.",
        "strength",
    ]


@pytest.mark.parametrize("several", [False, True])
def test_optuna_reads_what_is_exported(tmp_path, several):
    import optuna
    from optuna.trial import TrialState

    space = Space((*SPACE.parameters, Parameter("head", choices=({"plugin": "a"}, None))))
    goals = Objectives({"score": "max", **({"size": "min"} if several else {})}, {"size": (None, 4.0)})
    figures = lambda values, step: {"score": -fails_deep(values, step)["loss"], "size": float(values["depth"])}
    folder, one = made(tmp_path / "mine", space=space, objectives=goals, trials=15, objective=figures,
                       scheduler="none" if several else "asha")  # fmt: skip
    out = tmp_path / "study.db"
    assert export_optuna(folder, out) == "mine"
    study = optuna.load_study(study_name="mine", storage=f"sqlite:///{out}")
    assert [d.name for d in study.directions] == ["MAXIMIZE", "MINIMIZE"][: 1 + several]
    assert study.metric_names == list(goals.directions)
    states = {"complete": TrialState.COMPLETE, "paused": TrialState.PRUNED, "out of memory": TrialState.FAIL}
    for ours, theirs in zip(one.ledger.trials, study.get_trials(), strict=True):
        assert theirs.state == states[ours.state] and theirs.user_attrs["outcome"] == ours.state
        assert theirs.params == {**ours.values, "head": json.dumps(ours.values["head"]) if ours.values["head"] else None}
        assert set(theirs.distributions) == set(ours.values) and theirs.distributions["lr"].log
        if ours.losses is not None:
            assert theirs.values == list(goals.shown(ours.losses).values())
            assert theirs.constraints == {"limits": max(0.0, ours.figures["size"] - 4.0) / 4.0}
            assert several or theirs.intermediate_values == {step: -loss[0] for step, loss in ours.curve}
    assert {t.number for t in study.best_trials} == {t.number for t in one.ledger.front}
    with pytest.raises(UserError, match="is there already"):
        export_optuna(folder, out)
