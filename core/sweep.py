"""A run that `wandb agent` started for a W&B sweep: one process of it is the sweep's, all others are not."""

from __future__ import annotations

import os

SWEEP = ("WANDB_SWEEP_ID", "WANDB_RUN_ID", "WANDB_SWEEP_PARAM_PATH")
"""What an agent's command finds in its environment: whoever calls `wandb.init` with them *is* the sweep's run."""


def sweep_run() -> str | None:
    """The id that a sweep gave to this run: the same when the agent starts it again."""
    return os.environ.get("WANDB_RUN_ID") if "WANDB_SWEEP_ID" in os.environ else None


def leave_sweep() -> None:
    """This process is none of the sweep's from here on."""
    if sweep_run() is not None:
        for name in SWEEP:
            os.environ.pop(name, None)
