"""Bytes of a rank's model states: parameters, the optimizer's own copies of them, and its state."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor, nn

_NOT_STATES = re.compile(r"grad|bucket|buffer|scaler|timer|comm|context")
"""Attributes that hold gradients on their way, batch norms' statistics, or what is shared by all of a process."""
_LIBRARIES = ("torch", "deepspeed", "drivetrain", "torchvision")


def tensors_in(root: Any) -> Iterator[Tensor]:
    """Every tensor that attributes and containers lead to from ``root``."""
    seen: set[int] = set()
    waiting = [root]
    while waiting:
        value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, Tensor):
            yield value
        if isinstance(value, Mapping):
            waiting += [*value.keys(), *value.values()] if any(isinstance(k, Tensor) for k in value) else value.values()
        elif isinstance(value, (list, tuple, set)):
            waiting += value
        elif _is_a_librarys(value):
            waiting += [inner for name, inner in vars(value).items() if not _NOT_STATES.search(name.lower())]


def _is_a_librarys(value: Any) -> bool:
    kind = type(value)
    return hasattr(value, "__dict__") and not isinstance(value, type) and kind.__module__.split(".")[0] in _LIBRARIES


def model_state_bytes(engine: Any) -> int:
    """Of storages: a view costs nothing, padding counts."""
    sizes = {}
    for tensor in tensors_in(engine):
        local = getattr(tensor, "_local_tensor", tensor)
        storage = local.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
    sizes.pop(0, None)  # tensors on no device: shapes alone
    return sum(sizes.values())


def whole_count(model: nn.Module) -> int:
    """Parameters of the whole model."""
    return sum(_numel(p) for p in model.parameters())


def persistent_count(model: nn.Module) -> int:
    """Parameters that ZeRO-3 keeps whole on every rank, since they are small."""
    return sum(_numel(p) for p in model.parameters() if getattr(p, "ds_persist", False))


def _numel(parameter: Any) -> int:
    return getattr(parameter, "ds_numel", parameter.numel())


def formula(engine: str, ranks: int, persistent_share: float) -> float:
    """Bytes a parameter and rank, AdamW in float32, before gradients and padding.

    Replicas hold weight (4) and Adam's two moments (8). ZeRO steps a float32 copy of the weights, at float32 too, and cuts it
    and the moments over the ranks (12 / N); stages 1 and 2 keep the weights (4), stage 3 cuts them as well (4 / N), but keeps
    parameters below its persistence threshold whole besides. FSDP steps the cut weights themselves (12 / N).
    """
    return {
        "z0": 12.0, "ddp": 12.0, "z1": 4 + 12 / ranks, "z2": 4 + 12 / ranks,
        "z3": 16 / ranks + 4 * persistent_share, "fsdp": 12 / ranks,
    }[engine]  # fmt: skip
