"""Sets up what stands still: house fronts, trees, lamps, signs, signals, hedges."""

import numpy as np

from . import buildings, foliage, street
from .model import Model, Sprite
from .rng import stream
from .road import Junction, Profile
from .things import Caster, Site

_BEHIND, _AHEAD = -45.0, 235.0  # how far from the ego's path things are set up


def plan_junction(key: int, place: str, waiting: bool) -> tuple[Junction, ...]:
    """Where a side street crosses, if one does."""
    rng = stream(key, "junction")
    if place == "highway" or (place == "suburban" and rng.random() < 0.45) or (rng.random() < 0.2 and not waiting):
        return ()
    half = rng.uniform(3.4, 5.0)
    signals = waiting or (place == "urban" and rng.random() < 0.7)
    s = 13.0 + half if waiting else rng.uniform(28, 90)
    return (Junction(s, half, 3.0 if place == "urban" else 1.8, signals),)


def plan_zebras(key: int, place: str, junctions) -> tuple[float, ...]:
    """Where people cross: at a junction with signals, or on their own."""
    rng = stream(key, "zebra")
    if place == "highway":
        return ()
    at = [j.s + side * (j.half_width + 3.2) for j in junctions if j.signals for side in (-1, 1)]
    if not at and rng.random() < 0.55:
        at = [rng.uniform(18, 70)]
        at = [z for z in at if all(abs(z - j.s) > j.half_width + 8 for j in junctions)]
    return tuple(at)


