"""Making DeepSpeed quiet, and able to start on a machine with neither GPU nor compiler."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import torch

from drivetrain import Finding


def import_deepspeed() -> ModuleType:
    """DeepSpeed, told which accelerator this is before it looks for one, and with its start-up chatter off."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    warnings.filterwarnings("ignore", category=FutureWarning, module=r"(deepspeed|torch)\b.*")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    import deepspeed
    from deepspeed.utils import logger

    logger.setLevel(logging.ERROR)
    # The shared-memory all-reduce is compiled at first use, wants a compiler, and leaves its buffers behind when a rank is
    # killed; gloo does its work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.runtime.engine.DeepSpeedEngine._broadcast_model = _broadcast_model
    return deepspeed


def _broadcast_model(engine: Any) -> None:
    """In the place of DeepSpeed 0.19's own, which views parameters as bytes: torch refuses that for one without dimensions,
    such as a learnt temperature. Without `zero.Init`, which is not used here, nothing is cut over ranks by now."""
    for parameter in engine.module.parameters():
        torch.distributed.broadcast(parameter.data, src=0)


def check_health() -> Iterator[Finding]:
    """Lines for ``drivetrain doctor``."""
    try:
        deepspeed = import_deepspeed()
    except Exception as error:
        yield Finding("error", f"deepspeed does not import: {error}", "reinstall deepspeed beside this torch")
        return
    from deepspeed.accelerator import get_accelerator

    name = get_accelerator().device_name()
    yield Finding("ok", f"deepspeed {deepspeed.__version__} on accelerator {name!r}")
