"""Optimizers are torch's; schedules are functions of the step, with torch's schedulers as referees."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from torch.optim import lr_scheduler

from drivetrain.plugins.optimizers import config as c
from drivetrain.plugins.optimizers import optimizers, schedules

STEPS = 40


def torch_factors(make_scheduler) -> list[float]:
    """The learning rates of ``STEPS`` steps under a torch scheduler, from 1."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make_scheduler(optimizer)
    factors = []
    for _ in range(STEPS):
        factors.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return factors


@pytest.mark.parametrize(
    "schedule, config, scheduler",
    [
        (schedules.constant, c.ConstantConfig(), lambda o: lr_scheduler.ConstantLR(o, factor=1)),
        (schedules.cosine, c.CosineConfig(final=0.1), lambda o: lr_scheduler.CosineAnnealingLR(o, STEPS, eta_min=0.1)),
        (schedules.one_cycle, c.OneCycleConfig(), lambda o: lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=STEPS)),
        (
            schedules.one_cycle,
            c.OneCycleConfig(rise=0.5, start=0.1, final=0.01),
            lambda o: lr_scheduler.OneCycleLR(o, 1.0, STEPS, pct_start=0.5, div_factor=10, final_div_factor=10),
        ),
        (schedules.poly, c.PolyConfig(power=0.9), lambda o: lr_scheduler.PolynomialLR(o, STEPS, power=0.9)),
        (
            schedules.step,
            c.StepConfig(milestones=(0.5, 0.75), gamma=0.2),
            lambda o: lr_scheduler.MultiStepLR(o, [STEPS // 2, STEPS * 3 // 4], gamma=0.2),
        ),
    ],
)
def test_schedules_agree_with_torch(schedule, config, scheduler):
    factor = schedule(config, STEPS)
    assert [factor(step) for step in range(STEPS)] == pytest.approx(torch_factors(scheduler), abs=1e-6)


CONFIGS = {
    schedules.constant: c.ConstantConfig, schedules.cosine: c.CosineConfig, schedules.poly: c.PolyConfig,
    schedules.step: c.StepConfig,
}  # fmt: skip


@given(st.sampled_from(list(CONFIGS)), st.integers(0, 60), st.integers(1, 100))
def test_every_schedule_rises_to_1_then_never_rises_again(schedule, warmup, total):
    factor = schedule(CONFIGS[schedule](warmup_steps=warmup), total)
    factors = [factor(step) for step in range(total + 5)]
    assert all(0 <= f <= 1 for f in factors) and factors[0] > 0
    warm = factors[:warmup]
    if schedule is not schedules.step:
        assert warm == sorted(warm) and (len(warm) < warmup or not warm or warm[-1] == 1)
    rest = factors[warmup:]
    assert rest == sorted(rest, reverse=True)


@pytest.mark.parametrize("total", [1, 2, 3, 10])
@pytest.mark.parametrize("rise", [0.01, 0.3, 0.99])
def test_one_cycle_stays_within_its_bounds_in_any_run(total, rise):
    factor = schedules.one_cycle(c.OneCycleConfig(rise=rise), total)
    assert all(4e-6 <= factor(step) <= 1 for step in range(total + 3))
    assert factor(total + 3) == factor(max(1, total - 1))


def test_warmup_is_linear_and_its_last_step_is_full():
    factor = schedules.constant(c.ConstantConfig(warmup_steps=4), 10)
    assert [factor(step) for step in range(6)] == [0.25, 0.5, 0.75, 1, 1, 1]


def test_schedules_import_no_torch():
    code = "import sys, drivetrain.plugins.optimizers.schedules; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_optimizers_take_the_config_and_groups_win():
    weights = [torch.nn.Parameter(torch.ones(2)) for _ in range(2)]
    groups = [{"params": [weights[0]]}, {"params": [weights[1]], "weight_decay": 0.0}]
    adamw = optimizers.adamw(c.AdamWConfig(lr=0.1, betas=(0.8, 0.9), weight_decay=0.5), groups)
    assert type(adamw) is torch.optim.AdamW
    assert [g["weight_decay"] for g in adamw.param_groups] == [0.5, 0.0]
    assert adamw.param_groups[0]["betas"] == (0.8, 0.9) and adamw.param_groups[1]["lr"] == 0.1
    sgd = optimizers.sgd(c.SGDConfig(lr=0.5, momentum=0.0, weight_decay=0.0), [{"params": weights}])
    (weights[0].sum() * 3).backward()
    sgd.step()
    assert weights[0].tolist() == [-0.5, -0.5] and weights[1].tolist() == [1, 1]


@pytest.mark.parametrize(
    "config, values",
    [
        (c.AdamWConfig, {"lr": 0}),
        (c.AdamWConfig, {"betas": [0.9, 1.0]}),
        (c.SGDConfig, {"nesterov": True, "momentum": 0}),
        (c.CosineConfig, {"warmup_steps": -1}),
        (c.StepConfig, {"milestones": [0.8, 0.5]}),
        (c.ConstantConfig, {"warmup": 5}),
    ],
)
def test_configs_refuse(config, values):
    with pytest.raises(ValidationError):
        config(**values)
