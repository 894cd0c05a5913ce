"""Cars as convex bodies with glass, wheels and lamps laid on."""

from functools import cache

import numpy as np

from .model import Glow, MeshBuilder, Model
from .rng import stream

CARS = 192  # how many different ones there are

_PAINTS = (
    ((0.86, 0.86, 0.87), 5),
    ((0.10, 0.10, 0.11), 5),
    ((0.42, 0.43, 0.45), 4),
    ((0.63, 0.64, 0.66), 4),
    ((0.14, 0.22, 0.42), 3),
    ((0.55, 0.09, 0.09), 2),
    ((0.30, 0.33, 0.38), 2),
    ((0.20, 0.32, 0.24), 1),
    ((0.62, 0.55, 0.42), 1),
    ((0.78, 0.45, 0.12), 0.6),
    ((0.80, 0.68, 0.16), 0.5),
    ((0.35, 0.55, 0.68), 1),
)
TYRE, RIM, ARCH = (0.07, 0.07, 0.075), (0.55, 0.56, 0.58), (0.05, 0.05, 0.055)
GLASS, GLASS_HIGH = (0.12, 0.15, 0.18), (0.27, 0.33, 0.38)
HEAD, TAIL, PLATE, DARK = (0.90, 0.91, 0.88), (0.55, 0.05, 0.06), (0.85, 0.85, 0.80), (0.09, 0.09, 0.10)

# length, width, height, belt line, bonnet length, boot length, windscreen run, rear glass run
_CARS = {
    "sedan": (4.65, 1.82, 1.46, 0.93, 1.15, 0.75, 0.85, 0.75),
    "hatchback": (4.05, 1.76, 1.49, 0.95, 0.90, 0.08, 0.80, 0.45),
    "estate": (4.70, 1.83, 1.48, 0.94, 1.15, 0.08, 0.80, 0.40),
    "suv": (4.55, 1.88, 1.70, 1.08, 1.05, 0.08, 0.70, 0.35),
    "van": (5.10, 1.95, 2.00, 1.12, 0.62, 0.04, 0.72, 0.12),
    "small": (3.60, 1.66, 1.52, 0.96, 0.68, 0.06, 0.72, 0.36),
}


def paint(rng: np.random.Generator) -> tuple[float, float, float]:
    """A car colour, common ones more often, varied a little."""
    weights = np.array([weight for _, weight in _PAINTS])
    colour = np.array(_PAINTS[rng.choice(len(_PAINTS), p=weights / weights.sum())][0])
    return tuple(np.clip(colour * rng.uniform(0.85, 1.12) + rng.normal(0, 0.015, 3), 0.03, 0.95))


@cache
def car(variant: int) -> tuple[tuple[float, float, float], Model]:
    """Passenger car number `variant`: its (length, width, height) and its model. Kept, since scenes share them."""
    rng = stream("car", variant)
    style = rng.choice(list(_CARS), p=(0.26, 0.24, 0.14, 0.20, 0.08, 0.08))
    length, width, height, belt, bonnet, boot, screen, rear = np.array(_CARS[style]) * rng.normal(1, 0.025, 8)
    body = _Body(length, width, height, belt, bonnet, boot, screen, rear, paint(rng))
    mesh = MeshBuilder((0, 0, belt * 0.55))
    body.add_lower(mesh)
    body.add_wheels(mesh)
    body.add_front_and_rear(mesh)
    body.add_cabin(mesh)  # last, since it stands on the body
    return (float(length), float(width), float(height)), Model((mesh.build(),), body.glows())


