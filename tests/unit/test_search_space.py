"""Values of a space: written in one way, within their bounds, and each point tried once."""

from __future__ import annotations

import json
import warnings

import pytest
from unit.search_made import controller, values_of

from drivetrain import Parameter, Space

STEPS = Space((
    Parameter("x", low=0.0, high=0.5, step=0.1), Parameter("y", low=-1.0, high=0.25, step=0.5),
    Parameter("n", low=1, high=9, step=3, integer=True), Parameter("z", low=0.0, high=1.0, step=0.5, when=(("x", (0.3,)),)),
))  # fmt: skip


def test_steps_are_decimal_ones():
    assert list(STEPS["x"].every_value()) == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert list(Parameter("p", low=-1.0, high=1e-3, step=1e-3).every_value())[-3:] == [-1e-3, 0.0, 1e-3]
    assert list(STEPS["n"].every_value()) == [1, 4, 7]
    assert STEPS["x"].nearest(0.1 + 0.2) == STEPS["x"].at(0.6) == 0.3


def test_a_condition_on_a_step_holds_however_its_number_is_written():
    written_as_int = Space(
        (Parameter("x", low=0.0, high=2.0, step=0.5), Parameter("z", low=0.0, high=1.0, when=(("x", (1,)),)))
    )
    assert any("z" in STEPS.draw(rng) for rng in _rngs(40)) and any("z" in written_as_int.draw(rng) for rng in _rngs(40))
    assert sum("z" in point for point in STEPS.every_point()) == 3 * 3 * 3


def _rngs(count):
    from drivetrain import Rng

    return (Rng("space", n) for n in range(count))


@pytest.mark.parametrize("low", [1 / 3, 1.23456789e-5])
def test_what_is_rounded_for_reading_stays_within_the_bounds(low):
    """As Optuna insists, and a warm start."""
    parameter = Parameter("lr", low=low, high=2 * low, log=True)
    assert parameter.admits(parameter.at(0.0)) and parameter.admits(parameter.at(1.0))
    for algorithm in ("grid", "tpe"):  # both given the bounds
        one = controller(algorithm, trials=4, space=Space((parameter,)), objective=lambda values, step: {"loss": 1.0},
                         given=[{"lr": parameter.at(0.0)}, {"lr": parameter.at(1.0)}])  # fmt: skip
        one.run()
        assert one.ledger.counts["complete"] == 4


def test_no_number_is_no_value():
    for value in (float("nan"), float("inf"), True, "1", 10):
        assert not STEPS["n"].admits(value) and not Parameter("x", low=0.0, high=2.0).admits(str(value))


@pytest.mark.parametrize("algorithm", ["random", "grid", "bayes", "tpe", "cmaes", "qmc", "nsga2", "genetic"])
def test_no_point_of_steps_is_tried_twice(algorithm):
    """Also not one that was given, however it was written; and Optuna has nothing to warn of."""
    given = [{"x": 0.3, "y": -1, "n": 7, "z": 1}, {"x": 0.1 + 0.2, "y": -1.0, "n": 7.0, "z": 1.0}]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        one = controller(algorithm, trials=500, space=STEPS, given=given, objective=lambda v, step: {"loss": v["x"] + v["y"]})
    assert one.run() == "every point of the space was tried"
    assert len({json.dumps(values, sort_keys=True) for values in values_of(one)}) == len(one.ledger.trials) == STEPS.size == 72
    assert values_of(one)[0] == {"x": 0.3, "y": -1.0, "n": 7, "z": 1.0} and type(values_of(one)[0]["y"]) is float
    assert all(STEPS[name].nearest(value) == value for values in values_of(one) for name, value in values.items())
