"""Scenes: a drive of consecutive frames through a world that stays the same.

World frame: x forward at the start of the road, y left, z up, metres, radians. Everything is laid out in 3D; cameras,
boxes and lanes are read off it.
"""

from dataclasses import dataclass, field
from functools import cached_property, lru_cache

import numpy as np

from .geometry import pose
from .layout import Layout, plan_junction, plan_zebras
from .rng import even_draw, mix, pick, stream
from .road import AHEAD_M, BEHIND_M, PROFILES, Profile, Road
from .things import Caster, ObjectState, Site, Thing
from .traffic import Traffic
from .weather import Look, make_look

EGO_SIZE = (4.6, 1.85, 1.5)


@dataclass(frozen=True)
class WorldConfig:
    """What kind of drives there are.

    places, weathers, times: names with weights. frame_rate in frames per second. traffic: 1 is usual, 0 empty.
    """

    seed: int = 0
    frames_per_scene: int = 20
    frame_rate: float = 5.0
    traffic: float = 1.0
    places: tuple[tuple[str, float], ...] = (("urban", 0.45), ("suburban", 0.30), ("highway", 0.25))
    weathers: tuple[tuple[str, float], ...] = (
        ("clear", 0.42),
        ("overcast", 0.20),
        ("rain", 0.16),
        ("fog", 0.12),
        ("snow", 0.10),
    )
    times: tuple[tuple[str, float], ...] = (("day", 0.60), ("dusk", 0.18), ("night", 0.22))


@dataclass(frozen=True)
class Moment:
    """The world at a frame: time in seconds, ego_to_world float64 [4, 4], objects with their poses."""

    time: float
    ego_to_world: np.ndarray
    ego_s: float
    objects: list[ObjectState]

    def boxes3d(self) -> list[tuple[int, str, np.ndarray, tuple[float, float, float], float, np.ndarray]]:
        """Labelled objects in the ego frame: (track id, class, centre [3], length-width-height, yaw, velocity [2])."""
        world_to_ego = np.linalg.inv(self.ego_to_world)
        turn = np.arctan2(self.ego_to_world[1, 0], self.ego_to_world[0, 0])
        out = []
        for state in self.objects:
            if state.thing.boxed:
                centre = world_to_ego[:3, :3] @ state.centre + world_to_ego[:3, 3]
                velocity = world_to_ego[:2, :2] @ np.array(state.velocity)
                yaw = (state.yaw - turn + np.pi) % (2 * np.pi) - np.pi
                out.append((state.track_id, state.class_name, centre, state.size, float(yaw), velocity))
        return out


@dataclass(eq=False)
class Scene:
    """One drive. `at` gives the world at a frame; `tags` hold weather, time_of_day and place."""

    key: int
    index: int
    config: WorldConfig
    tags: dict[str, str]
    look: Look
    profile: Profile
    road: Road
    ego: Thing
    junctions: tuple
    zebras: tuple[float, ...]
    arrows: tuple[tuple[float, float, int], ...]
    things: list[Thing]
    casters: list[Caster]
    lamps: list[tuple[float, float]]
    cache: dict = field(default_factory=dict, repr=False)  # what renderers derive once per scene

    @property
    def times(self) -> np.ndarray:
        """float64 [frames]: seconds since the scene's first frame."""
        return np.arange(self.config.frames_per_scene) / self.config.frame_rate

    @cached_property
    def _still(self) -> list[ObjectState]:
        return [self._state(thing, 0.0) for thing in self.things if not thing.moving]

    def _state(self, thing: Thing, time: float) -> ObjectState:
        s, d = thing.along(time), thing.across(time)
        x, y, heading = (float(v) for v in self.road.to_world(s, d))
        speed = (float(thing.along(time + 0.05)) - float(thing.along(time - 0.05))) / 0.1 if thing.moving else 0.0
        velocity = (
            speed * np.cos(heading) - thing.sideways * np.sin(heading),
            speed * np.sin(heading) + thing.sideways * np.cos(heading),
        )
        return ObjectState(thing, x, y, thing.z, heading + thing.yaw, velocity)

    def at(self, frame: int) -> Moment:
        """The world at frame `frame` of this scene."""
        if not 0 <= frame < self.config.frames_per_scene:
            raise IndexError(f"scene {self.index} has frames 0 to {self.config.frames_per_scene - 1}, not {frame}")
        time = frame / self.config.frame_rate
        s = float(self.ego.along(time))
        x, y, heading = (float(v) for v in self.road.to_world(s, self.ego.d))
        moving = [
            self._state(thing, time)
            for thing in self.things
            if thing.moving and -BEHIND_M + 5 < thing.along(time) < self.road.s[-1] - 5
        ]
        return Moment(time, pose(x, y, 0.0, heading, self._nod(time)), s, self._still + moving)

    def _nod(self, time: float) -> float:
        """The body's pitch on its springs, radians."""
        phase = (self.key % 6283) / 1000
        lively = min(abs(self.ego.speed) / 12, 1.3)
        sway = np.sin(7.3 * time + phase) + 0.6 * np.sin(11.9 * time + 2 * phase)
        return float(0.0022 * lively * sway - 0.004 * self.ego.acceleration)

    def lane_lines(self, step: float = 2.0) -> list[np.ndarray]:
        """Painted lines along the road as polylines in the world, float64 [N, 3] each."""
        s = np.arange(-BEHIND_M + 5, self.road.s[-1] - 5, step)
        out = []
        for line in self.profile.lines:
            x, y, _ = self.road.to_world(s, line.d)
            out.append(np.stack([x, y, np.zeros_like(x)], axis=-1))
        return out


