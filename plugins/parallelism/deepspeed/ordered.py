"""Gradients enter ZeRO's buckets in one order on every rank.

ZeRO (read from DeepSpeed 0.19) lays gradients into a bucket as the backward pass makes them, and adds up the buckets of all
ranks place by place. Ranks whose graphs differ, by a picture without objects or a branch that one of them did not take, make
them in another order, and then sums are of different parameters' gradients: no error, wrong weights. Here they wait for their
turn in the order in which rank 0's first backward pass made them, and a parameter without a gradient takes part with zeros.
"""

from __future__ import annotations

from typing import Any

import torch

from drivetrain import Comm


class OrderedReduction:
    """Put between a ZeRO ``optimizer`` and its own reduction; ``fill`` zeros in for missing gradients (stages 1 and 2: at
    stage 3 a module that is not called has no weights here to take the shape from)."""

    def __init__(self, optimizer: Any, comm: Comm, fill: bool):
        self._optimizer, self._comm, self._fill = optimizer, comm, fill
        self._reduce = optimizer.reduce_ready_partitions_and_remove_grads
        self._finish = optimizer.independent_gradient_partition_epilogue
        optimizer.reduce_ready_partitions_and_remove_grads = self.arrived
        optimizer.independent_gradient_partition_epilogue = self.finish
        groups = optimizer.bit16_groups if fill else optimizer.fp16_groups
        self._order: list[tuple[Any, ...]] = [
            (p, number) if fill else (p,) for number, group in enumerate(groups) for p in group if p.requires_grad
        ]
        self._learned = False
        self._arrived: dict[int, None] = {}
        self._next = 0

    def arrived(self, parameter: Any, *group: int) -> None:
        """The backward pass has made a gradient: reduce those whose turn it is."""
        optimizer = self._optimizer
        if self._fill and not (optimizer.partition_gradients or optimizer.is_gradient_accumulation_boundary()):
            return  # stage 1 adds them up until the last micro-batch
        self._arrived[id(parameter)] = None
        while self._learned and self._next < len(self._order) and id(self._order[self._next][0]) in self._arrived:
            self._reduce(*self._order[self._next])
            self._next += 1

    def finish(self) -> None:
        """The backward pass is over: the rest, in order, then what the optimizer does at the end."""
        if self._arrived:
            if not self._learned:
                self._learn()
            for entry in self._order[self._next :]:
                if self._fill or id(entry[0]) in self._arrived:
                    self._have_gradient(entry[0])
                    self._reduce(*entry)
            self._arrived.clear()
            self._next = 0
        self._finish()

    def _learn(self) -> None:
        """Take over rank 0's order of arrival."""
        number = {id(entry[0]): n for n, entry in enumerate(self._order)}
        first = self._comm.broadcast([number[key] for key in self._arrived])
        rest = sorted(set(range(len(self._order))).difference(first))
        self._order, self._learned = [self._order[n] for n in (*first, *rest)], True

    def _have_gradient(self, parameter: Any) -> None:
        if self._fill and self._optimizer.get_gradient_for_reduction(parameter) is None:
            parameter.grad = torch.zeros_like(parameter)
            if self._optimizer.use_grad_accum_attribute:
                self._optimizer._fill_param_grad_accum_attribute(parameter)
