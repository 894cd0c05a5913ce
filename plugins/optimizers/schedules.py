"""Learning rate schedules: the factor of the learning rate at a step, counted from 0, from the step alone.

Each but ``one_cycle`` begins with a linear warm-up whose first step is above 0 and whose last is the full rate. Past the
last step the factor stays what it was at the end.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable

from .config import ConstantConfig, CosineConfig, OneCycleConfig, PolyConfig, StepConfig

Schedule = Callable[[int], float]


def constant(config: ConstantConfig, total_steps: int) -> Schedule:
    return _warmed_up(config, total_steps, lambda progress: 1.0)


def cosine(config: CosineConfig, total_steps: int) -> Schedule:
    """Loshchilov and Hutter, SGDR (2017), without restarts."""
    return _warmed_up(config, total_steps, lambda progress: _half_cosine(1.0, config.final, progress))


def one_cycle(config: OneCycleConfig, total_steps: int) -> Schedule:
    """Smith and Topin, Super-Convergence (2018): half a cosine up, half a cosine down. Momentum is left as it is."""
    peak, last = config.rise * total_steps - 1, max(1, total_steps - 1)

    def factor(step: int) -> float:
        if step < peak:
            return _half_cosine(config.start, 1.0, step / peak)
        return _half_cosine(1.0, config.final, (min(step, last) - max(0.0, peak)) / (last - max(0.0, peak)))

    return factor


def _half_cosine(begin: float, end: float, progress: float) -> float:
    return end + (begin - end) * (1 + math.cos(math.pi * progress)) / 2


def poly(config: PolyConfig, total_steps: int) -> Schedule:
    """The schedule of DeepLab (Chen et al. 2017)."""
    return _warmed_up(config, total_steps, lambda progress: (1 - progress) ** config.power)


def step(config: StepConfig, total_steps: int) -> Schedule:
    """A factor of ``gamma`` at each milestone, whose shares are of the whole run, warm-up included."""
    drops = [round(share * total_steps) for share in config.milestones]
    warm = _warmed_up(config, total_steps, lambda progress: 1.0)
    return lambda step: warm(step) * config.gamma ** bisect_right(drops, step)


def _warmed_up(config: ConstantConfig, total_steps: int, curve: Callable[[float], float]) -> Schedule:
    """``curve`` over the share, 0 to 1, of the steps after the warm-up that lie behind."""
    warmup = config.warmup_steps
    rest = max(1, total_steps - warmup)

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return curve(min(1.0, (step - warmup) / rest))

    return factor
