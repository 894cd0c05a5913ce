"""Who drives, parks, cycles and walks, kept from running into one another."""

import numpy as np

from .figures import Person
from .rng import stream
from .things import Caster, Site, Thing
from .trucks import TRUCKS, truck
from .vehicles import CARS, car

_GAP = {"urban": 21.0, "suburban": 42.0, "highway": 38.0}
_TRUCKS = {"urban": 0.10, "suburban": 0.07, "highway": 0.26}


class Traffic:
    """Adds agents to a site; a candidate that would come too close to one already there is left out."""

    def __init__(self, site: Site, key: int, profile, junctions, zebras, look, times: np.ndarray, ego: Thing, density: float):
        self.site, self.profile, self.junctions, self.zebras, self.look = site, profile, junctions, zebras, look
        self.rng, self.times, self.ego, self.density = stream(key, "traffic"), times, ego, density
        self.taken: list[tuple[np.ndarray, np.ndarray, float, float]] = []
        self._occupy(ego, 1.5)
        for thing in site.things:
            if thing.kind == "pole":
                self._occupy(thing, 0.0)

    def build(self) -> None:
        """Vehicles first, since people look out for them."""
        for d, way in self.profile.lane_centres:
            self._lane(d, way)
        self._parked()
        for junction in self.junctions:
            self._side_street(junction)
        if self.profile.place != "highway":
            self._cyclists()
            self._crossing()
            self._pedestrians()

    def _extent(self, thing: Thing) -> tuple[float, float]:
        length, width, _ = thing.size
        turned = abs(np.sin(thing.yaw)) > 0.7
        return (width / 2, length / 2) if turned else (length / 2, width / 2)

    def _occupy(self, thing: Thing, margin: float) -> None:
        half_s, half_d = self._extent(thing)
        self.taken.append((thing.along(self.times), thing.across(self.times), half_s + margin, half_d))

    def _free(self, thing: Thing, margin_s: float, margin_d: float) -> bool:
        s, d = thing.along(self.times), thing.across(self.times)
        half_s, half_d = self._extent(thing)
        for other_s, other_d, other_half_s, other_half_d in self.taken:
            close = (np.abs(s - other_s) < half_s + other_half_s + margin_s) & (
                np.abs(d - other_d) < half_d + other_half_d + margin_d
            )
            if close.any():
                return False
        return True

    def _try(self, kind, size, s, d, margin_s=1.0, margin_d=0.25, shadow=False, **options) -> bool:
        candidate = Thing(0, kind, tuple(size), s, d, **options)
        if not self._free(candidate, margin_s, margin_d):
            return False
        thing = self.site.add(kind, size, s, d, **options)
        self._occupy(thing, 0.0)
        if shadow:
            half_s, half_d = self._extent(thing)
            self.site.casters.append(Caster("block", s, d, size[2] * 0.9, (half_s * 0.96, half_d * 0.92)))
        return True

    def _vehicle(self, truck_share: float):
        rng = self.rng
        if rng.random() < truck_share:
            size, model = truck(int(rng.integers(TRUCKS)), self.profile.place == "highway" and rng.random() < 0.7)
            return "truck", size, model
        size, model = car(int(rng.integers(CARS)))
        return "car", size, model

    def _lane(self, d: float, way: int) -> None:
        """A file of vehicles at one speed."""
        rng, place = self.rng, self.profile.place
        own = abs(d - self.ego.d) < 0.5
        speed, acceleration = self.ego.speed, self.ego.acceleration
        if not own and way > 0:
            speed, acceleration = speed * rng.uniform(0.86, 1.16), acceleration * 0.9
        elif way < 0:
            typical = {"urban": 10.0, "suburban": 11.0, "highway": 29.0}[place]
            speed, acceleration = -typical * rng.uniform(0.7, 1.15), 0.0
            if self.ego.speed == 0 and any(j.signals for j in self.junctions):
                speed = 0.0
        stop = self._stop_line(way) if speed == 0 else None
        right_lane = d == min(c for c, _ in self.profile.lane_centres) or d == max(c for c, _ in self.profile.lane_centres)
        s = -40.0 + rng.uniform(0, 20) if stop is None else (stop - 2.8 if way > 0 else stop + 2.8)
        end, step = self.site.travel + 215, -1 if stop is not None and way > 0 else 1
        while -45 < s < end + max(-speed, 0) * self.times[-1]:
            kind, size, model = self._vehicle(_TRUCKS[place] * (1.6 if right_lane and place == "highway" else 1.0))
            self._try(
                kind,
                size,
                s,
                d + rng.normal(0, 0.12),
                4.0 if stop is None else 0.8,
                model=model,
                speed=speed,
                acceleration=acceleration,
                yaw=0.0 if way > 0 else np.pi,
            )
            gap = rng.exponential(_GAP[place] / max(self.density, 0.05)) + 7.0 if stop is None else rng.uniform(1.5, 3)
            s += step * (gap + size[0])

    def _stop_line(self, way: int) -> float | None:
        for junction in self.junctions:
            if junction.signals:
                return junction.s - way * (junction.half_width + 6.0)
        return None

    def _parked(self) -> None:
        rng = self.rng
        for d, yaw in ((self.profile.parking_right, 0.0), (self.profile.parking_left, np.pi)):
            if d is None:
                continue
            fill = rng.uniform(0.35, 0.95)
            for s in np.arange(-38.0, self.site.travel + 190, 6.1):
                near_gap = any(abs(s - j.s) < j.half_width + 9 for j in self.junctions) or any(
                    abs(s - z) < 6 for z in self.zebras
                )
                if near_gap or rng.random() > fill:
                    continue
                kind, size, model = self._vehicle(0.03)
                self._try(
                    kind,
                    size,
                    s + rng.uniform(-0.3, 0.3),
                    d + rng.normal(0, 0.06),
                    0.3,
                    0.1,
                    True,
                    model=model,
                    lit=False,
                    yaw=yaw + rng.normal(0, 0.02),
                )

    def _side_street(self, junction) -> None:
        """Cross traffic: driving while we wait, else standing at its line."""
        rng = self.rng
        flows = self.ego.speed == 0
        for side in (-1, 1):
            edge = self.profile.right_edge if side < 0 else self.profile.left_edge
            lane = junction.s - side * junction.half_width * 0.5  # who comes from the right drives on the far half
            d = edge + side * (6.0 + (rng.uniform(0, 8) if flows else 0.0))
            for _ in range(int(rng.integers(0, 4))):
                kind, size, model = self._vehicle(0.1)
                sideways = -side * rng.uniform(6, 9) if flows else 0.0
                self._try(
                    kind,
                    size,
                    lane,
                    d + side * size[0] / 2,
                    0.5,
                    0.5,
                    model=model,
                    yaw=-side * np.pi / 2,
                    sideways=sideways,
                )
                d += side * (size[0] + rng.uniform(1.5, 5) + 9 * flows)

    def _cyclists(self) -> None:
        rng, profile = self.rng, self.profile
        lanes = [c for c, _ in profile.lane_centres]
        rate = (0.040 if profile.place == "urban" else 0.022) * self.density
        for _ in range(rng.poisson(rate * (self.site.travel + 120))):
            way = int(rng.choice([1, 1, -1]))
            d = min(lanes) - 1.0 if way > 0 else max(lanes) + 1.0
            if rng.random() < 0.3:
                d = (profile.front_right + 0.8) if way > 0 else (profile.front_left - 0.8)
            speed = rng.uniform(3.2, 6.5)
            self._try(
                "cyclist",
                (1.75, 0.62, 1.78),
                rng.uniform(-10, self.site.travel + 110),
                d + rng.normal(0, 0.15),
                0.8,
                0.2,
                person=Person(rng),
                speed=way * speed,
                gait=-speed * 1.25,
                yaw=0.0 if way > 0 else np.pi,
            )

    def _walker(self) -> Person:
        return Person(self.rng, umbrellas=self.look.weather == "rain", coats=self.look.weather in ("snow", "rain", "overcast"))

    def _person(self, s, d, yaw, speed, sideways, standing=False) -> bool:
        person = self._walker()
        size = (0.62, 0.58, person.height * 1.0)
        gait = np.nan if standing else 5.4 * max(abs(speed), abs(sideways)) / 1.3
        return self._try(
            "pedestrian", size, s, d, 0.15, 0.12, person=person, speed=speed, sideways=sideways, gait=gait, yaw=yaw
        )

    def _pedestrians(self) -> None:
        """Singles, pairs and groups on the pavements, some of them standing."""
        rng, profile = self.rng, self.profile
        rate = (0.30 if profile.place == "urban" else 0.075) * self.density
        rate *= {"day": 1.0, "dusk": 0.9, "night": 0.6}[self.look.time_of_day]
        for side, edge, front in (
            (-1, profile.right_edge, profile.front_right),
            (1, profile.left_edge, profile.front_left),
        ):
            low = edge + side * (0.6 if profile.place == "urban" else abs(front - edge) * 0.55)
            for _ in range(rng.poisson(rate * (self.site.travel + 120) / 2)):
                s, d = rng.uniform(-12, self.site.travel + 110), rng.uniform(*sorted((low, front - side * 0.35)))
                standing = rng.random() < 0.25
                way = int(rng.choice([-1, 1]))
                speed = 0.0 if standing else way * rng.uniform(0.9, 1.7)
                yaw = rng.uniform(-np.pi, np.pi) if standing else (0.0 if way > 0 else np.pi)
                for k in range(int(rng.choice([1, 1, 1, 2, 2, 3]))):
                    self._person(s + rng.normal(0, 0.25), d + side * 0.62 * k, yaw, speed, 0.0, standing)

    def _crossing(self) -> None:
        """People on zebra crossings that the ego does not reach in this scene."""
        rng, profile = self.rng, self.profile
        ego_reach = float(self.ego.along(self.times[-1])) + 5.0
        for zebra in self.zebras:
            for _ in range(rng.poisson(2.2 * self.density)):
                way = int(rng.choice([-1, 1]))
                d = rng.uniform(profile.right_edge, profile.left_edge)
                if zebra - 2 > ego_reach or self.ego.speed == 0:
                    self._person(zebra + rng.uniform(-1.2, 1.2), d, way * np.pi / 2, 0.0, way * rng.uniform(0.9, 1.6))
                else:
                    edge = profile.right_edge - 0.8 if way > 0 else profile.left_edge + 0.8
                    self._person(zebra + rng.uniform(-1.2, 1.2), edge, way * np.pi / 2, 0.0, 0.0, True)
