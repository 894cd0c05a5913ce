"""Population-based training: who goes on from whom, and with which values."""

from __future__ import annotations

import pytest
from unit.search_made import SPACE, SimulatedExecutor, controller, loss, plugin

from drivetrain import ExecutorContext, Job, Move, Parameter, Rng, SchedulerContext, Space, TrialScheduler
from drivetrain.plugins.hpo.jobs import TrialFiles, checkpoints


@pytest.mark.parametrize("slots", [1, 3, 8])
def test_the_worst_take_over_before_the_best_go_on(slots):
    """A run keeps few checkpoints: those of this step are there as long as it goes no further."""
    ahead: list[int] = []

    class Noting(SimulatedExecutor):
        def start(self, job):
            if job.weights is not None and self.lives[job.number][0] != job.life:
                ahead.append(self.lives[job.weights[0]][1] - job.weights[1])
            super().start(job)

    one = controller("random", "pbt", 8, scheduler_settings={"interval": 2}, executor=Noting(loss, slots))
    one.run()
    assert len(ahead) >= 10 and not any(ahead)


def test_hyperparameters_change_within_their_bounds_and_none_stands_still():
    """Integers too, also where they span powers of ten; a choice may be null, and is inherited like others."""
    space = Space((
        Parameter("warmup", low=1, high=10_000, integer=True, log=True), Parameter("steps", low=0, high=9, integer=True),
        Parameter("rate", low=0.1, high=0.9), Parameter("smooth", low=-0.3, high=0.3, step=0.1),
        Parameter("schedule", choices=(None, "cosine")), Parameter("size", choices=(8, 16, 32)),
    ))  # fmt: skip
    settings = {"resample": 0.0, "parents": 3, "population": 2}
    one = plugin("trial_scheduler", "pbt", **settings)(SchedulerContext(space, 10, 1))
    for name, value in (("warmup", 3), ("warmup", 5000), ("steps", 5), ("rate", 0.5), ("smooth", 0.1), ("size", 16)):
        found = {one._changed(space[name], value, Rng("change", n)) for n in range(30)}
        assert len(found) == 2 and min(found) < value < max(found) and all(map(space[name].admits, found)), (name, found)
    for name, value in (("warmup", 1), ("warmup", 10_000), ("rate", 0.9), ("smooth", -0.3), ("size", 8)):
        assert all(space[name].admits(one._changed(space[name], value, Rng("change", n))) for n in range(30))
    values = {"warmup": 100, "steps": 3, "rate": 0.5, "smooth": 0.0, "schedule": None, "size": 8}
    one._seen[1] = {0: (0.0, values), 1: (0.0, values)}
    assert {one._child([0, 1], 0, 1, Rng("child", n))["schedule"] for n in range(30)} == {None}


def test_a_trial_whose_donor_keeps_no_such_checkpoint_goes_on_from_its_own(tmp_path):
    said: list[str] = []
    files = TrialFiles(ExecutorContext(tmp_path, steps=8, write_recipe=lambda values, path: None, say=said.append))
    for number, steps in ((0, (6, 8)), (1, (2, 4))):
        for step in steps:
            saved = tmp_path / f"trials/{number:05d}/run/checkpoints/step-{step:08d}"
            saved.mkdir(parents=True)
            (saved / "weights").write_text(f"of {number}")
    for donor, life, expected in ((0, 1, "of 1"), (1, 120, "of 1"), (1, 121, "of 1")):
        job = Job(1, {}, 6, weights=(donor, 4), life=life)
        (files.run(job) / "checkpoints").mkdir(parents=True)
        files.prepare(job)
        assert checkpoints(files.run(job)) == [4]
        assert (files.run(job) / "checkpoints/step-00000004/weights").read_text() == expected
    assert said == ["trial 1 goes on from its own weights: trial 0 keeps none of step 4 any more (checkpoint.keep)"]


def test_a_trial_whose_values_change_goes_on_from_its_own_weights():
    """A scheduler need not name them."""

    class Halved(TrialScheduler):
        def __init__(self):
            super().__init__(SchedulerContext(SPACE, 16, 1))
            self.rungs, self.paused = (8, 16), {}

        def started(self, trial):
            self.paused.pop(trial.number, None)

        def seen(self, trial, step, loss):
            if step == 8:
                self.paused[trial.number] = trial.values

        def next(self, full):
            moves = (Move(number, 16, {**values, "lr": values["lr"] / 2}) for number, values in self.paused.items())
            return next(moves, None)

    one = controller(trials=4)
    one.scheduler = Halved()
    one.run()
    assert [(t.state, t.step, t.life, t.weights) for t in one.ledger.trials] == [
        ("complete", 16, 1, (number, 8)) for number in range(4)
    ]
    assert one.executor.steps_done == 4 * 16, "nothing is trained twice"
