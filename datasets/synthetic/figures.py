"""People on foot and on bicycles, as capsules that move with the gait."""

import numpy as np

from .model import Model, tubes

_SKIN = ((0.86, 0.68, 0.56), (0.78, 0.58, 0.45), (0.58, 0.40, 0.29), (0.38, 0.25, 0.18))
_HAIR = ((0.10, 0.08, 0.07), (0.25, 0.16, 0.10), (0.48, 0.34, 0.18), (0.55, 0.53, 0.51))
_TOPS = (
    (0.62, 0.12, 0.13),
    (0.12, 0.22, 0.50),
    (0.82, 0.82, 0.80),
    (0.10, 0.10, 0.12),
    (0.20, 0.40, 0.26),
    (0.78, 0.62, 0.18),
    (0.45, 0.45, 0.48),
    (0.55, 0.35, 0.50),
    (0.85, 0.45, 0.18),
    (0.25, 0.48, 0.60),
)
_LEGS = ((0.12, 0.15, 0.26), (0.08, 0.08, 0.09), (0.42, 0.36, 0.28), (0.30, 0.31, 0.33), (0.22, 0.28, 0.40))
_SHOES = ((0.07, 0.06, 0.06), (0.75, 0.74, 0.72), (0.30, 0.20, 0.13))