class _Body:
    """The measures of a car, from which its faces follow."""

    def __init__(self, length, width, height, belt, bonnet, boot, screen, rear, colour):
        self.half_l, self.half_w, self.height, self.belt = length / 2, width / 2, height, belt
        self.colour = colour
        self.nose = belt * 0.78
        self.tail = belt * (1.02 if boot > 0.3 else 1.0)
        self.base_front, self.base_rear = self.half_l - bonnet, -self.half_l + boot
        self.roof_front, self.roof_rear = self.base_front - screen, self.base_rear + rear
        self.sill, self.waist = 0.22, belt * 0.62
        self.wheel = 0.31 if height < 1.6 else 0.35
        self.axles = (self.half_l - 0.82, -self.half_l + 0.80)

    def outline(self, inset: float):
        """The body seen from above [8, 2], corners cut, from front right around to the left."""
        e, w = self.half_l - inset, self.half_w - inset
        front = [(e, -0.68 * w), (e, 0.68 * w), (e - 0.32, 0.97 * w)]
        rear = [(-e + 0.25, 0.98 * w), (-e, 0.76 * w), (-e, -0.76 * w), (-e + 0.25, -0.98 * w)]
        return front + [(0.0, w)] + rear + [(0.0, -w), (e - 0.32, -0.97 * w)]

    def top(self, x: float) -> float:
        """Height of the body's upper edge at x: the bonnet falls towards the nose."""
        if x > self.base_front:
            return self.belt - (self.belt - self.nose) * (x - self.base_front) / (self.half_l - self.base_front)
        return self.belt if x > self.base_rear - 0.01 else self.tail

    def add_lower(self, mesh: MeshBuilder) -> None:
        """Shade below, sides in two courses so that the shoulder catches light, bonnet, boot lid."""
        mesh.box((-self.half_l + 0.2, -self.half_w + 0.12, 0.10), (self.half_l - 0.2, self.half_w - 0.12, 0.4), ARCH)
        bottom, middle, upper = self.outline(0.03), self.outline(0.0), self.outline(0.05)
        count = len(middle)
        for i in range(count):
            j = (i + 1) % count
            a, b = (*bottom[i], self.sill), (*bottom[j], self.sill)
            c, d = (*middle[j], self.waist), (*middle[i], self.waist)
            e, f = (*upper[j], self.top(upper[j][0])), (*upper[i], self.top(upper[i][0]))
            mesh.poly([a, b, c, d], self.colour)
            mesh.poly([d, c, e, f], self.colour)
        bonnet = [p for p in upper if p[0] > self.base_front]
        edge = [(self.base_front, upper[3][1]), (self.base_front, -upper[3][1])]
        ring = sorted(bonnet, key=lambda p: p[1]) + edge
        mesh.poly([(x, y, self.top(x)) for x, y in ring], self.colour)
        w = self.half_w - 0.055
        deck = [(self.base_front, w), (0.0, w), (self.base_rear - 0.1, w)]
        mesh.poly([(x, y, self.belt) for x, y in deck + [(x, -y) for x, y in reversed(deck)]], self.colour)
        mesh.poly(
            [
                (self.base_rear + 0.1, -w, self.tail),
                (self.base_rear + 0.1, w, self.tail),
                (-self.half_l + 0.06, 0.74 * w, self.tail),
                (-self.half_l + 0.06, -0.74 * w, self.tail),
            ],
            self.colour,
        )
        for side in (-1, 1):
            y = side * self.half_w
            mesh.poly(
                [
                    (self.half_l - 0.4, y, self.sill),
                    (-self.half_l + 0.35, y, self.sill),
                    (-self.half_l + 0.35, y, self.sill + 0.09),
                    (self.half_l - 0.4, y, self.sill + 0.09),
                ],
                DARK,
                decal=True,
                min_px=22,
            )

    def add_wheels(self, mesh: MeshBuilder) -> None:
        """Arch, tyre and rim at each corner; the tyres' treads seen from ahead and behind."""
        r = self.wheel
        for x in self.axles:
            for side in (-1, 1):
                y = side * (self.half_w - 0.005)
                mesh.disc((x, y, r + 0.02), r + 0.065, ARCH, 14, z_from=self.sill - 0.04)
                mesh.disc((x, y + side * 0.005, r), r, TYRE, 14, decal=False)
                mesh.disc((x, y + side * 0.008, r), r * 0.66, RIM, 10, min_px=16)
                mesh.disc((x, y + side * 0.009, r), r * 0.22, DARK, 8, min_px=40)
        for x, sign in ((self.axles[0] + r * 0.8, 1), (self.axles[1] - r * 0.8, -1)):
            for side in (-1, 1):
                y0, y1 = side * (self.half_w - 0.24), side * (self.half_w - 0.03)
                mesh.poly([(x, y0, 0.0), (x, y1, 0.0), (x + sign * 0.1, y1, 0.34), (x + sign * 0.1, y0, 0.34)], TYRE)

    def add_front_and_rear(self, mesh: MeshBuilder) -> None:
        """Lamps, grille, plates, bumpers, door gaps."""
        end, w, nose, tail = self.half_l + 0.004, self.half_w, self.nose, self.tail
        lamp_low, lamp_high = nose * 0.78, nose * 0.95
        for side in (-1, 1):
            near, far = side * 0.40 * w, side * 0.66 * w
            corner = (end - 0.20, side * 0.86 * w)
            mesh.poly(
                [(end, near, lamp_low), (end, far, lamp_low), (end, far, lamp_high), (end, near, lamp_high)],
                HEAD,
                True,
                glow=1.0,
            )
            mesh.poly(
                [(end, far, lamp_low), (*corner, lamp_low), (*corner, lamp_high), (end, far, lamp_high)],
                HEAD,
                True,
                glow=0.7,
            )
            back, t_low, t_high = -end, tail * 0.75, tail * 0.93
            near, far = side * 0.55 * w, side * 0.75 * w
            mesh.poly(
                [(back, near, t_low), (back, far, t_low), (back, far, t_high), (back, near, t_high)],
                TAIL,
                True,
                glow=0.6,
            )
            corner = (back + 0.20, side * 0.945 * w)
            mesh.poly([(back, far, t_low), (*corner, t_low), (*corner, t_high), (back, far, t_high)], TAIL, True, glow=0.6)
        self._flat(mesh, end, 0.37 * w, nose * 0.66, nose * 0.90, DARK, 14)
        self._flat(mesh, end, 0.60 * w, 0.25, 0.42, DARK, 18)
        self._flat(mesh, end + 0.002, 0.27, 0.44, 0.55, PLATE, 20)
        self._flat(mesh, -end, 0.70 * w, 0.24, 0.40, DARK, 14)
        self._flat(mesh, -end - 0.002, 0.27, tail * 0.72, tail * 0.72 + 0.115, PLATE, 16)
        for x in (self.base_front - 0.55, self.base_front - 1.6):
            for side in (-1, 1):
                y = side * (w - 0.002)
                mesh.poly(
                    [(x, y, 0.3), (x - 0.025, y, 0.3), (x - 0.025, y, self.belt * 0.98), (x, y, self.belt * 0.98)],
                    tuple(0.45 * c for c in self.colour),
                    True,
                    60,
                )

    @staticmethod
    def _flat(mesh, x, half, low, high, colour, min_px) -> None:
        mesh.poly([(x, -half, low), (x, half, low), (x, half, high), (x, -half, high)], colour, True, min_px)

    def add_cabin(self, mesh: MeshBuilder) -> None:
        """Pillars in body colour with glass set in, then the roof."""
        wb, wr, zb, zr = self.half_w - 0.09, self.half_w * 0.76, self.belt - 0.01, self.height
        bf, br, rf, rr = self.base_front, self.base_rear, self.roof_front, self.roof_rear
        mesh.inside = (0, 0, zb)
        front = np.array([(bf, -wb, zb), (bf, wb, zb), (rf, wr, zr - 0.05), (rf, -wr, zr - 0.05)])
        rear = np.array([(br, -wb, zb), (br, wb, zb), (rr, wr, zr - 0.05), (rr, -wr, zr - 0.05)])
        for frame, inset in ((front, 0.07), (rear, 0.13)):
            mesh.poly(frame, self.colour)
            self._glass(mesh, frame, inset)
        for side in (-1, 1):
            frame = np.array([(bf, side * wb, zb), (br, side * wb, zb), (rr, side * wr, zr - 0.05), (rf, side * wr, zr - 0.05)])
            mesh.poly(frame, self.colour)
            for a, b in ((0.06, 0.50), (0.53, 0.94)):
                low, high = (
                    frame[0] + np.outer((a, b), frame[1] - frame[0]),
                    frame[3] + np.outer((a, b), frame[2] - frame[3]),
                )
                pane = np.array([low[0], low[1], high[1], high[0]])
                self._glass(mesh, pane, 0.08)
        edge = 0.08
        mesh.poly(
            [(rf, -wr, zr - 0.05), (rf, wr, zr - 0.05), (rf - edge, wr - edge, zr), (rf - edge, -wr + edge, zr)],
            self.colour,
            min_px=14,
        )
        mesh.poly(
            [(rr, -wr, zr - 0.05), (rr, wr, zr - 0.05), (rr + edge, wr - edge, zr), (rr + edge, -wr + edge, zr)],
            self.colour,
            min_px=14,
        )
        mesh.poly([(rf - edge, -wr, zr), (rf - edge, wr, zr), (rr + edge, wr, zr), (rr + edge, -wr, zr)], self.colour)
        for side in (-1, 1):
            y0, y1 = side * (wb + 0.02), side * (wb + 0.21)
            x = bf - 0.25
            mesh.poly(
                [(x, y0, zb + 0.02), (x, y1, zb + 0.04), (x, y1, zb + 0.17), (x, y0, zb + 0.15)],
                tuple(0.7 * c for c in self.colour),
                min_px=18,
            )
            mesh.poly(
                [
                    (x - 0.06, y0, zb + 0.02),
                    (x - 0.06, y1, zb + 0.04),
                    (x - 0.06, y1, zb + 0.17),
                    (x - 0.06, y0, zb + 0.15),
                ],
                DARK,
                min_px=18,
            )

    @staticmethod
    def _glass(mesh: MeshBuilder, frame: np.ndarray, inset: float) -> None:
        """A pane inside four corners (two low, two high), its upper part mirroring the sky."""
        middle = frame.mean(axis=0)
        pane = frame + (middle - frame) * np.array([inset, inset, inset * 1.6])
        mesh.poly(pane, GLASS, True, 5)
        high = pane.copy()
        high[0], high[1] = pane[0] * 0.45 + pane[3] * 0.55, pane[1] * 0.45 + pane[2] * 0.55
        mesh.poly(high, GLASS_HIGH, True, 24)

    def glows(self) -> tuple[Glow, ...]:
        """Headlamps and tail lamps."""
        out = []
        for side in (-1, 1):
            out.append(
                Glow(
                    np.array([self.half_l, side * 0.55 * self.half_w, self.nose * 0.86]),
                    (1.0, 0.97, 0.88),
                    0.55,
                    np.array([1.0, 0, 0]),
                )
            )
            out.append(
                Glow(
                    np.array([-self.half_l, side * 0.66 * self.half_w, self.tail * 0.82]),
                    (0.9, 0.08, 0.06),
                    0.26,
                    np.array([-1.0, 0, 0]),
                )
            )
        return tuple(out)
