"""The loop of a study: outcomes, budgets, rungs, and going on from any record of its journal."""

from __future__ import annotations

import random

import pytest
from unit.search_made import PLANE, SPACE, Failure, SimulatedExecutor, bowl, controller, loss, plugin, values_of

from drivetrain.search.controller import Limits
from drivetrain.search.journal import frame, read_journal
from drivetrain.search.trials import Objectives


def test_every_trial_runs_once_and_the_best_is_the_best():
    one = controller(trials=30)
    assert one.run() == "all trials are done"
    trials = one.ledger.trials
    assert [t.state for t in trials] == ["complete"] * 30
    assert one.executor.steps_done == 30 * 16
    assert one.ledger.best.losses == min(t.losses for t in trials)
    assert len({str(t.values) for t in trials}) == 30
    assert all(("width" in t.values) == (t.values["kind"] == "wide") for t in trials)


def plays_up(values, step):
    """Each way to end, by depth."""
    how = {2: "out of memory", 3: "diverged", 5: "crashed"}.get(values["depth"])
    if how:
        raise Failure(how, f"depth {values['depth']}")
    return loss(values, step)


def test_outcomes_are_told_apart_and_only_crashes_are_tried_again():
    starts: list[int] = []

    class Counting(SimulatedExecutor):
        def start(self, job):
            starts.append(job.number)
            super().start(job)

    refused = lambda values: "too wide" if values.get("width") == 128 else None
    one = controller(trials=40, executor=Counting(plays_up, 3), refusal=refused, limits=Limits(trials=40, retries=2))
    one.run()
    for trial in one.ledger.trials:
        expected = {2: "out of memory", 3: "diverged", 5: "crashed"}.get(trial.values["depth"], "complete")
        expected = "infeasible" if trial.values.get("width") == 128 else expected
        assert trial.state == expected
        tried = {"infeasible": 0, "crashed": 3}.get(expected, 1)
        assert starts.count(trial.number) == tried
    assert set(one.ledger.counts) >= {"complete", "infeasible", "crashed", "diverged", "out of memory"}


@pytest.mark.parametrize("algorithm", ["random", "tpe"])
@pytest.mark.parametrize("scheduler", ["none", "asha", "hyperband", "median", "pbt"])
def test_a_study_goes_on_from_any_record(tmp_path, algorithm, scheduler):
    """A controller killed anywhere: every trial comes to its end once, what was on record stays, nothing runs twice at once."""
    settings = {"pbt": {"population": 6, "interval": 4}, "median": {"startup": 2}}.get(scheduler, {})
    set_up = {"algorithm": algorithm, "scheduler": scheduler, "trials": 12 if scheduler != "pbt" else 6,
              "scheduler_settings": settings, "every": 2 if scheduler == "median" else None}  # fmt: skip
    whole = controller(**set_up, journal=tmp_path / "whole")
    whole.run()
    whole.journal.close()
    frames = [frame(record) for record in read_journal(tmp_path / "whole")]
    for cut in random.Random(scheduler).sample(range(1, len(frames)), 6):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(b"".join(frames[:cut]) + frames[cut][:-3])
        again = controller(**set_up, journal=path)
        again.run()
        again.journal.close()
        counts = {state: n for state, n in again.ledger.counts.items() if n}
        assert set(counts) <= {"complete", "pruned", "paused"} and sum(counts.values()) == set_up["trials"]
        assert read_journal(path)[:cut] == read_journal(tmp_path / "whole")[:cut]
        if algorithm == "random" and scheduler != "pbt":
            assert values_of(again) == values_of(whole)
        if scheduler == "none":
            assert again.executor.steps_done <= whole.executor.steps_done  # what was complete was not trained again


def test_a_population_goes_on_where_the_controller_died_before_a_member_had_saved(tmp_path):
    """Its evaluation is on record, the end of its job is not: the job runs again and has nothing new to tell."""
    set_up = {"scheduler": "pbt", "trials": 5, "scheduler_settings": {"population": 5, "interval": 4}}
    whole = controller(**set_up, journal=tmp_path / "whole")
    whole.run()
    whole.journal.close()
    records = read_journal(tmp_path / "whole")
    for cut in (n + 1 for n, record in enumerate(records) if record["kind"] == "reported"):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(b"".join(frame(record) for record in records[:cut]))
        again = controller(**set_up, journal=path)
        again.run()
        again.journal.close()
        assert again.ledger.counts["complete"] == 5, (cut, again.ledger.counts)