def scene_and_frame(config: WorldConfig, index: int) -> tuple[int, int]:
    """Which scene, and which frame in it, frame `index` of the data set is."""
    return divmod(index, config.frames_per_scene)


@lru_cache(maxsize=3)
def _cached_scene(config: WorldConfig, index: int) -> Scene:
    return _build(config, index)


def build_scene(seed: int, scene_index: int, config: WorldConfig | None = None) -> Scene:
    """Scene number scene_index of the world `seed`; the last few are kept. The same arguments give the same scene."""
    config = config or WorldConfig()
    if seed != config.seed:
        config = WorldConfig(**{**config.__dict__, "seed": seed})
    return _cached_scene(config, scene_index)


def _tags(config: WorldConfig, index: int) -> dict[str, str]:
    options = (("weather", config.weathers), ("time_of_day", config.times), ("place", config.places))
    return {name: pick(weighted, even_draw(axis, index, config.seed)) for axis, (name, weighted) in enumerate(options)}


def _ego(profile: Profile, duration: float, waiting: bool, rng: np.random.Generator) -> Thing:
    lanes = [d for d, way in profile.lane_centres if way > 0]
    low, high = {"urban": (5.0, 13.0), "suburban": (6.0, 13.5), "highway": (22.0, 34.0)}[profile.place]
    speed = 0.0 if waiting else rng.uniform(low, high)
    acceleration = 0.0 if waiting else float(np.clip(rng.normal(0, 0.5), -1.0, 1.0)) * (speed > 3)
    if speed + acceleration * duration < 2:
        acceleration = 0.0
    return Thing(
        0,
        "car",
        EGO_SIZE,
        0.0,
        float(lanes[rng.integers(len(lanes))]),
        speed=float(speed),
        acceleration=acceleration,
        centre_z=EGO_SIZE[2] / 2,
    )


def _build(config: WorldConfig, index: int) -> Scene:
    key = mix("scene", config.seed, index)
    rng = stream(key, "scene")
    tags = _tags(config, index)
    look = make_look(key, tags["weather"], tags["time_of_day"])
    profile = PROFILES[tags["place"]](stream(key, "profile"))
    times = np.arange(config.frames_per_scene) / config.frame_rate
    waiting = tags["place"] == "urban" and rng.random() < 0.2
    ego = _ego(profile, float(times[-1]), waiting, rng)
    travel = float(ego.along(times[-1]))
    road = Road(key, travel, {"urban": 0.0022, "suburban": 0.0055, "highway": 0.0014}[tags["place"]])
    junctions = plan_junction(key, tags["place"], waiting)
    zebras = plan_zebras(key, tags["place"], junctions)
    arrows = tuple(
        (j.s - j.half_width - 14.0, d, 1) for j in junctions if j.signals for d, way in profile.lane_centres if way > 0
    )
    site = Site(travel)
    Layout(site, key, profile, junctions, zebras, look).build()
    Traffic(site, key, profile, junctions, zebras, look, times, ego, config.traffic).build()
    return Scene(
        key,
        index,
        config,
        tags,
        look,
        profile,
        road,
        ego,
        junctions,
        zebras,
        arrows,
        site.things,
        site.casters,
        site.lamps,
    )


__all__ = ["AHEAD_M", "BEHIND_M", "Moment", "Scene", "WorldConfig", "build_scene", "scene_and_frame"]
