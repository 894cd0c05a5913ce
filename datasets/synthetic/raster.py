"""Draws the shapes of a thing into an image and an id map."""

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from .geometry import NEAR_M, SUBPIXEL_BITS, View, clip_near, fixed_point, rotation_z
from .lighting import Illumination
from .model import Mesh, Model, Panel, Sprite, Tubes
from .surfaces import Surfaces
from .things import ObjectState

_ARC = np.exp(1j * np.linspace(-np.pi / 2, np.pi / 2, 6))  # half a circle, in complex numbers
_COMPLEX = np.array([1, 1j])
_FACING = np.array([0.0, 0, 1])


@dataclass
class Canvas:
    """image uint8 [H, W, 3]; ids uint16 [H, W], 0 where only ground and sky are; surfaces: where depth is asked for."""

    image: np.ndarray
    ids: np.ndarray
    surfaces: Surfaces | None = None

    def surface(self, normal: np.ndarray, points: np.ndarray) -> int:
        """The number of a flat surface (`Surfaces.add`), 0 where depth is not asked for."""
        return 0 if self.surfaces is None else self.surfaces.add(normal, points)

    def polygon(self, corners: np.ndarray, colour, number: int, surface: int = 0) -> None:
        """Fills a convex polygon of fixed-point corners; number 0 leaves the ids alone, and the depth."""
        cv2.fillConvexPoly(self.image, corners, colour, cv2.LINE_AA, SUBPIXEL_BITS)
        if number:
            cv2.fillConvexPoly(self.ids, corners, number, cv2.LINE_8, SUBPIXEL_BITS)
        if number and self.surfaces is not None:
            cv2.fillConvexPoly(self.surfaces.numbers, corners, surface, cv2.LINE_8, SUBPIXEL_BITS)

    def stamp(self, window: tuple[slice, slice], where: np.ndarray, number: int, surface: int) -> None:
        """Gives the ids and surfaces of a window where a mask [h, w] says so."""
        self.ids[window][where] = number
        if self.surfaces is not None:
            self.surfaces.numbers[window][where] = surface


def _clip_window(corners: np.ndarray, shape) -> tuple[int, int, int, int]:
    """The part of the image, as x0, y0, x1, y1, that pixels [N, 2] may touch."""
    low, high = np.floor(corners.min(axis=0) - 1), np.ceil(corners.max(axis=0) + 1)
    x0, y0 = (int(v) for v in np.maximum(low, 0))
    return x0, y0, int(min(high[0], shape[1])), int(min(high[1], shape[0]))


def _scalar(colour: np.ndarray) -> Any:
    """A colour [3] as OpenCV's arithmetic takes it: four numbers in a tuple, which its stubs leave out."""
    return (*colour, 0.0)


