"""Random numbers from integer keys alone: the same on any machine, in any process, with any version of NumPy."""

from __future__ import annotations

import math

import numpy as np

_MASK = (1 << 64) - 1


def mix(value: int) -> int:
    """splitmix64's finaliser (Steele, Lea, Flood 2014): one 64-bit integer well mixed."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


def hash_key(*parts: int | str) -> int:
    """One unsigned 64-bit integer from several keys, strings by their UTF-8 bytes."""
    state = 0
    for part in parts:
        if isinstance(part, str):
            for byte in part.encode():
                state = mix(state ^ byte)
            part = len(part)
        state = mix(state ^ (int(part) & _MASK))
    return state


def hash_array(state: int, values: np.ndarray) -> np.ndarray:
    """`mix` of ``state ^ value`` for every value: uint64 like ``values``."""
    with np.errstate(over="ignore"):
        x = np.asarray(values, np.uint64) ^ np.uint64(state)
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


class Rng:
    """A stream of random numbers whose state is a key and a counter."""

    def __init__(self, *key: int | str):
        self._key, self._count = hash_key(*key), 0

    def _next(self) -> int:
        self._count += 1
        return mix(self._key ^ mix(self._count))

    def uniform(self, low: float = 0.0, high: float = 1.0) -> float:
        """A float in [low, high)."""
        return low + (high - low) * (self._next() >> 11) * 2.0**-53

    def integer(self, low: int, high: int) -> int:
        """An integer in [low, high); the bias of the modulus is below 2**-32 for ranges below 2**32."""
        return low + self._next() % (high - low)

    def normal(self, mean: float = 0.0, std: float = 1.0) -> float:
        """A normal deviate by Box and Muller."""
        radius = math.sqrt(-2.0 * math.log(1.0 - self.uniform()))
        return mean + std * radius * math.cos(2.0 * math.pi * self.uniform())
