"""Light and air: what weather and time of day do to colours."""

from dataclasses import dataclass

import numpy as np

from .rng import stream

# Colours are display-referred, 0 to 1. Rows: ambient light, sunlight, zenith, horizon, haze.
_TIMES = {
    "day": ((0.61, 0.64, 0.70), (0.76, 0.71, 0.61), (0.28, 0.47, 0.78), (0.72, 0.82, 0.92), (0.74, 0.81, 0.89)),
    "dusk": ((0.45, 0.44, 0.50), (0.52, 0.30, 0.15), (0.20, 0.25, 0.44), (0.93, 0.62, 0.38), (0.66, 0.52, 0.47)),
    "night": ((0.12, 0.13, 0.18), (0.0, 0.0, 0.0), (0.018, 0.025, 0.055), (0.085, 0.085, 0.11), (0.06, 0.065, 0.09)),
}
# cloud cover, direct sun left, grey pull, haze per metre, wetness, brightness of the ambient light
_WEATHERS = {
    "clear": (0.35, 1.0, 0.0, 0.0010, 0.0, 1.0),
    "overcast": (1.0, 0.0, 0.85, 0.0022, 0.0, 1.12),
    "rain": (1.0, 0.0, 0.92, 0.0060, 1.0, 0.86),
    "fog": (1.0, 0.0, 0.95, 0.0210, 0.35, 1.08),
    "snow": (1.0, 0.0, 0.90, 0.0080, 0.2, 1.08),
}


@dataclass(frozen=True)
class Look:
    """Light, air and surface state of a scene. Colours float64 [3], 0 to 1; sun: unit vector to it, world frame."""

    weather: str
    time_of_day: str
    sun: np.ndarray
    ambient: np.ndarray
    sunlight: np.ndarray
    zenith: np.ndarray
    horizon: np.ndarray
    haze: np.ndarray
    haze_per_metre: float
    clouds: float
    wetness: float
    grain: float

    @property
    def night(self) -> bool:
        """Street lamps and headlights are what one sees by."""
        return self.time_of_day == "night"

    @property
    def lights_on(self) -> bool:
        """Vehicles drive with their lights lit."""
        return self.time_of_day != "day" or self.weather in ("rain", "fog", "snow")

    @property
    def snowy(self) -> bool:
        """Snow lies on the ground."""
        return self.weather == "snow"

    @property
    def shadows(self) -> float:
        """How much of the light a cast shadow takes, 0 to 1."""
        direct = float(self.sunlight.mean())
        return 0.0 if direct < 0.05 else direct / (direct + float(self.ambient.mean())) * 0.95

    def clarity(self, distance):
        """Share of an object's own colour that reaches the eye from `distance` metres (scalar or array)."""
        return np.exp(-self.haze_per_metre * distance)


def make_look(key: int, weather: str, time_of_day: str) -> Look:
    """The light of one scene; sun height and direction, cloud cover and haze vary with the key."""
    rng = stream(key, "look")
    ambient, sunlight, zenith, horizon, haze = (np.array(row) for row in _TIMES[time_of_day])
    cover, direct, grey, per_metre, wetness, gain = _WEATHERS[weather]
    grey_sky = {"day": 0.80, "dusk": 0.56, "night": 0.12}[time_of_day] * (
        0.86 if weather == "rain" else 1.35 if (weather, time_of_day) == ("fog", "night") else 1.0
    )
    tint = np.array([0.985, 1.0, 1.025])
    zenith = zenith * (1 - grey) + grey * grey_sky * 0.92 * tint
    horizon = horizon * (1 - grey) + grey * grey_sky * 1.06 * tint
    haze = haze * (1 - grey) + grey * grey_sky * 1.03 * tint
    ambient = (ambient * (1 - 0.4 * grey) + 0.4 * grey * ambient.mean()) * gain
    if direct == 0 and time_of_day == "day":
        ambient = ambient * 1.22  # the whole bright sky lights the ground
    clouds = float(np.clip(cover * rng.uniform(0.3, 1.7), 0, 1)) if weather == "clear" else 1.0
    return Look(
        weather,
        time_of_day,
        _sun_direction(rng, time_of_day),
        ambient * rng.uniform(0.94, 1.05),
        sunlight * direct * rng.uniform(0.9, 1.08),
        zenith,
        np.minimum(horizon, 0.97),
        np.minimum(haze, 0.95),
        per_metre * rng.uniform(0.75, 1.4),
        clouds,
        wetness * rng.uniform(0.7, 1.0),
        {"day": 1.6, "dusk": 2.6, "night": 4.0}[time_of_day],
    )


def _sun_direction(rng: np.random.Generator, time_of_day: str) -> np.ndarray:
    height = np.radians(rng.uniform(28, 58) if time_of_day == "day" else rng.uniform(9, 16))
    azimuth = rng.uniform(-np.pi, np.pi)
    return np.array([np.cos(height) * np.cos(azimuth), np.cos(height) * np.sin(azimuth), np.sin(height)])


def headlight(x, y):
    """The ego's own low beam on something at (x, y) in its frame, 0 to about 1 (scalars or arrays)."""
    ahead = np.maximum(x - 2.2, 0.05)
    spread = np.exp(-(((y + 0.02 * ahead) / (1.6 + 0.30 * ahead)) ** 2))
    rise = 1 - np.exp(-ahead / 3.0)
    return spread * rise * 1.15 / (1 + (ahead / 27.0) ** 2)