class Painter:
    """Draws things in the order given."""

    def __init__(self, canvas: Canvas, view: View, light: Illumination):
        self.canvas, self.view, self.light = canvas, view, light
        sun = view.rotation @ light.look.sun
        self.lit_side = sun[:2] / (np.linalg.norm(sun[:2]) + 1e-6) if light.look.shadows else np.array([0.0, -1.0])

    def draw(self, state: ObjectState, model: Model, number: int) -> None:
        """Draws all parts of a thing; its pixels get this number."""
        turn = rotation_z(state.yaw)
        self.state, self.number, self.turn = state, number, turn
        self.to_camera = self.view.rotation @ turn
        self.offset = self.view.rotation @ (np.array([state.x, state.y, state.z]) - self.view.position)
        # The size in pixels decides which details are worth drawing.
        self.pixels = self.view.focal * max(state.size) / max(float(self.offset[2]), 1.0)
        for part in model.parts:
            self._shape(part)

    def _shape(self, shape) -> None:
        if isinstance(shape, Mesh):
            self._mesh(shape)
        elif isinstance(shape, Panel):
            self._panel(shape)
        elif isinstance(shape, Sprite):
            self._sprite(shape)
        elif isinstance(shape, Tubes):
            self._tubes(shape)
        else:
            for mesh in sorted(shape, key=lambda mesh: -np.linalg.norm(self._camera(mesh.centre[None])[0])):
                self._mesh(mesh)

    def _camera(self, points: np.ndarray) -> np.ndarray:
        return points @ self.to_camera.T + self.offset

    def _bytes(self, colours: np.ndarray) -> list[list[float]]:
        return np.minimum(colours * 255, 255).tolist()

    def _mesh(self, mesh: Mesh) -> None:
        points, anchors = self._camera(mesh.vertices), self._camera(mesh.anchors)
        facing = ((mesh.normals @ self.to_camera.T) * anchors).sum(axis=1) < 0
        seen = np.nonzero(facing & (mesh.min_px < self.pixels))[0]
        if not len(seen) or points[:, 2].max() < NEAR_M:
            return
        light = self.light.on_faces(mesh.normals[seen] @ self.turn.T, self.state.x, self.state.y)
        base = mesh.colours[seen]
        if self.light.look.snowy:
            base = base + self._snow_cover(mesh.normals[seen, 2:3]) * (0.9 - base)
        if self.light.look.lights_on and self.state.thing.lit:
            light = light + mesh.glow[seen][:, None] * (0.9 if self.light.look.night else 0.5)
        distance = max(float(np.linalg.norm(self.offset)), 0.1)
        colours = self._bytes(self.light.through_air(base * light, distance))
        if points[:, 2].min() > NEAR_M:
            corners = fixed_point(self.view.to_pixels(points))
            for face, colour in zip(seen.tolist(), colours, strict=True):
                number = 0 if mesh.decal[face] else self.number
                surface = self._face(mesh, face, points[mesh.faces[face]])
                self.canvas.polygon(corners[mesh.faces[face]], colour, number, surface)
            return
        for face, colour in zip(seen.tolist(), colours, strict=True):
            kept = clip_near(points[mesh.faces[face]])
            if len(kept) > 2:
                number = 0 if mesh.decal[face] else self.number
                surface = self._face(mesh, face, kept)
                self.canvas.polygon(fixed_point(self.view.to_pixels(kept)), colour, number, surface)

    def _face(self, mesh: Mesh, face: int, points: np.ndarray) -> int:
        """The surface of a face with these corners in the camera's frame."""
        return 0 if self.canvas.surfaces is None else self.canvas.surface(self.to_camera @ mesh.normals[face], points)

    def _snow_cover(self, upward: np.ndarray) -> np.ndarray:
        """How much snow lies on faces whose normals point up by this much."""
        share = {"building": 0.92, "vegetation": 0.85}.get(self.state.class_name, 0.12 if self.state.thing.lit else 0.6)
        return share * np.clip((upward - 0.35) * 3, 0, 1)

    def _panel(self, panel: Panel) -> None:
        origin = self._camera(panel.origin[None])[0]
        if (self.to_camera @ panel.normal) @ origin >= 0:
            return
        right, down = self.to_camera @ panel.right, self.to_camera @ panel.down
        outline = origin + panel.outline[:, :1] * right + panel.outline[:, 1:] * down
        outline = clip_near(outline)
        if len(outline) < 3:
            return
        corners = self.view.to_pixels(outline)
        x0, y0, x1, y1 = _clip_window(corners, self.canvas.ids.shape)
        if x1 <= x0 or y1 <= y0:
            return
        normal = (self.turn @ panel.normal)[None]
        light = self.light.on_faces(normal, self.state.x, self.state.y)[0]
        clear = self.light.look.clarity(float(np.linalg.norm(outline.mean(axis=0))))
        fixed, surface = fixed_point(corners), self.canvas.surface(self.to_camera @ panel.normal, outline)
        if (x1 - x0) * (y1 - y0) < 64:
            colour = panel.tone * light
            colour = colour * clear + self.light.look.haze * (1 - clear)
            self.canvas.polygon(fixed, self._bytes(colour), self.number, surface)
            return
        patch = self._warp(panel, panel.levels, (origin, right, down), (x0, y0, x1, y1), corners)
        patch = cv2.multiply(patch, _scalar(light * clear))
        if panel.glow is not None and self.light.look.time_of_day != "day":
            glow = self._warp(panel, panel.glow_levels, (origin, right, down), (x0, y0, x1, y1), corners)
            patch = cv2.scaleAdd(glow, clear * (1.0 if self.light.look.night else 0.5), patch)
        patch = cv2.add(patch, _scalar(self.light.look.haze * (1 - clear) * 255))
        mask = np.zeros(patch.shape[:2], np.uint8)
        shifted = fixed - (np.array([x0, y0]) << SUBPIXEL_BITS)
        cv2.fillConvexPoly(mask, shifted.astype(np.int32), 255, cv2.LINE_8, SUBPIXEL_BITS)
        cv2.copyTo(patch, mask, self.canvas.image[y0:y1, x0:x1])
        self.canvas.stamp((slice(y0, y1), slice(x0, x1)), mask > 0, self.number, surface)

    def _warp(self, panel: Panel, levels: list[np.ndarray], axes, window, corners) -> np.ndarray:
        """The texture as the camera sees it, for the window of the image."""
        origin, right, down = axes
        x0, y0, x1, y1 = window
        texture = levels[0]
        metres = panel.extent
        span = np.maximum(corners.max(axis=0) - corners.min(axis=0), 1.0)
        # The side that shrinks most would alias; the other is allowed to blur a little.
        shrinkage = max(texture.shape[0] / span[1], 0.5 * texture.shape[1] / span[0])
        level = int(np.clip(np.round(np.log2(max(shrinkage, 1.0))), 0, len(levels) - 1))
        source = levels[level]
        per_x, per_y = metres[0] / source.shape[1], metres[1] / source.shape[0]
        plane = np.stack([right * per_x, down * per_y, origin + 0.5 * (right * per_x + down * per_y)], axis=1)
        shift = np.array([[1, 0, -x0 - 0.5], [0, 1, -y0 - 0.5], [0, 0, 1.0]])
        return cv2.warpPerspective(
            source,
            shift @ self.view.camera.K @ plane,
            (x1 - x0, y1 - y0),
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )

    def _sprite(self, sprite: Sprite) -> None:
        depth = float(self.offset[2])
        if depth < 1.0:
            return
        per_metre = self.view.focal / depth
        foot = self.view.to_pixels(self.offset[None])[0]
        width, height = sprite.width * per_metre, sprite.height * per_metre
        left, top = foot[0] - width / 2, foot[1] - height
        x0, y0, x1, y1 = _clip_window(np.array([(left, top), (left + width, top + height)]), self.canvas.ids.shape)
        if x1 - x0 < 1 or y1 - y0 < 1 or height < 2:
            return
        levels = sprite.levels
        level = int(np.clip(np.floor(np.log2(max(levels[0].shape[0] / height, 1.0)) + 0.3), 0, len(levels) - 1))
        source = levels[level]
        sx, sy = width / source.shape[1], height / source.shape[0]
        affine = np.array([[sx, 0, left + 0.5 * sx - 0.5 - x0], [0, sy, top + 0.5 * sy - 0.5 - y0]])
        patch = cv2.warpAffine(source, affine, (x1 - x0, y1 - y0), flags=cv2.INTER_LINEAR, borderValue=0)
        light = self.light.all_round(self.state.x, self.state.y)
        clear = self.light.look.clarity(depth)
        cover = cv2.extractChannel(patch, 3)
        colour = cv2.multiply(cv2.cvtColor(patch, cv2.COLOR_RGBA2RGB), _scalar(light * clear))
        colour = cv2.add(colour, _scalar(self.light.look.haze * (1 - clear) * 255))
        share = cover.astype(np.float32) * (1 / 255)
        window = self.canvas.image[y0:y1, x0:x1]
        window[:] = cv2.blendLinear(colour, window, share, 1 - share)
        surface = self.canvas.surface(_FACING, self.offset[None])
        self.canvas.stamp((slice(y0, y1), slice(x0, x1)), cover > 110, self.number, surface)

    def _tubes(self, tubes: Tubes) -> None:
        start, end = self._camera(tubes.start), self._camera(tubes.end)
        for centre, radius, colour in tubes.rings:
            self._ring(centre, radius, colour)
        kept = np.nonzero(np.minimum(start[:, 2], end[:, 2]) > NEAR_M)[0]
        if not len(kept):
            return
        start, end = start[kept], end[kept]
        order = np.argsort(-(start[:, 2] + end[:, 2]), kind="stable")
        start, end, kept = start[order], end[order], kept[order]
        a, b = self.view.to_pixels(start), self.view.to_pixels(end)
        ra = np.maximum(tubes.radii[kept, 0] * self.view.focal / start[:, 2], 0.45)
        rb = np.maximum(tubes.radii[kept, 1] * self.view.focal / end[:, 2], 0.45)
        light = self.light.all_round(self.state.x, self.state.y)
        distance = max(float(np.linalg.norm(self.offset)), 0.1)
        base = tubes.colours[kept] * light
        dark = self._bytes(self.light.through_air(base * 0.86, distance))
        bright = self._bytes(self.light.through_air(base * 1.14, distance))
        outlines = fixed_point(_capsules(a, b, ra, rb))
        shift = self.lit_side * 0.30
        inner = fixed_point(_capsules(a + shift * ra[:, None], b + shift * rb[:, None], ra * 0.62, rb * 0.62))
        for i in range(len(kept)):
            surface = 0 if self.canvas.surfaces is None else self._tube(start[i], end[i], float(tubes.radii[kept[i]].mean()))
            self.canvas.polygon(outlines[i], dark[i], self.number, surface)
            if ra[i] > 1.6:
                self.canvas.polygon(inner[i], bright[i], 0)

    def _tube(self, start: np.ndarray, end: np.ndarray, radius: float) -> int:
        """The surface of a tube between two points of the camera's frame, taken for a strip that faces the camera."""
        axis, middle = end - start, (start + end) / 2
        facing = middle - axis * (middle @ axis) / max(float(axis @ axis), 1e-9)
        facing /= max(float(np.linalg.norm(facing)), 1e-9)
        return self.canvas.surface(facing, np.stack([start, end]) - radius * facing)

    def _ring(self, centre: np.ndarray, radius: float, colour) -> None:
        angle = np.arange(18) * 2 * np.pi / 18
        circle = centre + radius * np.stack([np.cos(angle), 0 * angle, np.sin(angle)], axis=1)
        points = self._camera(circle)
        if points[:, 2].min() < NEAR_M:
            return
        distance = float(np.linalg.norm(self.offset))
        shade = np.array(colour) * self.light.all_round(self.state.x, self.state.y)
        colour = self._bytes(self.light.through_air(shade, distance))
        thick = max(round(0.05 * self.view.focal / distance), 1)
        corners = [fixed_point(self.view.to_pixels(points))]
        cv2.polylines(self.canvas.image, corners, True, colour, thick, cv2.LINE_AA, SUBPIXEL_BITS)
        cv2.polylines(self.canvas.ids, corners, True, self.number, thick, cv2.LINE_8, SUBPIXEL_BITS)
        if self.canvas.surfaces is not None:
            surface = self.canvas.surface(self.to_camera[:, 1], points)
            cv2.polylines(self.canvas.surfaces.numbers, corners, True, surface, thick, cv2.LINE_8, SUBPIXEL_BITS)


def _capsules(a: np.ndarray, b: np.ndarray, ra: np.ndarray, rb: np.ndarray) -> np.ndarray:
    """Outlines [N, 12, 2] of capsules between pixels a and b [N, 2] with radii [N]."""
    start, end = a @ _COMPLEX, b @ _COMPLEX
    way = end - start
    arc = (way / np.maximum(np.abs(way), 1e-6))[:, None] * _ARC
    outline = np.concatenate([end[:, None] + rb[:, None] * arc, start[:, None] - ra[:, None] * arc], axis=1)
    return outline.view(float).reshape(len(a), -1, 2)