def test_a_population_never_trains_what_the_recipe_refuses():
    from drivetrain import Parameter, Space

    ran: list[bool] = []

    class Noting(SimulatedExecutor):
        def start(self, job):
            ran.append(job.values["x"] <= job.values["y"])
            super().start(job)

    plane = Space((Parameter("x", low=0.1), Parameter("y", low=0.1)))
    away = lambda values, step: {"loss": (values["x"] - 0.6) ** 2 + (values["y"] - 0.6) ** 2}
    one = controller(
        "random", "pbt", 8, space=plane, executor=Noting(away, 3), scheduler_settings={"interval": 2, "resample": 1.0},
        refusal=lambda values: "x is above y" if values["x"] > values["y"] else None,
    )  # fmt: skip
    one.run()
    assert all(ran) and any(trial.life for trial in one.ledger.trials)


@pytest.mark.parametrize("algorithm", ["nsga2", "cmaes", "qmc"])
def test_an_algorithm_that_counts_its_points_proposes_the_same_ones_after_a_restart(tmp_path, algorithm):
    """Its generations, its distribution, its place in the sequence are those of a study that nothing happened to."""
    settings = {"nsga2": {"population": 6}, "cmaes": {"startup": 4}}.get(algorithm, {})
    set_up = {"algorithm": algorithm, "algorithm_settings": settings, "slots": 1, "space": PLANE, "objective": bowl}
    whole = controller(**set_up, trials=40, journal=tmp_path / "whole")
    whole.run()
    whole.journal.close()
    frames = [frame(record) for record in read_journal(tmp_path / "whole")]
    for cut in (len(frames) // 3, 2 * len(frames) // 3):
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(b"".join(frames[:cut]))
        again = controller(**set_up, trials=40, journal=path)
        again.run()
        again.journal.close()
        assert values_of(again) == values_of(whole)


class Saving(SimulatedExecutor):
    """Its jobs are gone, and their checkpoints there, only some polls after their last report, as real ones'."""

    def __init__(self, *args, **settings):
        super().__init__(*args, **settings)
        self.saving: list[tuple[int, object]] = []
        self.waits = random.Random(1)

    def poll(self):
        due = [end for at, end in self.saving if at <= 1]
        self.saving = [(at - 1, end) for at, end in self.saving if at > 1]
        events = super().poll()
        self.saving += [(self.waits.randrange(1, 6), event) for event in events if hasattr(event, "how")]
        return [event for event in events if not hasattr(event, "how")] + due

    def start(self, job):
        ending = [end.number for _, end in self.saving]
        assert job.number not in ending, "its last job still runs"
        takes_weights = job.weights is not None and self.lives[job.number][0] != job.life
        assert not takes_weights or job.weights[0] not in ending, "the weights are not written yet"
        super().start(job)


@pytest.mark.parametrize("scheduler", ["asha", "hyperband", "pbt"])
def test_nobody_goes_on_from_a_job_that_still_saves(scheduler):
    trials, settings = (6, {"population": 6, "interval": 2}) if scheduler == "pbt" else (30, {"eta": 2})
    one = controller(scheduler=scheduler, scheduler_settings=settings, trials=trials, executor=Saving(loss, 5))
    assert one.run() == "all trials are done"
    assert one.ledger.counts["complete"] >= 1
    assert {state for state, n in one.ledger.counts.items() if n} <= {"complete", "paused"}


@pytest.mark.parametrize("algorithm", ["bayes", "tpe", "cmaes", "nsga2", "genetic"])
def test_an_algorithm_learns_of_a_point_that_it_had_given_up(algorithm):
    """As the model of a rung does: a trial that waits below is forgotten, and told once it has come up."""
    from statistics import median

    from drivetrain import AlgorithmContext

    settings = {"nsga2": {"population": 6}, "cmaes": {"startup": 4}}.get(algorithm, {})
    one, asked = plugin("search_algorithm", algorithm, **settings)(AlgorithmContext(PLANE, 1)), []
    for number in range(80):
        values = one.ask(number)
        asked.append(bowl(values, 1)["loss"])
        one.begin(number, values)
        one.forget(number)
        one.tell(number, values, (asked[-1],))
    assert median(asked[-20:]) < 12  # of random ones: 30


def test_a_study_rests_and_goes_on_with_more_trials(tmp_path):
    steps = iter(range(100))
    one = controller(trials=10, journal=tmp_path / "journal", asked_to_stop=lambda: "enough" if next(steps) > 6 else None)
    assert one.run() == "enough" and not one.ledger.running and one.ledger.waiting
    assert one.ledger.counts["complete"] < 10
    one.journal.close()
    again = controller(trials=15, journal=tmp_path / "journal")
    again.run()
    assert again.ledger.counts["complete"] == 15


def test_a_full_disk_is_no_trial_s_fault(tmp_path):
    """The study rests; once there is room every trial goes on, and none has failed."""
    evaluated = iter(range(100))

    def filling(values, step):
        if next(evaluated) >= 4:
            raise Failure("no space", "the checkpoint of step 16 could not be written")
        return loss(values, step)

    one = controller(trials=10, journal=tmp_path / "journal", objective=filling, limits=Limits(trials=10, retries=0))
    assert "make room and resume the study: the checkpoint of step 16" in one.run() and one.code == 6
    assert {state: n for state, n in one.ledger.counts.items() if n} == {"complete": 4, "waiting": 3}
    one.journal.close()
    again = controller(trials=10, journal=tmp_path / "journal")
    assert again.run() == "all trials are done" and again.code == 0
    assert again.ledger.counts["complete"] == 10


def test_a_study_whose_jobs_all_fail_gives_up():
    def failing(values, step):
        raise Failure("infeasible", "no such file")

    one = controller(trials=100, objective=failing)
    assert "5 jobs in a row failed before any evaluation: no such file" in one.run() and one.code == 1
    assert len(one.ledger.trials) < 10


def test_a_budget_of_seconds_ends_it_over_all_sessions(tmp_path):
    limits = Limits(seconds=100)
    one = controller(trials=None, journal=tmp_path / "journal", limits=limits)
    assert "budget of 100 s" in one.run()
    assert 100 <= one.ledger.spent < 140
    one.journal.close()
    again = controller(trials=None, journal=tmp_path / "journal", limits=limits)
    again.run()
    assert not again.executor.steps_done and again.ledger.spent == pytest.approx(one.ledger.spent)


def test_a_finite_space_is_exhausted_without_a_repetition():
    from drivetrain import Parameter, Space

    few = Space((
        Parameter("depth", low=2, high=6, integer=True), Parameter("kind", choices=("plain", "wide")),
        Parameter("lr", choices=(1e-3, 1e-2)), Parameter("width", choices=(64,), when=(("kind", ("wide",)),)),
    ))  # fmt: skip
    for algorithm in ("random", "grid", "tpe"):
        one = controller(algorithm, trials=500, space=few)
        assert one.run() == "every point of the space was tried"
        assert len(one.ledger.trials) == few.size == 20


def test_given_points_come_first_and_what_they_leave_out_is_drawn():
    one = controller(trials=3, given=[{"lr": 1e-3}, {"depth": 4, "kind": "wide", "width": 128, "lr": 1e-3}])
    one.run()
    first, second, third = one.ledger.trials
    assert first.values["lr"] == 1e-3 and set(first.values) >= {"depth", "kind"}
    assert second.values == {"lr": 1e-3, "depth": 4, "kind": "wide", "width": 128}
    assert [first.origin, third.origin] == ["given", "random"]


def test_a_study_whose_points_are_all_refused_gives_up():
    one = controller(trials=None, limits=Limits(seconds=1e9), refusal=lambda values: "no such thing")
    assert "100 points in a row were refused: no such thing" in one.run()


def test_several_objectives_have_a_front_and_limits_count():
    def figures(values, step):
        return {"accuracy": -loss(values, step)["loss"], "size": values["depth"] * values.get("width", 16)}

    goals = Objectives({"accuracy": "max", "size": "min"}, {"size": (None, 500.0)})
    for algorithm in ("nsga2", "genetic", "tpe", "random"):
        one = controller(algorithm, trials=40, objective=figures, objectives=goals)
        one.run()
        front = one.ledger.front
        assert len(front) >= 2 and all(t.figures["size"] <= 500 for t in front)
        admissible = [t for t in one.ledger.trials if t.figures["size"] <= 500]
        for t in front:
            assert not any(all(a < b for a, b in zip(other.losses, t.losses)) for other in admissible)


@pytest.mark.parametrize(("algorithm", "least"), [("tpe", 0.8), ("cmaes", 1.0), ("qmc", 1.0)])
def test_algorithms_learn_or_at_least_cover(algorithm, least):
    from statistics import median

    def best(name, seed):
        one = controller(name, trials=40, seed=seed, slots=2)
        one.run()
        return one.ledger.best.losses[0]

    ours, chance = (median(best(name, seed) for seed in range(3)) for name in (algorithm, "random"))
    assert ours <= least * chance + 0.1, (ours, chance)


@pytest.mark.parametrize("algorithm", ["grid", "qmc"])
def test_rungs_do_not_begin_a_sequence_anew(algorithm):
    """Chance drew points beside the grid, and as unevenly as it does, while the first ones came again."""
    whole, halved = (controller(algorithm, scheduler, trials=60, slots=1) for scheduler in ("none", "asha"))
    whole.run()
    halved.run()
    assert max(halved.proposer.told[1:]) >= halved.proposer.enough
    assert values_of(halved) == values_of(whole)
    assert {trial.origin for trial in halved.ledger.trials} == {algorithm}


def test_limits_count_for_what_was_stopped_too():
    """An algorithm hears of a pruned trial what it passes, as of a complete one."""
    goals = Objectives({"loss": "min"}, {"size": (None, 100.0)})
    figures = lambda values, step: loss(values, step) | {"size": 50.0 * values["depth"]}
    one = controller(scheduler="median", trials=40, objective=figures, objectives=goals, every=2)
    told: dict[int, float] = {}
    one.proposer.levels[0].tell = lambda number, values, losses, violation: told.update({number: violation})
    one.run()
    assert one.ledger.counts["pruned"] > 5
    assert told == {t.number: pytest.approx(max(0, 50 * t.values["depth"] - 100) / 100) for t in one.ledger.trials}


def test_limits_count_alike_whatever_their_units():
    goals = Objectives(
        {"accuracy": "max"}, {"bytes": (None, 8e9), "ms": (None, 20.0), "recall": (0.5, None), "bias": (None, 0.0)}
    )
    figures = {"bytes": 8e9, "ms": 20.0, "recall": 0.5, "bias": 0.0}
    assert goals.violation(figures) == 0
    assert goals.violation(figures | {"bytes": 12e9}) == goals.violation(figures | {"ms": 30.0}) == 0.5
    assert goals.violation(figures | {"recall": 0.25, "bias": 0.25}) == 0.75
    assert goals.violation({}) == float("inf")


def test_a_thousand_slots_are_served():
    """At the size of a cluster; what a decision costs is told by `make bench-hpo`."""
    one = controller(scheduler="asha", trials=2000, slots=1000, steps=64)
    one.run()
    assert len(one.ledger.trials) == 2000 and one.ledger.counts["complete"] > 10
    assert one.ledger.best.losses == min(t.losses for t in one.ledger.trials if t.state == "complete")


def test_halving_that_stops_pays_no_start_up_twice():
    one = controller(scheduler="asha", trials=60, steps=64, every=1, scheduler_settings={"mode": "stop"})
    one.run()
    assert one.ledger.counts["pruned"] > 30 and one.ledger.counts["complete"] >= 1 and not one.ledger.counts["paused"]
    assert one.executor.steps_done < 0.5 * 60 * 64
    best = min(loss(t.values, 64)["loss"] for t in one.ledger.trials)
    assert one.ledger.best.losses[0] <= 1.5 * best + 0.1


def test_space_and_units_fit():
    rng = random.Random(3)
    for parameter in SPACE.parameters:
        for _ in range(50):
            value = parameter.at(rng.random())
            assert parameter.admits(value)
            assert parameter.at(parameter.unit(value)) == pytest.approx(value) or parameter.choices
            if parameter.choices:
                assert parameter.at(parameter.unit(value)) == value
