"""Renders a frame of a scene for a camera, with its labels."""

from dataclasses import dataclass

import cv2
import numpy as np

from .classes import SEMANTIC_CLASSES
from .effects import draw_glows, draw_precipitation, draw_reflection, draw_shadows, expose
from .geometry import NEAR_M, Camera, View, front_camera
from .ground_view import draw_ground, paint_maps
from .lighting import Illumination
from .order import painters_order, without_hidden
from .raster import Canvas, Painter
from .sky import draw_sky, paint_panorama
from .surfaces import Surfaces, depth_of
from .things import ObjectState
from .world import Moment, Scene

MIN_BOX_PX = 3.0
MIN_VISIBLE = 0.04  # less of a thing than this is not worth a box
_RANGE_M = {"pedestrian": 130.0, "cyclist": 130.0, "traffic_sign": 150.0, "pole": 170.0}
_EDGE_FROM, _EDGE_TO = [0, 1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3], [1, 2, 3, 0, 5, 6, 7, 4, 4, 5, 6, 7]  # of a box's corners


@dataclass(frozen=True)
class Box2D:
    """A labelled object: the tight extent of its visible pixels, pixel (0, 0) covering [0, 1) x [0, 1).

    truncation: share of its projection outside the image. occlusion: share of its pixels in the image hidden by others.
    """

    class_name: str
    x1: float
    y1: float
    x2: float
    y2: float
    track_id: int
    truncation: float
    occlusion: float


@dataclass(frozen=True)
class Rendered:
    """image uint8 [H, W, 3] RGB; semantic uint8 [H, W] class ids; instance int32 [H, W] track ids of boxed classes, 0
    elsewhere; boxes of what is visible; depth float32 [H, W] in metres if it was asked for (`surfaces.depth_of`)."""

    image: np.ndarray
    semantic: np.ndarray
    instance: np.ndarray
    boxes: list[Box2D]
    depth: np.ndarray | None = None


def render(scene: Scene, frame: int, camera: Camera | None = None, depth: bool = False) -> Rendered:
    """The picture that `camera` (default: a front camera of 640 x 360) takes at frame `frame` of the scene."""
    camera = camera or front_camera()
    moment = scene.at(frame)
    view = View(camera, moment.ego_to_world @ camera.sensor_to_ego)
    image = np.empty((camera.height, camera.width, 3), np.uint8)
    semantic = np.empty((camera.height, camera.width), np.uint8)
    _backdrop(scene, moment, view, image, semantic)
    states = _in_view(moment.objects, view, scene.look)
    states = [states[i] for i in painters_order(states, view.position)]
    draw_shadows(image, view, scene.look, states)
    canvas = Canvas(image, np.zeros(semantic.shape, np.uint16), Surfaces(semantic.shape) if depth else None)
    amodal = _amodal(states, view)
    windows = _windows(states, amodal, camera)
    covered = _draw_things(scene, moment, view, canvas, states, amodal, windows)
    boxes = _label(states, covered, windows, _truncation(amodal, camera), canvas.ids)
    semantic, instance = _maps(states, canvas.ids, semantic)
    draw_precipitation(image, scene.look, scene.key, frame)
    metres = None if canvas.surfaces is None else depth_of(view, canvas.surfaces)
    return Rendered(expose(image, scene.look, scene.key, frame), semantic, instance, boxes, metres)


def _derived(scene: Scene, name: str, make):
    """What is worked out once per scene."""
    if name not in scene.cache:
        scene.cache[name] = make()
    return scene.cache[name]


def _backdrop(scene: Scene, moment: Moment, view: View, image: np.ndarray, semantic: np.ndarray) -> None:
    """Sky and ground; the rows between them that may hold either are drawn by both."""
    panorama = _derived(scene, "panorama", lambda: paint_panorama(scene.key, scene.look, scene.profile.place))
    maps = _derived(scene, "ground", lambda: paint_maps(scene))
    directions = cv2.transform(view.camera.rays, view.camera_to_world[:3, :3].astype(np.float32))
    rise = directions[..., 2]
    up = np.nonzero(rise.max(axis=1) > -0.02)[0]
    down = np.nonzero(rise.min(axis=1) < 0)[0]
    if len(up):
        part = slice(up[0], up[-1] + 1)
        draw_sky(panorama, directions[part], image[part], semantic[part])
    if len(down):
        part = slice(down[0], down[-1] + 1)
        draw_ground(scene, maps, view, moment, image[part], semantic[part], directions[part])


def _in_view(objects: list[ObjectState], view: View, look) -> list[ObjectState]:
    """Objects whose bounding sphere meets the field of view and which the haze does not swallow."""
    centres = view.to_camera(np.array([state.centre for state in objects]).reshape(-1, 3))
    radius = np.array([np.linalg.norm(state.size) / 2 for state in objects])
    K, camera = view.camera.K, view.camera
    limit = np.array([_RANGE_M.get(state.class_name, 240.0) for state in objects])
    distance = np.linalg.norm(centres, axis=1) - radius
    seen = (centres[:, 2] > NEAR_M - radius) & (distance < np.minimum(limit, 4.6 / look.haze_per_metre))
    for axis, focal, middle, size in ((0, K[0, 0], K[0, 2], camera.width), (1, K[1, 1], K[1, 2], camera.height)):
        for sign, edge in ((-1, middle), (1, size - middle)):
            slope = edge / focal
            beyond = (sign * centres[:, axis] - slope * centres[:, 2]) / np.hypot(1, slope)
            seen &= beyond < radius
    return without_hidden([objects[i] for i in np.nonzero(seen)[0]], view.position)


