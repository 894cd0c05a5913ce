"""How bright things are where they stand."""

from dataclasses import dataclass, field

import numpy as np

from .weather import Look, headlight

LAMP_RGB = np.array([0.86, 0.66, 0.42])
BEAM_RGB = np.array([0.98, 0.95, 0.86])


@dataclass(frozen=True)
class Illumination:
    """Light of one frame. lamps float64 [M, 2]: street lamps in the world; world_to_ego float64 [4, 4]."""

    look: Look
    lamps: np.ndarray
    world_to_ego: np.ndarray
    eye: np.ndarray
    _known: dict = field(default_factory=dict)

    def local(self, x: float, y: float) -> tuple[float, float]:
        """Light of the street lamps and of the ego's beam at a place, both 0 to about 1."""
        if not self.look.lights_on:
            return 0.0, 0.0
        if (x, y) not in self._known:
            self._known[x, y] = self._local(x, y)
        return self._known[x, y]

    def _local(self, x: float, y: float) -> tuple[float, float]:
        ahead, left = (self.world_to_ego @ (x, y, 0.0, 1.0))[:2]
        beam = float(headlight(ahead, left)) if ahead > 0 else 0.0
        if not self.look.night:
            return 0.0, beam * 0.12
        lamp = 0.0
        if len(self.lamps):
            square = ((self.lamps - (x, y)) ** 2).sum(axis=1) / 60.0
            lamp = float((0.5 / (1 + square) ** 1.4).sum())
        return min(lamp, 0.8), beam

    def on_faces(self, normals: np.ndarray, x: float, y: float) -> np.ndarray:
        """float64 [F, 3]: light that falls on faces with these world normals [F, 3] at (x, y)."""
        look = self.look
        light = look.ambient * (0.72 + 0.28 * normals[:, 2:3])
        if look.sunlight[0] > 0:
            light = light + look.sunlight * np.maximum(normals @ look.sun, 0.0)[:, None]
        lamp, beam = self.local(x, y)
        if lamp or beam:
            sight = np.array([x - self.eye[0], y - self.eye[1], 0.0])
            facing = np.maximum(-(normals @ sight) / (np.linalg.norm(sight) + 1e-6), 0.12)
            light = light + lamp * LAMP_RGB * (0.55 + 0.45 * np.abs(normals[:, 2:3])) + beam * BEAM_RGB * facing[:, None]
        return light

    def all_round(self, x: float, y: float) -> np.ndarray:
        """float64 [3]: light on something without faces, such as a tree or a person."""
        look = self.look
        lamp, beam = self.local(x, y)
        return look.ambient * 0.94 + look.sunlight * 0.46 + lamp * LAMP_RGB + beam * BEAM_RGB

    def through_air(self, colours: np.ndarray, distance) -> np.ndarray:
        """Colours [..., 3] as they look from `distance` metres away."""
        clear = self.look.clarity(distance)
        return colours * clear + self.look.haze * (1 - clear)
