"""The genetic algorithm: children of the space, the same from a journal, migration round the ring, better than chance."""

from __future__ import annotations

import json
from statistics import mean

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.search_made import SPACE, controller, loss, plugin

from drivetrain import AlgorithmContext, Parameter, Rng, Space
from drivetrain.plugins.hpo.genetic import crowding_distances, non_dominated_ranks
from drivetrain.search.journal import read_journal

KINDS = st.sampled_from([
    {"low": 0.0, "high": 1.0}, {"low": 1e-6, "high": 1e-1, "log": True}, {"low": 0.0, "high": 0.5, "step": 0.125},
    {"low": 3, "high": 9, "integer": True}, {"low": 1, "high": 64, "integer": True, "log": True},
    {"low": 8, "high": 64, "step": 8, "integer": True}, {"choices": (16, 32, 64)}, {"choices": ("a", "b", "c")},
    {"choices": (False, True)}, {"choices": ({"plugin": "a"}, {"plugin": "b", "width": 2})},
])  # fmt: skip


@st.composite
def spaces(draw):
    """Up to five parameters below a choice, each of them conditional or not."""
    made = [Parameter("root", choices=("x", "y", "z"))]
    for n, kind in enumerate(draw(st.lists(KINDS, min_size=1, max_size=5))):
        when = draw(st.sampled_from([(), (("root", ("x",)),), (("root", ("y", "z")),)]))
        made.append(Parameter(f"p{n}", **kind, when=when))
    return Space(tuple(made))


def made(space=SPACE, seed=1, objectives=1, **more):
    return plugin("search_algorithm", "genetic", **more)(AlgorithmContext(space, seed, objectives))


def of_the_space(space, values):
    space.check(values, "here")
    return {p.name for p in space.active(values)} == set(values)


@settings(max_examples=60)
@given(spaces(), st.integers(0, 2**32), st.integers(1, 3), st.booleans())
def test_children_are_of_the_space(space, seed, islands, mutate):
    one = made(space, seed, islands=islands, population=3, migrate_every=2, mutation=1.0 if mutate else None)
    rng = Rng(seed)
    for number in range(25):
        values = one.ask(number)
        assert of_the_space(space, values), values
        one.begin(number, values)
        one.tell(number, values, None if rng.uniform() < 0.1 else (rng.uniform(),), max(0.0, rng.uniform(-1, 1)))
    assert all(0 < len(island) <= 3 for island in one.islands)


def test_a_journal_leads_to_the_same_children(tmp_path):
    """What an algorithm proposes that was told a journal's records is what the one that wrote them proposes next."""
    study = controller("genetic", trials=60, journal=tmp_path / "journal", slots=5)
    study.run()
    study.journal.close()
    levels = study.proposer.levels
    again = controller("genetic", trials=60, journal=tmp_path / "journal", slots=5)
    again._recover()
    asked = [[one.ask(number) for number in range(60, 80)] for one in (levels[0], again.proposer.levels[0])]
    assert asked[0] == asked[1] and len({json.dumps(values) for values in asked[0]}) > 10
    origins = {r["origin"] for r in read_journal(tmp_path / "journal") if r["kind"] == "asked"}
    assert origins == {"genetic"}, "no child was one that was tried before"


def test_the_best_goes_round_the_ring():
    one = made(islands=3, population=4, migrate_every=2, migrants=1)
    place = lambda: [[m.number for m in island] for island in one.islands]

    def tell(number, value):
        one.tell(number, one.space.draw(Rng(number)), (value,))

    for number, value in ((0, 0.0), (1, 5.0), (2, 6.0)):
        tell(number, value)
    assert place() == [[0], [1], [2]]
    tell(3, 4.0)
    assert place() == [[0, 3], [0, 1], [2]], "after two trials of the first island the second one has its best"
    tell(5, 7.0)
    assert place() == [[0, 3, 2], [0, 1], [2, 5]], "the last island's neighbour is the first"
    tell(4, 8.0)
    assert place()[2] == [0, 2, 5], "and so the best has come to all"


def test_a_full_island_keeps_its_best():
    one = made(islands=1, population=3)
    for number, value in enumerate([5.0, 3.0, 9.0, 1.0, 7.0]):
        one.tell(number, one.space.draw(Rng(number)), (value,))
    one.tell(5, one.space.draw(Rng(5)), None)
    one.tell(6, one.space.draw(Rng(6)), (0.0,), violation=0.1)
    assert [m.number for m in one.islands[0]] == [3, 1, 0], "what passes a limit comes after all that keeps it"


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=1, max_size=15))
def test_ranks_are_those_of_their_definition(rows):
    losses = np.array(rows, float)
    left, expected, rank = set(range(len(rows))), {}, 0
    beats = lambda a, b: all(x <= y for x, y in zip(a, b)) and a != b
    while left:
        front = {n for n in left if not any(beats(rows[m], rows[n]) for m in left)}
        expected |= dict.fromkeys(front, rank)
        left, rank = left - front, rank + 1
    assert non_dominated_ranks(losses).tolist() == [expected[n] for n in range(len(rows))]


def test_crowding_is_the_room_between_neighbours():
    found = crowding_distances(np.array([[0.0, 10.0], [4.0, 0.0], [1.0, 5.0], [2.0, 4.0]]))
    assert found.tolist() == [np.inf, np.inf, 2 / 4 + 6 / 10, 3 / 4 + 5 / 10]


def test_it_beats_chance_at_equal_budget():
    def best(algorithm, seed):
        one = controller(algorithm, trials=100, seed=seed)
        one.run()
        return one.ledger.best.losses[0] - 1 / 16

    found = {name: [best(name, seed) for seed in range(8)] for name in ("genetic", "random")}
    assert mean(found["genetic"]) < 0.5 * mean(found["random"]), found
    assert sum(a < b for a, b in zip(*found.values())) >= 6, found


def test_its_front_of_two_objectives_covers_more_than_chances():
    """ZDT1 (Zitzler, Deb and Thiele 2000) with five variables: the area below (1.1, 6) that a front dominates."""
    space = Space(tuple(Parameter(f"x{n}") for n in range(5)))

    def figures(values, step):
        first, *others = values.values()
        g = 1 + 9 * mean(others)
        return {"f1": first, "f2": g * (1 - (first / g) ** 0.5)}

    def area(algorithm, seed):
        from drivetrain.search.trials import Objectives

        one = controller(algorithm, trials=150, seed=seed, space=space, objective=figures,
                         objectives=Objectives({"f1": "min", "f2": "min"}))  # fmt: skip
        one.run()
        edge, total = 6.0, 0.0
        for f1, f2 in sorted(t.losses for t in one.ledger.front):
            total += (1.1 - f1) * max(0.0, edge - f2)
            edge = min(edge, f2)
        return total

    found = {name: [area(name, seed) for seed in range(4)] for name in ("genetic", "random")}
    assert all(a > b for a, b in zip(*found.values())), found


def test_rungs_teach_it_too():
    one = controller("genetic", scheduler="asha", trials=80, steps=64)
    one.run()
    assert {t.origin for t in one.ledger.trials} <= {"genetic", "chance"}
    assert one.proposer.told[1] >= 10, "the second rung's own algorithm was asked"
    assert one.ledger.best.losses[0] < loss({"lr": 1e-3, "depth": 3, "kind": "wide", "width": 64}, 64)["loss"] + 0.2
