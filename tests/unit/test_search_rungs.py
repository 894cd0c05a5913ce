"""Trials that stop at rungs: what a rung's model knows of, and what a restart does not forget."""

from __future__ import annotations

from statistics import median

import pytest
from unit.search_made import PLANE, Failure, bowl, controller, loss

from drivetrain.search.journal import frame, read_journal


@pytest.mark.parametrize(("algorithm", "trials"), [("bayes", 40), ("tpe", 80)])
def test_a_rung_s_model_does_not_look_where_trials_stop_below(algorithm, trials):
    """It has seen none come up from there, and would take it for as good as the middle of those that did."""
    halving = {"eta": 2, "first": 8}
    one = controller(algorithm, "asha", trials, space=PLANE, objective=bowl, slots=2, steps=32, scheduler_settings=halving)
    one.run()
    assert one.proposer.told[-1] >= one.proposer.enough
    assert median(bowl(t.values, 1)["loss"] for t in one.ledger.trials[trials // 2 :]) < 6  # of random ones: 30


def test_a_rung_hears_once_of_each_trial_that_stops_or_fails_below():
    def cliff(values, step):
        if values["x"] > 4 and step > 8:
            raise Failure("diverged", "the loss is not finite")
        return bowl(values, step)

    one = controller("random", "asha", 60, space=PLANE, objective=cliff, steps=32, scheduler_settings={"eta": 2, "first": 8})
    heard: list[tuple[int, float]] = []
    one.proposer.levels[1].tell = lambda number, values, losses, violation: heard.append((number, losses[0]))
    one.run()
    came_up = {t.number for t in one.ledger.trials if t.step > 8}
    assert {t.number for t in one.ledger.trials if t.state == "diverged"} and len(came_up) > 10
    assert sorted({number for number, _ in heard}) == list(range(60))
    below = [(number, loss) for number, loss in heard if number not in came_up]
    assert len({number for number, _ in below}) == len(below)
    assert min(loss for _, loss in below) >= max(loss for number, loss in heard[:10] if number in came_up)


def test_a_trial_without_a_value_at_a_rung_goes_no_further():
    figures = lambda values, step: {"loss": None if values["kind"] == "plain" and step >= 4 else loss(values, step)["loss"]}
    for mode, state in (("stop", "pruned"), ("promote", "diverged")):
        settings = {"mode": mode, "eta": 2, "first": 4}
        one = controller(scheduler="asha", trials=20, objective=figures, steps=32, every=2, scheduler_settings=settings)
        one.run()
        plain = [t for t in one.ledger.trials if t.values["kind"] == "plain"]
        assert len(plain) > 5 and {(t.state, t.step <= 6) for t in plain} == {(state, True)}


def test_who_was_about_to_be_stopped_is_stopped_after_a_restart(tmp_path):
    set_up = {"scheduler": "asha", "trials": 16, "steps": 64, "every": 1, "scheduler_settings": {"mode": "stop"}}
    whole = controller(**set_up, journal=tmp_path / "whole")
    whole.run()
    whole.journal.close()
    records = read_journal(tmp_path / "whole")
    ends = [n for n, record in enumerate(records) if record["kind"] == "ended" and record["how"] == "pruned"]
    assert len(ends) > 5
    for cut in ends:
        path = tmp_path / f"cut-{cut}"
        path.write_bytes(b"".join(frame(record) for record in records[:cut]))
        again = controller(**set_up, journal=path)
        again.run()
        again.journal.close()
        trial = records[cut]["trial"]
        assert again.ledger.trials[trial].state == "pruned"
        assert again.ledger.trials[trial].step == whole.ledger.trials[trial].step