class Person:
    """How somebody looks; `walking` and `riding` give the shapes at a phase of the gait."""

    def __init__(self, rng: np.random.Generator, umbrellas: bool = False, coats: bool = False):
        self.height = float(np.clip(rng.normal(1.70, 0.11), 1.12, 1.95))
        self.skin, self.hair = (np.array(options[rng.integers(len(options))]) for options in (_SKIN, _HAIR))
        self.top, self.legs, self.shoes = (
            np.clip(np.array(options[rng.integers(len(options))]) * rng.uniform(0.8, 1.15), 0, 1)
            for options in (_TOPS, _LEGS, _SHOES)
        )
        self.girth = float(rng.uniform(0.88, 1.2))
        self.long_hair, self.skirt = rng.random() < 0.35, rng.random() < 0.15
        self.backpack = _TOPS[rng.integers(len(_TOPS))] if rng.random() < 0.3 else None
        self.umbrella = _TOPS[rng.integers(len(_TOPS))] if umbrellas and rng.random() < 0.55 else None
        self.coat = coats and rng.random() < 0.6
        self.phase, self.stride = rng.uniform(0, 2 * np.pi), rng.uniform(0.36, 0.50)
        self.frame = np.array(_TOPS[rng.integers(len(_TOPS))])
        self.helmet = np.array(_TOPS[rng.integers(len(_TOPS))]) if rng.random() < 0.5 else None

    def walking(self, swing: float) -> Model:
        """Shapes at `swing`, the phase of the step in radians; 0 amplitude when standing is asked for by NaN."""
        still = np.isnan(swing)
        swing = 0.0 if still else swing + self.phase
        reach = 0.05 if still else self.stride
        h, g = self.height, self.girth
        hip_z, chest_z, neck_z = 0.51 * h, 0.77 * h, 0.845 * h
        rows = []
        for side in (-1, 1):
            rows += self._leg(side, hip_z, reach * np.sin(swing + (side > 0) * np.pi), swing + (side > 0) * np.pi)
        if self.skirt or self.coat:
            colour = self.top if self.coat else self.legs
            rows.append(((0, 0, hip_z + 0.03 * h), (0, 0, 0.34 * h), 0.10 * g * h * 0.9, 0.105 * g * h, colour))
        rows.append(((0, 0, hip_z), (0.01, 0, chest_z - 0.02 * h), 0.082 * g * h, 0.098 * g * h, self.top))
        for side in (-1, 1):
            rows.append(
                (
                    (0, side * 0.045 * g * h, hip_z + 0.06 * h),
                    (0, side * 0.062 * g * h, chest_z),
                    0.062 * g * h,
                    0.060 * g * h,
                    self.top,
                )
            )
        if self.backpack:
            rows.append(((-0.10 * h, 0, 0.62 * h), (-0.10 * h, 0, 0.74 * h), 0.075 * h, 0.07 * h, self.backpack))
        for side in (-1, 1):
            rows += self._arm(side, chest_z, -reach * np.sin(swing + (side > 0) * np.pi))
        rows += self._head(np.array([0.015, 0, neck_z]))
        if self.umbrella:
            rows.append(((0.12, -0.18, 0.62 * h), (0.10, -0.12, 1.16 * h), 0.012, 0.012, (0.15, 0.15, 0.15)))
            for k in range(4):
                radius = (0.50, 0.44, 0.32, 0.14)[k]
                z = 1.08 * h + 0.07 * k
                rows.append(((0.1, -0.12 - radius, z), (0.1, -0.12 + radius, z), 0.05, 0.05, self.umbrella))
        return Model((tubes(rows),))

    def _leg(self, side: int, hip_z: float, reach: float, swing: float):
        h = self.height
        lift = max(0.0, np.cos(swing)) * 0.09 * (abs(reach) > 0.02)
        hip = np.array([0, side * 0.052 * h, hip_z])
        foot = np.array([reach * 0.85, side * 0.05 * h, 0.055 + lift])
        knee = (hip + foot) / 2 + np.array([0.06 + 0.5 * lift, 0, 0.02])
        bare = self.skin if self.skirt else self.legs
        toe = foot + np.array([0.15, 0, -0.02])
        return [
            (hip, knee, 0.058 * self.girth * h * 0.9, 0.042 * h, self.legs),
            (knee, foot, 0.040 * h, 0.028 * h, bare),
            (foot + np.array([-0.04, 0, -0.01]), toe, 0.045, 0.038, self.shoes),
        ]

    def _arm(self, side: int, chest_z: float, reach: float):
        h = self.height
        shoulder = np.array([0, side * 0.112 * self.girth * h, chest_z + 0.015 * h])
        elbow = shoulder + np.array([reach * 0.30, side * 0.02, -0.165 * h])
        hand = elbow + np.array([reach * 0.55 + 0.06, -side * 0.01, -0.135 * h])
        if self.umbrella and side < 0:
            hand = np.array([0.14, -0.17, 0.64 * h])
        return [
            (shoulder, elbow, 0.034 * h, 0.028 * h, self.top * 0.93),
            (elbow, hand, 0.026 * h, 0.020 * h, self.top * 0.9),
            (hand, hand + np.array([0.01, 0, -0.04]), 0.024 * h, 0.02 * h, self.skin),
        ]

    def _head(self, neck: np.ndarray, helmet=None):
        h = self.height
        skull = neck + np.array([0.01, 0, 0.085 * h])
        rows = [
            (neck - np.array([0, 0, 0.03 * h]), skull, 0.030 * h, 0.030 * h, self.skin * 0.92),
            (
                skull + np.array([0.012, 0, -0.022 * h]),
                skull + np.array([0.005, 0, 0.01 * h]),
                0.047 * h,
                0.055 * h,
                self.skin,
            ),
        ]
        cap = self.hair if helmet is None else helmet
        rows.append(
            (
                skull + np.array([-0.025, 0, 0.02 * h]),
                skull + np.array([0.015, 0, 0.032 * h]),
                0.052 * h,
                0.042 * h,
                cap,
            )
        )
        if self.long_hair:
            rows.append(
                (
                    skull + np.array([-0.035, 0, 0.0]),
                    neck + np.array([-0.045, 0, -0.01 * h]),
                    0.048 * h,
                    0.042 * h,
                    self.hair,
                )
            )
        return rows

    def riding(self, turn: float) -> Model:
        """The rider on a bicycle, cranks at `turn` radians. The bicycle is 1.75 m long, its middle at the origin."""
        wheel, dark = 0.34, (0.08, 0.08, 0.09)
        rear, front = np.array([-0.53, 0, wheel]), np.array([0.53, 0, wheel])
        crank, saddle, bar = np.array([-0.08, 0, 0.29]), np.array([-0.26, 0, 0.93]), np.array([0.36, 0, 1.02])
        head, seat_top = np.array([0.37, 0, 0.84]), np.array([-0.21, 0, 0.80])
        tube = self.frame
        rows = [
            (rear, crank, 0.016, 0.016, tube),
            (rear, seat_top, 0.014, 0.014, tube),
            (crank, saddle, 0.018, 0.016, tube),
            (crank, head, 0.022, 0.022, tube),
            (seat_top, head, 0.02, 0.02, tube),
            (front, bar, 0.018, 0.016, tube),
            (bar + [0, -0.26, 0.02], bar + [0, 0.26, 0.02], 0.016, 0.016, dark),
            (saddle + [-0.12, 0, 0.02], saddle + [0.12, 0, 0.02], 0.06, 0.03, dark),
        ]
        hip, neck = saddle + [0.0, 0, 0.12], np.array([0.14, 0, 1.50])
        for side in (-1, 1):
            angle = turn + self.phase + (side > 0) * np.pi
            foot = crank + [0.17 * np.cos(angle), side * 0.12, 0.17 * np.sin(angle) + 0.03]
            start = hip + [0, side * 0.09, 0]
            knee = (start + foot) / 2 + [0.21, side * 0.02, 0.06]
            rows += [
                (start, knee, 0.085, 0.06, self.legs),
                (knee, foot, 0.058, 0.042, self.legs),
                (foot + [-0.05, 0, 0], foot + [0.13, 0, -0.02], 0.045, 0.035, self.shoes),
            ]
        rows.append((hip, neck - [0.02, 0, 0.12], 0.145 * self.girth, 0.155 * self.girth, self.top))
        if self.backpack:
            rows.append((hip + [-0.02, 0, 0.22], neck + [-0.18, 0, -0.10], 0.11, 0.12, self.backpack))
        for side in (-1, 1):
            shoulder, hand = neck + [0.0, side * 0.19, -0.10], bar + [0.0, side * 0.24, 0.05]
            elbow = (shoulder + hand) / 2 + [-0.04, side * 0.07, -0.06]
            rows += [(shoulder, elbow, 0.06, 0.048, self.top * 0.93), (elbow, hand, 0.045, 0.035, self.top * 0.9)]
        rows += self._head(neck + [0.05, 0, 0.0], self.helmet)
        rings = ((rear, wheel, dark), (front, wheel, dark))
        return Model((tubes(rows, rings),))
