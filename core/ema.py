"""The running mean of a model's weights: it lies beside what each rank owns of them, and is what is evaluated."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .checkpoint import Checkpoint, Piece, persistent_buffers
from .saving import FragmentWriter

KIND = "ema"


class WeightAverage:
    """A float32 running mean of the trained tensors that ``pieces`` lie in, and of the model's running statistics, which
    belong to the weights that they were measured under.

    ``decay_at(step)``: the old value's share at a step, counted from 1 (Polyak and Juditsky 1992; the exponential form).
    """

    def __init__(self, pieces: Iterable[Piece], model: nn.Module, decay_at: Callable[[int], float]):
        self._decay_at = decay_at
        self._pieces = [p for p in pieces if p.flat.requires_grad]
        self._buffers = {n: b for n, b in persistent_buffers(model).items() if b.is_floating_point()}
        flats = {id(p.flat): p.flat for p in self._pieces}
        self._sources = [t.detach() for t in (*flats.values(), *self._buffers.values())]
        self._means = [t.float().clone() for t in self._sources]
        self._mean_of = dict(zip([*flats, *self._buffers], self._means))

    @property
    def buffers(self) -> list[Tensor]:
        """The means of running statistics, which differ from rank to rank as these do."""
        return [self._mean_of[name] for name in self._buffers]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After a step that was taken."""
        torch._foreach_lerp_(self._means, [t.float() for t in self._sources], 1 - self._decay_at(step))

    @contextmanager
    def swapped_in(self, spread: Callable[[], None]) -> Iterator[None]:
        """The means in the place of the weights, and afterwards these again, bitwise. ``spread()`` is called after each
        exchange, to bring what ranks own to where the forward pass reads it. After an error nothing is exchanged: the run
        has ended, and other ranks, which would be needed, may be gone."""
        kept = [t.clone() for t in self._sources]
        self._put(self._means)
        spread()
        yield
        self._put(kept)
        spread()

    def _put(self, values: list[Tensor]) -> None:
        for source, value in zip(self._sources, values):
            source.copy_(value)

    # ---- checkpoints

    def write(self, writer: FragmentWriter, pieces: Iterable[Piece], with_buffers: bool) -> None:
        """The means of ``pieces``, in the same stretches as their weights, and of the buffers on one rank."""
        for piece in pieces:
            if (mean := self._mean_of.get(id(piece.flat))) is not None:
                writer.add(KIND, piece.name, piece.shape, piece.start, piece.part_of(mean))
        for name, buffer in self._buffers.items() if with_buffers else ():
            writer.add(KIND, name, buffer.shape, 0, self._mean_of[name].reshape(-1))

    @torch.no_grad()
    def read(self, checkpoint: Checkpoint) -> None:
        """What was saved, whatever the ranks and the engine then; where nothing was, the mean begins with the weights."""
        saved = checkpoint.names(KIND)
        for piece in self._pieces:
            kind = KIND if piece.name in saved else "weight"
            values = checkpoint.fragment(kind, piece.name, piece.start, piece.numel)
            piece.part_of(self._mean_of[id(piece.flat)]).copy_(values)
        for name in self._buffers:
            self._mean_of[name].copy_(checkpoint.tensor(KIND if name in saved else "buffer", name))
