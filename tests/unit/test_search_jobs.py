"""Jobs of trials as processes of this host: ends that come at awkward moments, and what they must not inherit or take."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from unit.search_made import controller
from unit.test_search_slurm import context

from drivetrain import Job
from drivetrain.plugins.hpo.jobs import JobsExecutor


class Played:
    """A process that has evaluated step 2 with its trial's number as the loss; it ends, if it does, in the moment that this is
    seen."""

    def __init__(self, run: Path, number: int, end: tuple[str, str] | None):
        self.end = end
        run.mkdir(parents=True, exist_ok=True)
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({"kind": "evaluation", "step": 2, "loss": {"loss": number}}) + "\n")

    def poll(self):
        return self.end

    def has_news(self):
        return True

    def ask_to_leave(self, why):
        self.end = "left", why

    def kill(self):
        pass


class PlayedExecutor(JobsExecutor):
    """One job at a time; ``ends`` of one after the other."""

    def __init__(self, folder, *ends):
        super().__init__(context(folder))
        self.ends = iter(ends)

    def has_room(self):
        return not self._running

    def _begin(self, job: Job, words):
        return Played(self.files.run(job), job.number, next(self.ends))


FULL = "out of memory", ""


@pytest.mark.parametrize("end", [None, ("left", "it was preempted"), ("crashed", "its disk was lost")])
def test_a_trial_may_end_in_the_moment_in_which_it_is_stopped(tmp_path, end):
    """It is stopped for good, however it has ended; what it was asked for after its end is asked of nobody."""
    one = controller(scheduler="median", scheduler_settings={"startup": 2}, trials=3, steps=4, every=2,
                     executor=PlayedExecutor(tmp_path, FULL, FULL, end))  # fmt: skip
    one.run()
    assert (one.ledger.trials[2].state, one.ledger.trials[2].why) == ("pruned", "2 of 2 others were better at step 2")


def test_a_job_that_ends_well_too_early_is_tried_again(tmp_path):
    """As DeepSpeed's launcher does where its second process is killed: it passes on no signal's number."""
    one = controller(trials=1, steps=4, executor=PlayedExecutor(tmp_path, ("reached", ""), FULL))
    one.run()
    assert one.ledger.trials[0].state == "out of memory"
