"""Gates: passed, failed or undecided, from figures, slices and a paired bootstrap over scenes; and their mistakes named."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import SMALL

from drivetrain import DataError, RecipeError, open_recipe
from drivetrain.evaluate import build_metrics
from drivetrain.gates import check_gates, judge, judge_closely, table
from drivetrain.slices import Slices


class Toy:
    """The mean of a number a frame, of which every frame has two objects of the class b."""

    nothing = None

    def __init__(self, values, scenes=None):
        self.values = np.asarray(values, float)
        self.keys = [f"{k:03d}" for k in range(len(values))]
        self.scenes = scenes or self.keys

    def figures(self, times):
        frames = int(times.sum())
        mean = float(self.values @ times / frames) if frames else None
        return {"miou": mean, "iou": {"b": mean, "none": None}, "objects": {"b": 2 * frames, "c": 0}, "frames": frames,
                "at": "source"}  # fmt: skip


@pytest.fixture
def recipe(monkeypatch):
    monkeypatch.setenv("SMALL_SHARDS", "nowhere")
    return lambda gates, *more: open_recipe(SMALL, f"gates={{{gates}}}", "evaluation.slices={first: key < '010'}", *more)


def slices_of(toy):
    return Slices({"first": ""}, {"first": np.array([key < "010" for key in toy.keys])}, {k: n for n, k in enumerate(toy.keys)})


def verdicts(recipe, ours, theirs=None, draws=300):
    pair = {"miou": ours}, None if theirs is None else {"miou": theirs}
    results = {"miou": ours.figures(np.ones(len(ours.keys), np.int64))}
    return {v.gate: v for v in judge_closely(recipe, results, *pair, slices_of(ours), draws, 0)}


def test_limits_and_too_few(recipe):
    toy = Toy([0.2] * 10 + [0.6] * 10)
    gates = recipe(
        "miou: {min: 0.3}, low: {metric: miou, min: 0.5}, high: {metric: miou, max: 0.3}, "
        "part: {metric: miou, slice: first, min: 0.3}, few: {metric: miou, slice: first, min: 0.1, min_n: 11}, "
        "class: {metric: miou, figure: iou.b, min: 0.1, min_objects: 40}, less: {metric: miou, min_objects: 41, max: 1}, "
        "other: {metric: miou, figure: iou.none, min: 0.0}, drop: {metric: miou, max_drop: 1}"
    )
    found = verdicts(gates, toy)
    assert {name: one.verdict for name, one in found.items()} == {
        "miou": "passed", "low": "failed", "high": "failed", "part": "failed", "few": "undecided", "class": "passed",
        "less": "undecided", "other": "undecided", "drop": "undecided",
    }  # fmt: skip
    part = found["part"]
    assert part.value == pytest.approx(0.2) and part.frames == 10 and part.objects == 20 and part.what == "miou on first"
    low, high = found["miou"].interval
    assert 0.2 < low < found["miou"].value < high < 0.6
    assert [found[name].why for name in ("low", "few", "less")] == ["below min 0.5", "10 frames, min_n is 11",
                                                                   "40 objects, min_objects is 41"]  # fmt: skip
    lines = table(found.values())
    assert lines[0].split()[:4] == ["gate", "verdict", "figure", "value"] and lines[1].split()[:4] == ["miou", "passed", "miou",
                                                                                                    "0.4000"]  # fmt: skip
    assert "no reference" in found["drop"].why and not any(line.endswith(" ") for line in lines)


def test_a_drop_fails_only_where_all_of_its_interval_does(recipe):
    rng = np.random.default_rng(1)
    hard, loss = rng.normal(0, 100, 400), rng.normal(1, 2, 400)  # frames differ far more than the two models do
    ours, theirs = Toy(hard - loss), Toy(hard)
    rule = lambda limit: f"g{str(limit).replace('.', '_')}: {{metric: miou, max_drop: {limit}}}"
    limits = (0.5, round(loss.mean() - 0.01, 3), 1.5)
    found = list(verdicts(recipe(", ".join(map(rule, limits))), ours, theirs).values())
    assert [one.verdict for one in found] == ["failed", "undecided", "passed"]
    half = 1.96 * loss.std() / np.sqrt(400)
    assert found[0].change == pytest.approx(-loss.mean()) and found[0].reference == pytest.approx(hard.mean())
    assert found[0].change_interval == pytest.approx((-loss.mean() - half, -loss.mean() + half), abs=0.06)
    assert "its interval is not" in found[1].why
    better = verdicts(recipe("g: {metric: miou, max_drop: 0}, up: {metric: miou, figure: iou.b, max_rise: 0.5}"), theirs, ours)
    assert [one.verdict for one in better.values()] == ["passed", "failed"]
    of_one = Toy(hard - loss, ["drive"] * 400), Toy(hard, ["drive"] * 400)  # one drive tells of no other
    assert verdicts(recipe("g: {metric: miou, max_drop: 0.5}"), *of_one)["g"].verdict == "undecided"
    with pytest.raises(DataError, match="evaluated on other frames: 399"):
        verdicts(recipe("g: {metric: miou, max_drop: 0.5}"), ours, Toy(hard[:-1]))


def test_from_figures_on_record(recipe):
    gates = recipe("miou: {min: 0.3}, part: {metric: miou, slice: first, min: 0.3}, drop: {metric: miou, max_drop: 1}")
    results = {"miou": Toy([0.4]).figures(np.ones(1, np.int64))}
    say = lambda results: [one.verdict for one in judge(gates, results)]
    assert say(results) == ["passed", "undecided", "undecided"]
    assert say(results | {"slices": {"first": {"where": "", **results}}}) == ["passed", "passed", "undecided"]
    assert say({}) == ["failed", "undecided", "failed"]


@pytest.mark.parametrize(
    ("gates", "told"),
    [
        ("g: {metric: miou}", "expected min, max, max_drop or max_rise"),
        ("g: {min: 1}", "no metric 'g' in metrics"),
        ("miou: {min: 1, slice: frist}", "no slice 'frist' in evaluation.slices\n  did you mean 'first'"),
        ("miou: {max_rise: 1}", "of miou more is better\n  use max_drop"),
        ("miou: {max_drop: -1}", "expected a number greater than or equal to 0"),
        ("miou: {min: 1, min_n: 0}", "expected a number greater than or equal to 1"),
        ("miou: {min: 1, figure: iou.raod}", "miou has no figure 'iou.raod'\n  did you mean 'iou.road'"),
        ("miou: {min: 1, min_objects: 5}", "miou counts no objects"),
    ],
)
def test_mistakes_are_told_before_anything_is_trained(recipe, gates, told):
    with pytest.raises(RecipeError) as error:
        built = recipe(gates)
        check_gates(built, build_metrics(built))
    assert told in error.value.text()


def test_a_metric_that_knows_no_frames_has_no_slices(recipe):
    class Whole:
        def compute(self):
            return {"miou": None}

    for gate in ("slice: first, min: 1", "max_drop: 1"):
        with pytest.raises(RecipeError, match="knows its frames as a whole alone"):
            check_gates(recipe(f"miou: {{{gate}}}"), {"miou": Whole()})
    check_gates(recipe("miou: {min: 1}"), {"miou": Whole()})


def test_slices_are_of_the_index_and_add_up(shards):
    from drivetrain.data import default_loader

    loader, sources = default_loader(), open_recipe(SMALL).data_spec_sources("train")
    rows = loader.open(str(shards / "train")).index
    toy = Toy(range(len(rows)))
    toy.keys = rows.column("key").to_pylist()
    scene = rows.column("scene")[0].as_py()
    slices = Slices.open({"one": f"scene == '{scene}'", "rest": f"scene != '{scene}'"}, sources, loader)
    assert [slices.times(toy, name).sum() for name in ("one", "rest", None)] == [8, 16, 24]
    assert (slices.times(toy, "one") + slices.times(toy, "rest") == 1).all()
    with pytest.raises(RecipeError, match=r"slice bad: .*the index has no tags\.wether.*\n  did you mean 'tags\.weather'"):
        Slices.open({"bad": "tags.wether == 'rain'"}, sources, loader)
