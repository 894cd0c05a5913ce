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

_REMEDY = (
    "give the loss of a part that has nothing to learn from a weight of 0 and a sum that is connected to its outputs\n"
    "(sum = 0 * outputs.sum()), so that every rank's graph is the same; or take ZeRO stage 0 to 2, or ddp with\n"
    "parallelism.find_unused=true, which give what is not used a gradient of 0"
)


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
        self._met: dict[str, set[int]] = {}

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Around a forward: calls are compared before a module gathers its weights, which would wait for ever."""
        hooks = []
        self._met = {name: {id(p)} for name, p in self.model.named_parameters() if p.requires_grad}
        if self.demands == "calls":
            for name, module in self.model.named_modules():
                if any(True for _ in module.parameters()):
                    agree = partial(_ignoring_arguments, self._agree_on_call, name)
                    hooks.append(module.register_forward_pre_hook(agree, prepend=True))
                    hooks.append(module.register_forward_hook(partial(self._meet, name), prepend=True))
        try:
            yield
            if self.demands == "calls":
                self._agree_on_call(None)
        finally:
            for hook in hooks:
                hook.remove()

    def compare(self, total: Tensor, step: int, number: int) -> None:
        """Raises UserError naming parameters and ranks where a micro-batch's ``total`` does not use the same everywhere."""
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
            raise _the_same("the ranks' forward passes part, and ZeRO stage 3 and fsdp gather a module's weights from all "
                            "ranks when it is called\n  " + "\n  ".join(lines))  # fmt: skip


def _ignoring_arguments(call: Callable[[str], None], name: str, *_: Any) -> None:
    call(name)


def _the_same(message: str) -> UserError:
    """An error that every rank raises: one of them prints it."""
    error = UserError(message, remedy=_REMEDY)
    error.told = True
    return error


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:4])
    return shown if len(names) <= 4 else f"{shown} and {len(names) - 4} more"
