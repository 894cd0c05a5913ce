"""Labels read off a scene's geometry: drivable area, lane markings, instances."""

import cv2
import numpy as np

from drivetrain import Boxes, Lanes, clip_line

from .classes import LANE_MARKING, ROAD
from .geometry import NEAR_M, View
from .ground_view import ground_positions
from .render import Box2D, Rendered
from .road import Line, Profile
from .world import Moment, Scene

DRIVABLE = ("direct", "alternative", "background")
LANES = ("ego_left", "ego_right", "left", "right")
_BACKGROUND = DRIVABLE.index("background")
_TOGETHER_M = 0.5  # lines closer than this are one marking
_FARTHEST_M = 120.0  # along the road; a marking is a pixel wide there
_CONTRAST = 2.3  # -log of a tenth, which is the least contrast that the haze may leave of a marking
_SHORTEST = 0.02  # of the picture's height


def boxes_of(drawn: list[Box2D]) -> Boxes:
    return Boxes(
        np.array([(b.x1, b.y1, b.x2, b.y2) for b in drawn], np.float32).reshape(-1, 4),
        [b.class_name for b in drawn],
        truncation=np.array([b.truncation for b in drawn], np.float32).round(3),
        occlusion=np.array([b.occlusion for b in drawn], np.float32).round(3),
        track_ids=np.array([b.track_id for b in drawn], np.int64),
    )


def instances_of(drawn: Rendered) -> np.ndarray:
    """uint16 [H, W]: n where the n-th box's object is, 0 elsewhere."""
    numbers = np.zeros(drawn.instance.max() + 1, np.uint16)
    for number, box in enumerate(drawn.boxes, start=1):
        numbers[box.track_id] = number
    return numbers[drawn.instance]


def drivable_of(scene: Scene, moment: Moment, view: View, semantic: np.ndarray) -> np.ndarray:
    """uint8 [H, W] of DRIVABLE: the ego's own lane, those beside it in its direction, and all else. What stands or drives on
    a lane is background, as in BDD100K."""
    directions = cv2.transform(view.camera.rays, view.camera_to_world[:3, :3].astype(np.float32))
    out = np.full(semantic.shape, _BACKGROUND, np.uint8)
    rows = np.nonzero(directions[..., 2].min(axis=1) < 0)[0]
    if not len(rows):
        return out
    part = slice(rows[0], rows[-1] + 1)
    across = ground_positions(scene, view, moment, directions[part]).across
    centres, half = _our_lanes(scene.profile)
    own = centres[np.argmin(np.abs(centres - scene.ego.d))]
    paved = (semantic[part] == ROAD) | (semantic[part] == LANE_MARKING)
    ours = (across > centres.min() - half) & (across < centres.max() + half)
    out[part][paved & ours] = DRIVABLE.index("alternative")
    out[part][paved & (np.abs(across - own) < half)] = DRIVABLE.index("direct")
    return out


def lanes_of(scene: Scene, moment: Moment, view: View) -> Lanes:
    """The markings beside the ego's lane and the next ones beyond them, on its own carriageway (CULane labels the same
    four), projected from the road's geometry: gaps, crossings, junctions and what hides them do not interrupt them."""
    reach = min(_FARTHEST_M, _CONTRAST / scene.look.haze_per_metre)
    s = moment.ego_s + np.geomspace(1.0, reach, 40)
    found = Lanes([], [])
    for name, d in _markings(scene.profile, scene.ego.d).items():
        x, y, _ = scene.road.to_world(s, d)
        points = view.to_camera(np.stack([x, y, np.zeros_like(x)], axis=-1))
        points = points[points[:, 2] > NEAR_M]
        line = clip_line(view.to_pixels(points), (view.camera.height, view.camera.width)).round(2)
        if len(line) > 1 and line[0, 1] - line[-1, 1] > _SHORTEST * view.camera.height:
            found.points.append(line)
            found.names.append(name)
    return found


def _our_lanes(profile: Profile) -> tuple[np.ndarray, float]:
    """Centres d of the lanes in the ego's direction, and half their width; a lone lane begins at d = 0."""
    centres = np.array([d for d, way in profile.lane_centres if way > 0])
    return centres, float(np.abs(np.diff(centres)).min() / 2 if len(centres) > 1 else np.abs(centres[0]))


def _markings(profile: Profile, ego_d: float) -> dict[str, float]:
    """Name -> d."""
    band = next(band for band in profile.bands if band.material == "asphalt" and band.right < ego_d < band.left)
    lines = _joined([line for line in profile.lines if band.right <= line.d <= band.left])
    left, right = [d for d in lines if d > ego_d], [d for d in reversed(lines) if d < ego_d]
    sides = (("ego_left", left[:1]), ("ego_right", right[:1]), ("left", left[1:2]), ("right", right[1:2]))
    return {name: found[0] for name, found in sides if found}


def _joined(lines: list[Line]) -> list[float]:
    """Where markings are, from right to left; a double line is one."""
    d = np.sort([line.d for line in lines])
    return [float(group.mean()) for group in np.split(d, np.flatnonzero(np.diff(d) > _TOGETHER_M) + 1) if len(group)]
