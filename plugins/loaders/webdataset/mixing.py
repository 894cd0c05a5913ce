"""Pictures that take partners: how a picture and its partners are seen, each through its own view, before one is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import accumulate

import numpy as np

from drivetrain import Camera, CameraSample, DataSpec, Encoded, RecipeError, Rng, Transform, View

from .decode import decode_label, draw_mask, grids
from .placement import place
from .shards import Damage

Rngs = dict[str, Rng]


class DamagedPartner(Damage):
    """Partner ``number`` of a sample is damaged, not the sample."""

    def __init__(self, number: int, why: str):
        super().__init__(number, why)
        self.number, self.why = number, why

    def __str__(self) -> str:
        return self.why


@contextmanager
def told_of_partner(number: int) -> Iterator[None]:
    """Damage that comes up is partner ``number``'s."""
    try:
        yield
    except Damage as damage:
        raise DamagedPartner(number, str(damage)) from damage


def refuse_mixing(spec: DataSpec) -> None:
    """Raises RecipeError where a frame's sensors or its clip would no longer belong to its picture."""
    mixing = ", ".join(name for name, transform in spec.transforms.items() if transform.partners)
    if spec.lidars or spec.clip_frames > 1:
        raise RecipeError(f"transforms {mixing}: pictures of several frames are mixed, sweeps and clips cannot be",
                          remedy="leave these transforms out, or data.lidars and data.clip")  # fmt: skip


def instances_in(camera: Camera, view: View) -> np.ndarray | None:
    """uint16 [H, W] through ``view``, 0 outside the picture; None where the frame has none. Raises Damage."""
    found = camera.instances
    if found is None or camera.image is None:
        return None
    pixels = decode_label("instances", found) if isinstance(found, Encoded) else found
    if pixels.shape != (camera.height, camera.width):
        raise Damage(f"instances of {pixels.shape} for a picture of {camera.height} x {camera.width}")
    out = np.empty(view.size, pixels.dtype)
    draw_mask(pixels, place(view, *pixels.shape, *grids(camera.image)), out, 0)
    return out


@dataclass
class Shown:
    """A picture on its way through the transforms: its ``view`` so far, the draws of each, and by transform the partners
    that it has taken. ``number`` is its own among the frame's partners, -1 for the frame itself; ``reads`` of the transform
    that has taken it."""

    view: View
    rngs: Rngs
    number: int = -1
    reads: tuple[str, ...] = ()
    partners: dict[str, list[Shown]] = field(default_factory=dict)

    def others(self) -> Iterator[Shown]:
        return (partner for partners in self.partners.values() for partner in partners)


class Mixing:
    """The views of ``transforms`` where some take partners."""

    def __init__(self, transforms: Mapping[str, Transform]):
        self._transforms = transforms
        counts = [transform.partners for transform in transforms.values()]
        self._first = dict(zip(transforms, accumulate(counts, initial=0)))

    def shown(self, seed: int, position: int, view: View, partner: Callable[[int], View]) -> Shown:
        """A picture seen first through ``view``; ``partner(number)`` is the first view of a partner."""
        shown = Shown(view, self._rngs(seed, position))
        for name, transform in self._transforms.items():
            taken = transform.takes(shown.rngs[name]) if transform.partners else 0
            fresh = [self._partner(name, n, seed, position, partner) for n in range(taken)]
            for earlier in shown.others():  # what is pasted into the picture goes where the picture goes
                own = Rng(seed, position, name)
                if transform.partners:
                    transform.takes(own)
                earlier.view = transform.views([earlier.view, *(other.view for other in fresh)], own)[0]
            views = transform.views([shown.view, *(other.view for other in fresh)], shown.rngs[name])
            shown.view = views[0]
            for other, seen in zip(fresh, views[1:], strict=True):
                other.view = seen
            if taken:
                shown.partners[name] = fresh
        return shown

    def finished(self, shown: Shown, draw: Callable[[Shown], CameraSample]) -> CameraSample:
        """The picture drawn, its partners too, and sent through the transforms."""
        sample = draw(shown)
        for name, transform in self._transforms.items():
            if partners := shown.partners.get(name):
                drawn = [self._until(name, draw(other), other.rngs) for other in partners]
                sample = transform.mix(sample, drawn, shown.rngs[name])
            else:
                sample = transform.pixels(sample, shown.rngs[name])
        return sample

    def _partner(self, name: str, n: int, seed: int, position: int, partner: Callable[[int], View]) -> Shown:
        """Partner ``n`` of transform ``name``, seen through those before it."""
        number = self._first[name] + n
        other = Shown(partner(number), self._rngs(seed, position, name, n), number, self._transforms[name].reads)
        for before in self._before(name):
            other.view = self._transforms[before].views([other.view], other.rngs[before])[0]
        return other

    def _until(self, name: str, sample: CameraSample, rngs: Rngs) -> CameraSample:
        for before in self._before(name):
            sample = self._transforms[before].pixels(sample, rngs[before])
        return sample

    def _before(self, name: str) -> list[str]:
        names = list(self._transforms)
        return names[: names.index(name)]

    def _rngs(self, *key: int | str) -> Rngs:
        return {name: Rng(*key, name) for name in self._transforms}
