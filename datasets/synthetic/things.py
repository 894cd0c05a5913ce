"""What stands and moves in the world, in road coordinates, and where it is at a moment."""

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from .classes import BOX_CLASSES, SEMANTIC_ID
from .figures import Person
from .model import Model


@dataclass(frozen=True, eq=False)
class Thing:
    """An object on a path along and across the road.

    kind: its semantic class. size: length, width, height in metres. s, d: where it is at time 0; speed and acceleration
    along s, sideways speed along d (m/s); yaw is relative to the road's heading. z: height of its frame above the
    ground; centre_z: height of its volume's centre. gait: radians of step or crank per second for a person. lit: its
    lamps burn when it is dark.
    """

    track_id: int
    kind: str
    size: tuple[float, float, float]
    s: float
    d: float
    yaw: float = 0.0
    z: float = 0.0
    centre_z: float = 0.0
    speed: float = 0.0
    acceleration: float = 0.0
    sideways: float = 0.0
    model: Model | None = None
    person: Person | None = None
    gait: float = np.nan
    lit: bool = True

    @property
    def moving(self) -> bool:
        """Whether it is elsewhere at another time."""
        return bool(self.speed or self.sideways or self.acceleration)

    @property
    def boxed(self) -> bool:
        """Whether the labels hold a 2D box for it."""
        return self.kind in BOX_CLASSES

    @property
    def semantic(self) -> int:
        """Its semantic class id."""
        return SEMANTIC_ID[self.kind]

    def along(self, time):
        """s at `time` (scalar or array); who brakes stops and stays."""
        if not self.acceleration:
            return self.s + self.speed * time
        if self.acceleration * self.speed < 0:
            time = np.minimum(time, -self.speed / self.acceleration)
        return self.s + self.speed * time + 0.5 * self.acceleration * time * time

    def across(self, time):
        """d at `time` (scalar or array)."""
        return self.d + self.sideways * time

    def shapes(self, time: float) -> Model:
        """Its model; people in motion are posed for the moment."""
        if self.person is None:
            assert self.model is not None
            return self.model
        if self.kind == "cyclist":
            return self.person.riding(0.0 if np.isnan(self.gait) else self.gait * time)
        return self.person.walking(self.gait * time)


@dataclass(frozen=True, eq=False)
class ObjectState:
    """A thing at a moment, in the world frame: x, y, z of its frame's origin, yaw about z, velocity [2] in m/s."""

    thing: Thing
    x: float
    y: float
    z: float
    yaw: float
    velocity: tuple[float, float] = (0.0, 0.0)

    @property
    def track_id(self) -> int:
        """The same number in every frame of the scene."""
        return self.thing.track_id

    @property
    def class_name(self) -> str:
        """Its semantic class."""
        return self.thing.kind

    @property
    def centre(self) -> np.ndarray:
        """float64 [3]: the centre of its 3D box, world frame."""
        return np.array([self.x, self.y, self.thing.centre_z])

    @property
    def size(self) -> tuple[float, float, float]:
        """Length, width, height of its 3D box."""
        return self.thing.size

    @cached_property
    def corners(self) -> np.ndarray:
        """float64 [8, 3]: the corners of its 3D box in the world, the lower four first."""
        length, width, height = self.size
        signs = np.array([(1, 1, -1), (1, -1, -1), (-1, -1, -1), (-1, 1, -1), (1, 1, 1), (1, -1, 1), (-1, -1, 1), (-1, 1, 1)])
        local = signs * (length / 2, width / 2, height / 2)
        c, s = np.cos(self.yaw), np.sin(self.yaw)
        return local @ np.array([[c, s, 0], [-s, c, 0], [0, 0, 1.0]]) + self.centre


@dataclass(frozen=True)
class Caster:
    """Something that keeps the sun off the ground: a block (half sizes along s and d), a crown of leaves or a post."""

    kind: str
    s: float
    d: float
    height: float
    half: tuple[float, float] = (0.1, 0.1)

    def outlines(self, away_s: float, away_d: float):
        """Yields corners (s [N], d [N]) of convex patches of shadow, its top's shadow lying (away_s, away_d) off."""
        if self.kind == "crown":
            yield self._swept(0.0, 0.45, away_s, away_d, 0.15)
            for low, high, share in ((0.38, 0.6, 0.8), (0.5, 0.85, 1.0), (0.75, 1.0, 0.7)):
                yield self._ellipse(low, high, away_s, away_d, share)
        elif self.kind == "bush":
            yield self._ellipse(0.0, 0.8, away_s, away_d, 1.0)
        else:
            yield self._swept(0.0, 1.0, away_s, away_d, 1.0)

    def _swept(self, low, high, away_s, away_d, share):
        s = self.s + np.array([-1, -1, 1, 1]) * self.half[0] * share
        d = self.d + np.array([-1, 1, 1, -1]) * self.half[1] * share
        return (
            np.concatenate([s + low * away_s, s + high * away_s]),
            np.concatenate([d + low * away_d, d + high * away_d]),
        )

    def _ellipse(self, low, high, away_s, away_d, share):
        angle = np.arange(10) * 2 * np.pi / 10
        s, d = self.s + self.half[0] * share * np.cos(angle), self.d + self.half[1] * share * np.sin(angle)
        return np.concatenate([s + low * away_s, s + high * away_s]), np.concatenate([d + low * away_d, d + high * away_d])


@dataclass
class Site:
    """A scene while it is being laid out. Lists of things and of what the ground needs to know about."""

    travel: float
    things: list[Thing] = field(default_factory=list)
    casters: list[Caster] = field(default_factory=list)
    lamps: list[tuple[float, float]] = field(default_factory=list)

    def add(self, kind: str, size, s: float, d: float, **options) -> Thing:
        """Adds a thing with the next track id; its box stands on the ground unless centre_z is given."""
        options.setdefault("centre_z", size[2] / 2)
        length, width, height = (float(v) for v in size)
        thing = Thing(len(self.things) + 1, kind, (length, width, height), float(s), float(d), **options)
        self.things.append(thing)
        return thing
