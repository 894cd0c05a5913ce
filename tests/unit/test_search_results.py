"""What a study tells afterwards, and how trials share a machine."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
from unit.search_made import SPACE, controller
from unit.test_search_slurm import context

from drivetrain import ExecutorContext, Job, Parameter, Space, UserError
from drivetrain.plugins.hpo.config import LocalConfig
from drivetrain.plugins.hpo.local import LocalExecutor
from drivetrain.search.asking import figures_of, told
from drivetrain.search.results import importances


def test_what_matters_is_told_first():
    one = controller(trials=80)
    one.run()
    found = importances(one.ledger, SPACE)
    assert next(iter(found)) == "lr" and sum(found.values()) == pytest.approx(1.0)
    assert set(found) == {"lr", "depth", "kind"}, "width is not a parameter of every trial"


@pytest.mark.parametrize("seed", range(4))
def test_few_numbers_that_do_nothing_do_not_matter(seed):
    rate = Parameter("rate", low=1e-4, high=1e-2, log=True)
    space = Space((rate, Parameter("micro", choices=(2, 4)), Parameter("warmup", low=0, high=3, integer=True)))
    one = controller(trials=20, seed=seed, space=space, objective=lambda v, step: {"loss": abs(math.log10(v["rate"]) + 3)})
    one.run()
    found = importances(one.ledger, space)
    assert next(iter(found)) == "rate" and found["rate"] > 0.6, found


def test_figures_are_found_by_name():
    evaluation = {"kind": "evaluation", "step": 3, "iou": {"miou": 0.5, "iou": {"road": 0.75, "car": None}}}
    names = ["iou", "iou.iou.road", "iou.iou.car", "train.loss", "train.loading.bytes"]
    training = {"kind": "training", "step": 3, "loss": 2.0, "loading": {"bytes": 7}}
    assert figures_of(names, evaluation, training, {"iou": "miou"}) == {
        "iou": 0.5, "iou.iou.road": 0.75, "iou.iou.car": None, "train.loss": 2.0, "train.loading.bytes": 7.0,
    }  # fmt: skip
    assert told({"optimizer.lr": 1.23456e-4, "model": {"plugin": "a"}}) == 'lr 0.0001235  model {"plugin": "a"}'
    assert told({"model.plugin": "a", "optimizer.plugin": "b"}) == "model.plugin a  optimizer.plugin b"


def test_trials_get_gpus_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5,7")
    context = ExecutorContext(folder=tmp_path, steps=1, ranks=2)
    executor = LocalExecutor(LocalConfig(), context)
    assert executor._take_devices() == ["3", "5"] and not executor.has_room()
    shared = LocalExecutor(LocalConfig(share=2), context)
    assert [shared._take_devices() for _ in range(3)] == [["3", "5"], ["7", "3"], ["5", "7"]] and not shared.has_room()
    with pytest.raises(UserError, match="4 ranks"):
        LocalExecutor(LocalConfig(share=2), ExecutorContext(folder=tmp_path, steps=1, ranks=4))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    alone = LocalExecutor(LocalConfig(), context)
    assert not alone.has_gpus and alone.has_room() and alone._take_devices() == ["", ""] and not alone.has_room()


def test_trials_that_have_just_begun_have_their_memory_to_come(tmp_path, monkeypatch):
    """All are started in a moment, in which none has taken any."""
    import psutil
    from unit.test_search_jobs import Played

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    free = [20e9]
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free[0]))
    executor = LocalExecutor(LocalConfig(slots=9, memory_gb=6), context(tmp_path))
    monkeypatch.setattr(executor, "_begin", lambda job, words: Played(executor.files.run(job), job.number, ("reached", "")))

    def start(first: int) -> int:
        number = first
        while executor.has_room():
            executor.start(Job(number, {}, 2))
            number += 1
        return number - first

    assert start(0) == 3
    free[0] = 5e9  # somebody else takes some
    executor._running.pop(0)
    assert start(3) == 0
