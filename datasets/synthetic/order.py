"""The order in which a painter must draw things, from the back to the front."""

import numpy as np

from .things import ObjectState


def painters_order(states: list[ObjectState], eye: np.ndarray) -> list[int]:
    """Indices of states, farthest first, for a camera at eye [>= 2] in the world.

    Distance alone fails for long things: a house front reaches from beside the camera to far ahead. So whatever the
    line of sight meets behind a footprint is drawn before it: first vehicles among houses, then the rest among both.
    """
    if not states:
        return []
    at = np.array([(state.x, state.y) for state in states])
    distance = np.hypot(*(at - eye[:2]).T)
    houses = [i for i, state in enumerate(states) if state.class_name == "building"]
    vehicles = [i for i, state in enumerate(states) if state.class_name in ("car", "truck")]
    rest = sorted(set(range(len(states))) - set(houses) - set(vehicles))
    near = _Footprints([states[i] for i in houses]).nearest(eye)
    order = [houses[i] for i in np.argsort(-near, kind="stable")]
    order = _insert(order, vehicles, states, at, distance, eye)
    return _insert(order, rest, states, at, distance, eye)


class _Footprints:
    """Footprints of things as arrays, to test them all at once."""

    def __init__(self, states: list[ObjectState]):
        self.centre = np.array([(state.x, state.y) for state in states]).reshape(-1, 2)
        yaw = np.array([state.yaw for state in states])
        self.cos, self.sin = np.cos(yaw), np.sin(yaw)
        self.half = np.array([state.size[:2] for state in states]).reshape(-1, 2) / 2

    def local(self, points: np.ndarray) -> np.ndarray:
        """Points [N, 2] in each footprint's own frame, float64 [M, N, 2]."""
        x, y = np.moveaxis(points[None] - self.centre[:, None], -1, 0)
        c, s = self.cos[:, None], self.sin[:, None]
        return np.stack([c * x + s * y, c * y - s * x], axis=-1)

    def nearest(self, eye: np.ndarray) -> np.ndarray:
        """float64 [M]: distance from the eye to the nearest point of each footprint."""
        return np.linalg.norm(np.maximum(np.abs(self.local(eye[None, :2])[:, 0]) - self.half, 0), axis=-1)

    def crossed(self, eye: np.ndarray, points: np.ndarray) -> np.ndarray:
        """bool [M, N]: whether the line from the eye to each point [N, 2] runs through a footprint (slab test)."""
        local = self.local(np.vstack([eye[None, :2], points]))
        start, step = local[:, :1], local[:, 1:] - local[:, :1]
        step = np.where(np.abs(step) < 1e-9, 1e-9, step)
        half = self.half[:, None]
        first, second = (-half - start) / step, (half - start) / step
        enter = np.minimum(first, second).max(axis=-1)
        leave = np.maximum(first, second).min(axis=-1)
        return (enter < leave) & (leave > 0) & (enter < 0.999)


def _insert(order: list[int], extra: list[int], states, at, distance, eye) -> list[int]:
    """Puts `extra` into `order`, each before the first thing that may hide it."""
    if not extra or not order:
        return order + sorted(extra, key=lambda i: -distance[i])
    there = [states[i] for i in order]
    reach = np.array([np.hypot(*state.size[:2]) / 2 for state in there])
    hidden = _Footprints(there).crossed(eye, at[extra]) | (distance[extra][None] > (distance[order] + reach)[:, None])
    slot = np.where(hidden.any(axis=0), hidden.argmax(axis=0), len(order))
    ranked = sorted(zip(slot.tolist(), (-distance[extra]).tolist(), extra, strict=True))
    merged, k = [], 0
    for place in range(len(order) + 1):
        while k < len(ranked) and ranked[k][0] == place:
            merged.append(ranked[k][2])
            k += 1
        if place < len(order):
            merged.append(order[place])
    return merged


def without_hidden(states: list[ObjectState], eye: np.ndarray) -> list[ObjectState]:
    """Leaves out what a single building hides altogether; most of a town lies behind its first row of houses."""
    walls = [i for i, state in enumerate(states) if state.class_name == "building" and state.size[2] > 4]
    if not walls:
        return states
    corners = np.array([state.corners[:4, :2] for state in states])
    away = np.linalg.norm(corners - eye[:2], axis=2)
    height = np.array([state.thing.centre_z + state.size[2] / 2 for state in states])
    rise = (height + 0.6 - eye[2]) / np.maximum(away.min(axis=1), 0.5)
    # Gables are lower at their sides, so a house hides only what stays below three quarters of its height.
    wall = (height[walls] * 0.72 - eye[2]) / away[walls].max(axis=1)
    crossed = _Footprints([states[i] for i in walls]).crossed(eye, corners.reshape(-1, 2))
    hides = crossed.reshape(len(walls), len(states), 4).all(axis=2) & (rise[None] < wall[:, None])
    hides[np.arange(len(walls)), walls] = False
    return [state for state, gone in zip(states, hides.any(axis=0), strict=True) if not gone]
