"""Parameter groups go through ZeRO as they were made.

ZeRO (read from DeepSpeed 0.19) makes torch's Adagrad anew over its own flat tensors, all in one group with the defaults of the
first: the others' rates are lost, and a second group's step fails.
"""

from __future__ import annotations

from typing import Any

import torch


def hyperparameters_of(optimizer: torch.optim.Optimizer) -> list[dict[str, Any]]:
    """A group each, without its parameters."""
    return [{name: value for name, value in group.items() if name != "params"} for group in optimizer.param_groups]


def restore_hyperparameters(zero: Any, stage: int, hyperparameters: list[dict[str, Any]]) -> None:
    """Give the optimizer inside of ``zero`` the groups that it was made with."""
    inner = zero.optimizer
    if len(inner.param_groups) == len(hyperparameters):
        for group, kept in zip(inner.param_groups, hyperparameters):
            group.update(kept)
        return
    [merged] = inner.param_groups
    flats = merged["params"] if stage < 3 else []  # stage 3 puts its own in for every step
    inner.param_groups[:] = [{"params": flats[n : n + 1], **kept} for n, kept in enumerate(hyperparameters)]
    if stage < 3:
        zero._link_all_hp_params()  # which went through the groups that there were
