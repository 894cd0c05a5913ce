"""``train.activation_checkpointing``: blocks that are computed again in the backward pass, so that less lies in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial, wraps
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .model import Model
from .patterns import matching


def checkpoint_blocks(model: Model, chosen: bool | Sequence[str]) -> None:
    """Compute again what is inside of these blocks of ``model``: its layers, or the outermost modules in whose names one of
    the patterns is found. No name changes. Raises RecipeError for a pattern that is found in no name."""
    for name in _names(model, chosen):
        module = model.get_submodule(name)
        module.forward = _computed_again(module, module.forward)


def _names(model: Model, chosen: bool | Sequence[str]) -> list[str]:
    modules = {name: module for name, module in model.named_modules() if name}
    if isinstance(chosen, bool):
        layers = [name for name in model.layer_names() if name in modules] if chosen else []
        return [name for name in layers if any(True for _ in modules[name].children())]
    found = [name for pattern in chosen for name in matching(pattern, modules, "module", "train.activation_checkpointing")]
    return [name for name in dict.fromkeys(found) if not any(name.startswith(f"{other}.") for other in found)]


def _computed_again(module: nn.Module, forward: Callable[..., Any]) -> Callable[..., Any]:
    """``forward`` under torch's checkpointing, with the same random numbers, and what it counts counted once."""
    contexts = partial(_contexts, module)

    @wraps(forward)
    def call(*args: Any, **kwargs: Any) -> Any:
        if not torch.is_grad_enabled():
            return forward(*args, **kwargs)
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return call


def _contexts(module: nn.Module) -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Around the forward pass and around its repetition."""
    return nullcontext(), _copied_buffers(module)


@contextmanager
def _copied_buffers(module: nn.Module) -> Iterator[None]:
    """Running statistics are written into copies."""
    homes = [(m, dict(m._buffers)) for m in module.modules() if m._buffers]
    for home, buffers in homes:
        home._buffers = {name: None if b is None else b.clone() for name, b in buffers.items()}
    try:
        yield
    finally:
        for home, buffers in homes:
            home._buffers = buffers
