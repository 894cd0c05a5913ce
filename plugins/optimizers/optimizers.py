"""Torch's own optimizers over parameter groups; what a group sets itself wins over the config."""

from __future__ import annotations

from typing import Any

import torch

from .config import AdamWConfig, SGDConfig


def adamw(config: AdamWConfig, groups: list[dict[str, Any]]) -> torch.optim.AdamW:
    """Loshchilov and Hutter, Decoupled Weight Decay Regularization (2019)."""
    return torch.optim.AdamW(groups, **config.model_dump())


def sgd(config: SGDConfig, groups: list[dict[str, Any]]) -> torch.optim.SGD:
    return torch.optim.SGD(groups, **config.model_dump())