class Layout:
    """Fills a site. `open_at` tells whether a stretch is free of side streets."""

    def __init__(self, site: Site, key: int, profile: Profile, junctions, zebras, look):
        self.site, self.profile, self.junctions, self.zebras, self.look = site, profile, junctions, zebras, look
        self.key = key
        self.rng = stream(key, "layout")
        self.range = (_BEHIND, site.travel + _AHEAD)
        season = self.rng.random()
        self.species = (
            ("bare", "conifer", "bare")
            if look.snowy
            else (("autumn", "round", "tall") if season < 0.15 else ("round", "tall", "round", "conifer"))
        )

    def open_at(self, s_from: float, s_to: float, margin: float = 0.0) -> bool:
        """Whether no side street runs through [s_from, s_to]."""
        return all(
            s_to < j.s - j.half_width - j.pavement - margin or s_from > j.s + j.half_width + j.pavement + margin
            for j in self.junctions
        )

    def build(self) -> None:
        """Sets up everything for the kind of place."""
        {"urban": self._urban, "suburban": self._suburban, "highway": self._highway}[self.profile.place]()
        for junction in self.junctions:
            self._junction(junction)

    # -- pieces ---------------------------------------------------------------------------------------------------

    def tree(self, s: float, d: float, height: float, species: str | None = None, shadow: bool = True) -> None:
        """A tree, a bush or a piece of wood, as wide as its picture asks for."""
        species = species or self.species[self.rng.integers(len(self.species))]
        levels = foliage.tree(species, int(self.rng.integers(foliage.VARIANTS)), bool(self.rng.random() < 0.5), self.look.snowy)
        width = height * levels[0].shape[1] / levels[0].shape[0] * self.rng.uniform(0.85, 1.1)
        self.site.add("vegetation", (width, width, height), s, d, model=Model((Sprite(levels, width, height),)))
        if shadow:
            kind = "bush" if species in ("bush", "clump") else "crown"
            self.site.casters.append(Caster(kind, s, d, height, (width * 0.42, width * 0.42)))

    def post(self, s: float, d: float, height: float, model: Model, yaw: float = 0.0) -> None:
        """A pole and its thin shadow."""
        self.site.add("pole", (0.15, 0.15, height), s, d, yaw=yaw, model=model)
        self.site.casters.append(Caster("post", s, d, height, (0.06, 0.06)))

    def sign(self, s: float, d: float, toward: int, kind: str | None = None, yaw: float | None = None) -> None:
        """A road sign on a pole; toward +1 is read by those who drive along s."""
        rng = self.rng
        kind = kind or street.SIGN_KINDS[rng.integers(len(street.SIGN_KINDS))]
        numbers = (80, 100, 120, 130) if self.profile.place == "highway" else (20, 30, 40, 50)
        scale = 1.5 if self.profile.place == "highway" else 1.0
        size, low = rng.uniform(0.62, 0.80) * scale, rng.uniform(2.05, 2.5)
        yaw = ((0.0 if toward > 0 else np.pi) if yaw is None else yaw) + rng.normal(0, 0.06)
        self.post(s + 0.05 * toward, d, low + size, street.pole(low + size))
        self._plate(s, d, yaw, low + size / 2, (0.05, size, size), street.sign(kind, size, int(rng.choice(numbers))))

    def _plate(self, s, d, yaw, centre, size, model) -> None:
        self.site.add("traffic_sign", size, s, d, yaw=yaw, z=centre, centre_z=centre, model=model)

    def board(self, s: float, d: float, width: float, height: float, low: float) -> None:
        """A direction board on two legs."""
        for offset in (-0.36, 0.36):
            self.post(s + 0.12, d + offset * width, low + height, street.pole(low + height, 0.08))
        self._plate(
            s,
            d,
            0.0,
            low + height / 2,
            (0.06, width, height),
            street.board(width, height, self.rng, self.profile.place == "highway"),
        )

    def lamps(self, spacing: float, height: float, sides: tuple[int, ...]) -> None:
        """Street lamps at even spacing, their arms over the road."""
        modern, start = self.rng.random() < 0.6, self.rng.uniform(0, spacing)
        for side in sides:
            edge = self.profile.left_edge + 0.6 if side > 0 else self.profile.right_edge - 0.6
            for s in np.arange(self.range[0] + start + (side > 0) * spacing / 2, self.range[1], spacing):
                if not self.open_at(s, s, -1.5):
                    continue
                self.post(s, edge, height, street.street_lamp(height, 1.8, modern), yaw=-side * np.pi / 2)
                self.site.lamps.append((s, edge - side * 2.1))

    def _urban(self) -> None:
        self._house_rows()
        self.lamps(self.rng.uniform(24, 34), self.rng.uniform(7, 9), (-1, 1) if self.rng.random() < 0.6 else (-1,))
        planted = self.rng.random() < 0.7
        for side, edge in ((-1, self.profile.right_edge - 1.0), (1, self.profile.left_edge + 1.0)):
            for s in np.arange(*self.range, self.rng.uniform(9, 16)):
                at = s + self.rng.uniform(-2, 2)
                if planted and self.open_at(at, at, 1.5) and self.rng.random() < 0.55:
                    self.tree(at, edge, self.rng.uniform(4.5, 8.5), self.species[0])
            for s in np.arange(self.range[0], self.range[1], self.rng.uniform(22, 38)):
                at = s + self.rng.uniform(0, 15)
                if self.open_at(at, at):
                    self.sign(at, edge + side * self.rng.uniform(-0.45, 0.3), 1 if side < 0 else -1)

    def _house_rows(self) -> None:
        """Closed rows of town houses on both sides, from a pool of fronts, with gaps at side streets."""
        rng = self.rng
        pool = [buildings.town_house(int(v)) for v in rng.integers(0, buildings.TOWN_HOUSES, 12)]
        for side, front in ((-1, self.profile.front_right), (1, self.profile.front_left)):
            s = self.range[0]
            while s < self.range[1]:
                (length, width, height), model = pool[rng.integers(len(pool))]
                middle = s + length / 2
                if self.open_at(s, s + length):
                    self._building(middle, front + side * (width / 2 + rng.choice([0, 0, 0.4])), length, width, height, model)
                    s += length + (0.0 if rng.random() < 0.8 else rng.uniform(2, 5))
                else:
                    s += 2.0
        for junction in self.junctions:
            self._side_rows(junction, pool)

    def _side_rows(self, junction: Junction, pool) -> None:
        """Houses along the side street and one that closes its view."""
        for side, front in ((-1, self.profile.front_right), (1, self.profile.front_left)):
            for way in (-1, 1):
                d = abs(front) + 14.5
                while d < 85:
                    (length, width, height), model = pool[self.rng.integers(len(pool))]
                    s = junction.s + way * (junction.half_width + junction.pavement + width / 2)
                    self._building(s, side * (d + length / 2), length, width, height, model, np.pi / 2)
                    d += length
            (length, width, height), model = pool[self.rng.integers(len(pool))]
            self._building(junction.s, side * 98, length, width, height, model)

    def _building(self, s, d, length, width, height, model, yaw: float = 0.0) -> None:
        self.site.add("building", (length, width, height), s, d, yaw=yaw, model=model)
        half = (length / 2, width / 2) if yaw == 0 else (width / 2, length / 2)
        self.site.casters.append(Caster("block", s, d, height, half))

    def _suburban(self) -> None:
        rng = self.rng
        pool = [buildings.family_house(int(v)) for v in rng.integers(0, buildings.FAMILY_HOUSES, 12)]
        hedged = rng.random()
        for side, front in ((-1, self.profile.front_right), (1, self.profile.front_left)):
            s, setback = self.range[0] + rng.uniform(0, 10), rng.uniform(4.0, 9.0)
            while s < self.range[1]:
                (length, width, height), model = pool[rng.integers(len(pool))]
                if self.open_at(s, s + length):
                    self._building(
                        s + length / 2,
                        front + side * (setback + width / 2 + rng.uniform(0, 2)),
                        length,
                        width,
                        height,
                        model,
                    )
                    self._garden(s, length, front, side, setback, hedged)
                s += length + rng.uniform(5, 13)
            for at in np.arange(*self.range, 13.0):
                self.tree(at + rng.uniform(-4, 4), front + side * rng.uniform(20, 34), rng.uniform(7, 13), shadow=False)
            verge = (self.profile.right_edge if side < 0 else self.profile.left_edge) + side * 0.75
            for at in np.arange(*self.range, rng.uniform(11, 19)):
                at += rng.uniform(-3, 3)
                if rng.random() < 0.5 and self.open_at(at, at, 1):
                    self.tree(at, verge, rng.uniform(4.5, 8), self.species[0])
            for at in np.arange(*self.range, rng.uniform(28, 48)):
                at += rng.uniform(0, 18)
                if self.open_at(at, at):
                    self.sign(at, verge + side * 0.1, 1 if side < 0 else -1)
        self.lamps(rng.uniform(30, 40), rng.uniform(5, 6.5), (int(rng.choice([-1, 1])),))

    def _garden(self, s, length, front, side, setback, hedged) -> None:
        """A hedge at the pavement, bushes and a tree before the house."""
        rng = self.rng
        if rng.random() < hedged:
            run, height = length * rng.uniform(0.5, 0.95), rng.uniform(0.8, 1.6)
            model = buildings.hedge_box(run, 0.7, height, foliage.leaf_texture(int(rng.integers(6))))
            at, d = s + run / 2, front + side * 0.6
            self.site.add("vegetation", (run, 0.7, height), at, d, model=model)
            self.site.casters.append(Caster("block", at, d, height, (run / 2, 0.35)))
        for _ in range(int(rng.integers(0, 4))):
            self.tree(s + rng.uniform(-3, length + 3), front + side * rng.uniform(1.5, setback), rng.uniform(0.8, 2.0), "bush")
        if rng.random() < 0.6:
            self.tree(s + length + rng.uniform(1, 4), front + side * rng.uniform(2, setback + 4), rng.uniform(4, 9))

    def _highway(self) -> None:
        rng, profile = self.rng, self.profile
        outer = profile.left_edge
        if rng.random() < 0.75:
            self._median_hedge()
        for side in (-1, 1):
            barrier = rng.random() < 0.25
            if barrier:
                self._barrier(side, outer)
            for s in np.arange(*self.range, 9.0):
                if rng.random() < 0.75:
                    far = rng.uniform(14, 60)
                    species = "clump" if rng.random() < 0.45 else None
                    self.tree(s + rng.uniform(-6, 6), side * (outer + far), rng.uniform(6, 14), species, shadow=far < 22)
                if rng.random() < 0.5:
                    self.tree(s + rng.uniform(-4, 4), side * (outer + rng.uniform(4.5, 14)), rng.uniform(0.9, 2.6), "bush")
            for s in np.arange(np.floor(self.range[0] / 25) * 25, self.range[1], 25.0):
                self.post(s, side * (outer + 0.7), 1.0, street.pole(1.0, 0.06, (0.86, 0.86, 0.84)))
            for s in np.arange(self.range[0] + rng.uniform(10, 60), self.range[1], rng.uniform(50, 90)):
                self.sign(s, side * (outer + 1.4), -side, "limit" if rng.random() < 0.8 else "warning")
        at = rng.uniform(25, 110)
        if rng.random() < 0.45:
            self._gantry(at)
        else:
            self.board(at, -(outer + 3.6), rng.uniform(3.5, 5), rng.uniform(2.2, 3), 1.8)
        if rng.random() < 0.4:
            self.lamps(45.0, 10.0, (-1, 1))

    def _median_hedge(self) -> None:
        height = self.rng.uniform(0.8, 1.7)
        for s in np.arange(*self.range, 8.0):
            model = buildings.hedge_box(8.0, 1.1, height, foliage.leaf_texture(int(s) % 3))
            self.site.add("vegetation", (8.0, 1.1, height), s + 4, 0.0, model=model)
            self.site.casters.append(Caster("block", s + 4, 0.0, height, (4.0, 0.5)))

    def _barrier(self, side: int, outer: float) -> None:
        start, height = self.rng.uniform(-30, 60), self.rng.uniform(2.8, 4.2)
        model = buildings.noise_barrier(12.0, height, self.rng)
        for s in np.arange(start, start + 12 * self.rng.integers(5, 14), 12.0):
            self._building(s + 6, side * (outer + 3.2), 12.0, 0.3, height, model)

    def _gantry(self, s: float) -> None:
        """Boards on a beam over our carriageway."""
        right, left, top = self.profile.right_edge - 0.8, -0.3, 6.9
        beam = street.tubes(
            [
                ((0, -(left - right) / 2, top), (0, (left - right) / 2, top), 0.17, 0.17, (0.55, 0.57, 0.58)),
                (
                    (0, -(left - right) / 2, top - 0.7),
                    (0, (left - right) / 2, top - 0.7),
                    0.12,
                    0.12,
                    (0.55, 0.57, 0.58),
                ),
            ]
        )
        self.site.add("pole", (0.3, left - right, top), s + 0.35, (left + right) / 2, model=Model((beam,)))
        for d in (right, left):
            self.post(s + 0.35, d, top, street.pole(top, 0.2))
        lanes = [d for d, way in self.profile.lane_centres if way > 0]
        for d in lanes:
            height = 2.4
            self._plate(s, d, 0.0, top - 0.4, (0.1, 3.2, height), street.board(3.2, height, self.rng, True))

    def _junction(self, junction: Junction) -> None:
        """Signals on both sides of the stop lines, or priority signs; names of streets."""
        right, left = self.profile.right_edge - 0.5, self.profile.left_edge + 0.5
        before, beyond = junction.s - junction.half_width, junction.s + junction.half_width
        if not junction.signals:
            self.sign(before - 3.4, right - 1.4, 1, "ahead")
            priority = "stop" if self.rng.random() < 0.5 else "give_way"  # turned to those who come out of the side street
            self.sign(beyond + 1.0, right - 4.2, 1, priority, yaw=np.pi / 2)
            self.sign(before - 1.0, left + 4.2, 1, priority, yaw=-np.pi / 2)
            if self.rng.random() < 0.4:  # a one-way street, seen by those who would turn into it
                self.sign(beyond + 0.9, right - 1.6, 1, "no_entry", yaw=-0.9)
            return
        ours = "red" if self.site.travel < 0.5 else "green"
        for s, d, yaw, state in (
            (before - 5.0, right, 0.0, ours),
            (beyond + 5.0, left, np.pi, ours),
            (beyond + 1.2, right, 0.0, ours),
            (before - 1.2, left, np.pi, ours),
            (before - 1.6, right - 2.6, np.pi / 2, "green" if ours == "red" else "red"),
            (beyond + 1.6, left + 2.6, -np.pi / 2, "green" if ours == "red" else "red"),
        ):
            self.post(s, d, 3.6, street.traffic_light(3.6, state), yaw)
