"""``train.compile``: the computation of a model's losses through torch.compile."""

from __future__ import annotations

import os
import shutil

import torch

from .errors import UserError
from .model import Model


def compile_losses(model: Model) -> None:
    """In place, and without a change of names; `predict` stays as it is. Random numbers are those of the model that is not
    compiled. Raises UserError without the compiler that inductor needs on a CPU."""
    if not torch.cuda.is_available() and not shutil.which(os.environ.get("CXX", "g++")):
        raise UserError("train.compile needs a C++ compiler on CPUs, and there is none", remedy="install g++, or leave it out")
    from torch._inductor import config  # takes a second

    config.fallback_random = True
    model.losses = torch.compile(model.losses)  # type: ignore[method-assign]
