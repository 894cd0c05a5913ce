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
    near = _nearest(states, houses, eye)
    order = [houses[i] for i in np.argsort(-near, kind="stable")]
    order = _insert(order, vehicles, states, at, distance, eye)
    return _insert(order, rest, states, at, distance, eye)


def _nearest(states, indices, eye) -> np.ndarray:
    """float64 [N]: distance from the eye to the nearest point of each footprint."""
    out = np.empty(len(indices))
    for row, i in enumerate(indices):
        local, half = _footprint(states[i], eye[None, :2])
        out[row] = np.hypot(*np.maximum(np.abs(local[0]) - half, 0))
    return out


def _footprint(state: ObjectState, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points [N, 2] in the thing's own frame, and its half sizes [2]."""
    c, s = np.cos(state.yaw), np.sin(state.yaw)
    return (points - (state.x, state.y)) @ np.array([[c, -s], [s, c]]), np.array(state.size[:2]) / 2


def _insert(order: list[int], extra: list[int], states, at, distance, eye) -> list[int]:
    """Puts `extra` into `order`, each before the first thing that may hide it."""
    if not extra:
        return order
    points = at[extra]
    slot = np.full(len(extra), len(order))
    for place in range(len(order) - 1, -1, -1):
        state = states[order[place]]
        hidden = _crosses(state, eye, points)
        reach = np.hypot(state.size[0], state.size[1]) / 2
        hidden |= distance[extra] > distance[order[place]] + reach
        slot[hidden] = place
    ranked = sorted(range(len(extra)), key=lambda k: (slot[k], -distance[extra[k]]))
    merged, k = [], 0
    for place in range(len(order) + 1):
        while k < len(ranked) and slot[ranked[k]] == place:
            merged.append(extra[ranked[k]])
            k += 1
        if place < len(order):
            merged.append(order[place])
    return merged


def _crosses(state: ObjectState, eye: np.ndarray, points: np.ndarray) -> np.ndarray:
    """bool [N]: whether the line from the eye to each point [N, 2] runs through the footprint (slab test)."""
    local, half = _footprint(state, np.vstack([eye[None, :2], points]))
    start, step = local[0], local[1:] - local[0]
    step = np.where(np.abs(step) < 1e-9, 1e-9, step)
    first, second = (-half - start) / step, (half - start) / step
    enter = np.minimum(first, second).max(axis=1)
    leave = np.maximum(first, second).min(axis=1)
    return (enter < leave) & (leave > 0) & (enter < 0.999)


def without_hidden(states: list[ObjectState], eye: np.ndarray) -> list[ObjectState]:
    """Leaves out what a single building hides altogether; most of a town lies behind its first row of houses."""
    if not states:
        return states
    corners = np.array([state.corners()[:4, :2] for state in states])
    tops = np.array([state.thing.z + state.size[2] if state.class_name == "traffic_sign" else state.size[2] + 0.6
                     for state in states]) - eye[2]
    nearest = np.linalg.norm(corners - eye[:2], axis=2).min(axis=1)
    rise = tops / np.maximum(nearest, 0.5)
    hidden = np.zeros(len(states), bool)
    for i, state in enumerate(states):
        if state.class_name != "building" or state.size[2] < 4:
            continue
        reach = np.linalg.norm(corners[i] - eye[:2], axis=1).max()
        wall = (state.size[2] * 0.72 - eye[2]) / reach  # gables are lower at their sides
        behind = (rise < wall) & ~hidden
        behind[i] = False
        if behind.any():
            points = corners[behind].reshape(-1, 2)
            hidden[behind] = _crosses(state, eye, points).reshape(-1, 4).all(axis=1)
    return [state for state, gone in zip(states, hidden, strict=True) if not gone]
