"""Where code waits for the device: values that travel to the host, which on a GPU end the queue of work."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

_ATEN = torch.ops.aten
_VALUE_OR_SHAPE = {
    _ATEN._local_scalar_dense, _ATEN.nonzero, _ATEN.masked_select, _ATEN.is_nonzero, _ATEN.item, _ATEN.equal,
    _ATEN.unique_consecutive, _ATEN.unique_dim, _ATEN._unique, _ATEN._unique2, _ATEN.argwhere, _ATEN.allclose,
}  # fmt: skip
"""Ops that hand out a value, or whose result has a shape that follows from values."""
_INDEXED = {_ATEN.index, _ATEN.index_put, _ATEN.index_put_, _ATEN._index_put_impl_, _ATEN._unsafe_index}
_MASKS = (torch.bool, torch.uint8)


def host_syncs(call: Callable[[], Any]) -> list[str]:
    """The names of the ops in ``call``, backward passes in it included, that read a value back or need one for a shape:
    ``.item()``, ``bool(tensor)``, ``nonzero``, ``unique``, indexing with a mask, ``repeat_interleave`` without a size.

    It works on CPU tensors. There, ``.tolist()`` and ``.numpy()`` read memory without any op: for these see `on_meta`. Under
    the counter torch takes another way through the gradient of `prod`, so that its reading of zeros goes unseen.
    """
    counter = _Counter()
    with counter:
        call()
    return counter.names


def on_meta(value: Any) -> Any:
    """``value``, a module or a Batch, on the device ``meta``, whose tensors have shapes and no values: what reads one, in
    whatever way, raises there."""
    return value.to("meta")


class _Counter(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if _reads_back(func, args, kwargs):
            self.names.append(str(func))
        return func(*args, **kwargs)


def _reads_back(func: Any, args: Any, kwargs: Any) -> bool:
    packet = func.overloadpacket
    if packet in _INDEXED:
        return any(isinstance(i, Tensor) and i.dtype in _MASKS for i in args[1])
    if packet == _ATEN.repeat_interleave:
        return kwargs.get("output_size") is None
    return packet in _VALUE_OR_SHAPE
