"""The check of the first steps: do all ranks' losses depend on the same parameters?

Where gradients are reduced as they are made, a parameter that one rank does not use leaves the others waiting, or ends the
job in a library's abort. This looks first, and names the parameter and the rank. Which parameters a loss depends on is read
from its graph, nothing is computed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from torch import Tensor, nn

from .comm import Comm
from .errors import UserError
from .norms import SyncNorm

_REMEDY = (
    "give the loss of a part that has nothing to learn from a weight of 0 and a sum that is connected to its outputs\n"
    "(sum = 0 * outputs.sum()), so that every rank's graph is the same; or take ZeRO stage 0 to 2, or ddp with\n"
    "parallelism.find_unused=true, which give what is not used a gradient of 0"
)
_REMEDY_OF_NORMS = "; with synchronised norms no engine helps: take model.norm=batch"


Demand = Literal["nothing", "gradients", "calls"]
"""What an engine needs every rank to have: nothing in common; a gradient of every trained parameter; or the same calls of
modules, and then gradients of the same parameters."""


def used_parameters(total: Tensor) -> set[int]:
    """The `id` of every tensor that would get a gradient from ``total``."""
    used: set[int] = set()
    nodes = [total.grad_fn] if total.grad_fn is not None else []
    seen = set(nodes)
    while nodes:
        node = nodes.pop()
        if (leaf := getattr(node, "variable", None)) is not None:
            used.add(id(leaf))
        fresh = {n for n, _ in node.next_functions if n is not None} - seen
        seen |= fresh
        nodes += fresh
    return used


class GraphCheck:
    """Compares over ranks what an engine ``demands``. Raises UserError, the same on every rank."""

    def __init__(self, comm: Comm, model: nn.Module, demands: Demand):
        self.comm, self.model, self.demands = comm, model, demands
        self._watched = [(n, m) for n, m in model.named_modules() if self._meets(m)]
        self._met: dict[str, set[int]] = {}

    @property
    def has_work(self) -> bool:
        return self.comm.world > 1 and (self.demands != "nothing" or bool(self._watched))

    @property
    def _has_synced(self) -> bool:
        return any(isinstance(module, SyncNorm) for _, module in self._watched)

    def _meets(self, module: nn.Module) -> bool:
        """Whether ranks meet when ``module`` is called, so that all must call it."""
        gathers = self.demands == "calls" and any(True for _ in module.parameters())
        return gathers or isinstance(module, SyncNorm)

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Around a forward: calls are compared before a module meets other ranks, which would wait for ever."""
        hooks = []
        self._met = {name: {id(p)} for name, p in self.model.named_parameters() if p.requires_grad}
        for name, module in self._watched:
            agree = partial(_ignoring_arguments, self._agree_on_call, name)
            hooks.append(module.register_forward_pre_hook(agree, prepend=True))
            if self.demands == "calls":
                hooks.append(module.register_forward_hook(partial(self._meet, name), prepend=True))
        try:
            yield
            if self._watched:
                self._agree_on_call(None)
        finally:
            for hook in hooks:
                hook.remove()

    def compare(self, total: Tensor, step: int, number: int) -> None:
        """Raises UserError naming parameters and ranks where a micro-batch's ``total`` does not use the same everywhere."""
        if self.demands == "nothing":
            return
        used = used_parameters(total)
        unused = [name for name, met in self._met.items() if not met & used]
        theirs = self.comm.all_gather(unused)
        everywhere = set() if self.demands == "gradients" else set(theirs[0]).intersection(*theirs)
        missing = [[name for name in names if name not in everywhere] for names in theirs]
        lines = [f"rank {rank} does not use {_some(names)}" for rank, names in enumerate(missing) if names]
        if not lines:
            return
        place = f"step {step}, micro-batch {number}"
        raise _the_same(f"{place}: ranks would wait for each other's gradients\n  " + "\n  ".join(lines))

    def _meet(self, called: str, module: nn.Module, *_: Any) -> None:
        """A call may have gathered other tensors than those that lie in the module between calls."""
        for name, parameter in module.named_parameters(called, recurse=False):
            self._met.get(name, set()).add(id(parameter))

    def _agree_on_call(self, name: str | None) -> None:
        calls = self.comm.all_gather(name)
        if any(call != calls[0] for call in calls):
            lines = [f"rank {r} {'is at its end' if c is None else f'calls {c}'}" for r, c in enumerate(calls)]
            raise _the_same("the ranks' forward passes part, but all of them meet where a synchronised norm or, under ZeRO "
                            "stage 3 and fsdp, any module with weights is called\n  " + "\n  ".join(lines),
                            self._has_synced)  # fmt: skip


def _ignoring_arguments(call: Callable[[str], None], name: str, *_: Any) -> None:
    call(name)


def _the_same(message: str, has_synced: bool = False) -> UserError:
    """An error that every rank raises: one of them prints it."""
    error = UserError(message, remedy=_REMEDY + _REMEDY_OF_NORMS * has_synced)
    error.told = True
    return error


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