def _draw_things(scene: Scene, moment: Moment, view: View, canvas: Canvas, states, amodal, windows) -> list[int]:
    """Draws from back to front; returns how many pixels each boxed thing covered when nothing hid it yet."""
    lamps = _derived(scene, "lamps", lambda: np.array([scene.road.to_world(s, d)[:2] for s, d in scene.lamps]).reshape(-1, 2))
    light = Illumination(scene.look, lamps, np.linalg.inv(moment.ego_to_world), view.position)
    painter = Painter(canvas, view, light)
    covered = []
    for number, (state, window) in enumerate(zip(states, windows, strict=True), start=1):
        model = state.thing.shapes(moment.time)
        painter.draw(state, model, number)
        draw_glows(canvas.image, view, scene.look, state, model)
        if scene.look.wetness > 0.5 and window and state.class_name in ("car", "truck"):
            draw_reflection(canvas.image, canvas.ids, amodal[number - 1], scene.look)
        covered.append(int(np.count_nonzero(canvas.ids[window] == number)) if window else 0)
    return covered


def _amodal(states: list[ObjectState], view: View) -> np.ndarray:
    """float64 [N, 4]: x1, y1, x2, y2 of projected 3D boxes, not clipped to the image; NaN behind the camera."""
    if not states:
        return np.zeros((0, 4))
    corners = view.to_camera(np.concatenate([state.corners for state in states])).reshape(-1, 8, 3)
    a, b = corners[:, _EDGE_FROM], corners[:, _EDGE_TO]
    # Where an edge runs through the near plane, the box ends there.
    share = np.clip((NEAR_M - a[..., 2:]) / np.where(a[..., 2:] == b[..., 2:], 1e-9, b[..., 2:] - a[..., 2:]), 0, 1)
    points = np.concatenate([corners, a + share * (b - a)], axis=1)
    ahead = points[..., 2] > NEAR_M * 0.999
    pixels = view.to_pixels(np.where(ahead[..., None], points, 1.0).reshape(-1, 3)).reshape(*points.shape[:2], 2)
    low = np.where(ahead[..., None], pixels, np.inf).min(axis=1)
    high = np.where(ahead[..., None], pixels, -np.inf).max(axis=1)
    boxes = np.concatenate([low, high], axis=1)
    boxes[~ahead.any(axis=1)] = np.nan
    return boxes


def _windows(states, amodal: np.ndarray, camera: Camera) -> list[tuple[slice, slice] | None]:
    """For each boxed thing the rows and columns of the image that may hold its pixels."""
    out: list[tuple[slice, slice] | None] = []
    for state, box in zip(states, amodal.tolist(), strict=True):
        if not state.thing.boxed or box[0] != box[0]:
            out.append(None)
            continue
        margin = 3 + 0.15 * max(box[2] - box[0], box[3] - box[1])  # limbs and mirrors reach out of the 3D box
        x0, y0 = int(max(box[0] - margin, 0)), int(max(box[1] - margin, 0))
        x1, y1 = int(min(box[2] + margin, camera.width)), int(min(box[3] + margin, camera.height))
        out.append((slice(y0, y1), slice(x0, x1)) if x1 > x0 and y1 > y0 else None)
    return out


def _label(states, covered: list[int], windows, truncation: np.ndarray, ids: np.ndarray) -> list[Box2D]:
    """Boxes of what is left visible."""
    boxes = []
    for number, (state, count, window) in enumerate(zip(states, covered, windows, strict=True), start=1):
        if not count:
            continue
        mine = ids[window] == number
        visible = int(np.count_nonzero(mine))
        if visible < max(4, MIN_VISIBLE * count):
            continue
        rows, cols = np.nonzero(mine.any(axis=1))[0], np.nonzero(mine.any(axis=0))[0]
        x1, y1 = float(window[1].start + cols[0]), float(window[0].start + rows[0])
        x2, y2 = float(window[1].start + cols[-1] + 1), float(window[0].start + rows[-1] + 1)
        if x2 - x1 >= MIN_BOX_PX and y2 - y1 >= MIN_BOX_PX:
            boxes.append(
                Box2D(state.class_name, x1, y1, x2, y2, state.track_id, float(truncation[number - 1]), 1 - visible / count)
            )
    return boxes


def _truncation(amodal: np.ndarray, camera: Camera) -> np.ndarray:
    """float64 [N]: the share of each projected box that lies outside the image."""
    inside = np.clip(amodal, 0, (camera.width, camera.height) * 2)

    def area(box):
        return (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])

    return np.clip(1 - area(inside) / np.maximum(area(amodal), 1e-6), 0, 1)


def _maps(states, ids: np.ndarray, backdrop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Semantic and instance maps out of the id map."""
    kinds = np.zeros(len(states) + 1, np.uint8)
    tracks = np.zeros(len(states) + 1, np.int32)
    for number, state in enumerate(states, start=1):
        kinds[number] = state.thing.semantic
        tracks[number] = state.track_id if state.thing.boxed else 0
    semantic = np.where(ids > 0, kinds[ids], backdrop)
    assert semantic.max(initial=0) < len(SEMANTIC_CLASSES)
    return semantic, tracks[ids]
