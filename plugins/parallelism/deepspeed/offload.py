"""Offload to the host's memory, and whether there is enough of it."""

from __future__ import annotations

from typing import Any

import psutil

from drivetrain import Comm, UserError

from .config import OffloadConfig

_OPTIMIZER_BYTES = 20
"""A parameter of a partition: its weight, a copy of that on its way back, its gradient, two values of state; float32."""
_PARAMETER_BYTES = 4


def offload_settings(config: OffloadConfig, pin: bool) -> dict[str, Any]:
    """DeepSpeed's words for it, in its section ``zero_optimization``. ``pin``: where there is a GPU to copy to."""
    place = {"device": "cpu", "pin_memory": pin}
    out: dict[str, Any] = {"offload_optimizer": place} if config.optimizer else {}
    return out | ({"offload_param": place} if config.parameters else {})


def check_memory(config: OffloadConfig, parameters: int, comm: Comm) -> None:
    """Raises UserError where this host's free memory does not hold its ranks' shares of ``parameters`` values, counted for an
    optimizer with two values of state a parameter, as AdamW has."""
    bytes_each = _OPTIMIZER_BYTES * bool(config.optimizer) + _PARAMETER_BYTES * bool(config.parameters)
    needed = bytes_each * parameters * comm.local_world // comm.world
    free = psutil.virtual_memory().available
    if needed > free:
        raise UserError(
            f"parallelism.offload needs about {needed / 2**30:.1f} GiB of this host's memory, {free / 2**30:.1f} GiB are free",
            remedy="take more hosts, or leave offload.parameters or offload.optimizer out",
        )
