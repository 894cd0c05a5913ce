"""Random streams keyed by what they are for, so that no draw depends on another's order."""

import numpy as np

_MASK = (1 << 64) - 1


def splitmix64(state: int) -> int:
    """One splitmix64 step: a 64-bit integer to a well mixed 64-bit integer."""
    state = (state + 0x9E3779B97F4A7C15) & _MASK
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) & _MASK
    return state ^ (state >> 31)


def mix(*keys: int | str) -> int:
    """Folds integers and strings into 64 bits, alike on every machine and in every process."""
    state = 0
    for key in keys:
        value = int.from_bytes(key.encode(), "little") if isinstance(key, str) else int(key)
        while True:
            state = splitmix64(state ^ (value & _MASK))
            value >>= 64
            if value in (0, -1):
                break
    return state


def stream(*keys: int | str) -> np.random.Generator:
    """A generator of its own for these keys."""
    return np.random.Generator(np.random.Philox(key=mix(*keys)))


# The fractional parts of n * these fill [0, 1) evenly (they are hard to approximate by fractions: the golden ratio and
# the roots of 2 and 3), so that even a dozen scenes differ in every tag.
_EVEN_STEPS = (0.6180339887498949, 0.41421356237309515, 0.7320508075688772)


def even_draw(axis: int, index: int, *keys: int | str) -> float:
    """Low-discrepancy draw in [0, 1): number `index` along one of three axes, shifted by the keys."""
    shift = mix("even", axis, *keys) / 2**64
    return (shift + (index + 1) * _EVEN_STEPS[axis]) % 1.0


def pick(weighted: tuple[tuple[str, float], ...], u: float) -> str:
    """The name on which u in [0, 1) falls when names share the line by weight."""
    total = sum(weight for _, weight in weighted)
    for name, weight in weighted:
        u -= weight / total
        if u < 0:
            return name
    return weighted[-1][0]
