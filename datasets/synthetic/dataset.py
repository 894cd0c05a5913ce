"""The synthetic world as Frames: a front camera with a semantic mask and 2D boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np
import simplejpeg

from drivetrain import Boxes, Camera, ClassInfo, DataError, Encoded, Frame, near_matches

from .classes import BOX_CLASSES, SEMANTIC_CLASSES
from .geometry import front_camera
from .render import Box2D, render
from .world import WorldConfig, build_scene

if TYPE_CHECKING:
    from .config import SyntheticConfig

_COLORS = {
    "road": (110, 80, 125), "lane_marking": (250, 250, 200), "pavement": (214, 120, 200), "terrain": (152, 220, 130),
    "building": (110, 110, 110), "vegetation": (70, 130, 40), "pole": (190, 190, 170), "traffic_sign": (240, 200, 0),
    "sky": (120, 175, 220), "car": (30, 60, 220), "truck": (0, 130, 150), "pedestrian": (230, 40, 60),
    "cyclist": (160, 20, 110),
}  # fmt: skip
CAMERA = "cam_front"
# Drives of different splits are different drives of one world.
_FIRST_SCENE = {"train": 0, "val": 1_000_000, "test": 2_000_000}


class Ref(NamedTuple):
    """A frame: its drive, and its number in it."""

    split: str
    scene: int
    number: int


def build(config: SyntheticConfig) -> Synthetic:
    return Synthetic(config)


class Synthetic:
    """The dataset. The same config gives the same bytes, in whatever order and process frames are loaded."""

    classes = {
        "semantic_segmentation": tuple(ClassInfo(n, i, _COLORS[n]) for i, n in enumerate(SEMANTIC_CLASSES)),
        "object_detection": tuple(ClassInfo(n, i, _COLORS[n]) for i, n in enumerate(BOX_CLASSES)),
    }

    def __init__(self, config: SyntheticConfig):
        self.config = config
        self._world = WorldConfig(seed=config.seed, frames_per_scene=config.frames_per_scene)
        self._camera = front_camera(config.width, config.height)

    def index(self, root: Path, split: str) -> list[Ref]:
        """The frames of ``split``; ``root`` is not looked at. Raises DataError for a split that is none."""
        if split not in _FIRST_SCENE:
            raise DataError(f"the synthetic world has no split {split!r}", near=near_matches(split, _FIRST_SCENE))
        places = (divmod(i, self.config.frames_per_scene) for i in range(self.config.frames))
        return [Ref(split, _FIRST_SCENE[split] + scene, number) for scene, number in places]

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        name = f"{ref.split}-{ref.scene - _FIRST_SCENE[ref.split]:05d}"
        return f"{name}-{ref.number:03d}", name

    def load(self, ref: Ref) -> Frame:
        scene = build_scene(self.config.seed, ref.scene, self._world)
        drawn = render(scene, ref.number, self._camera)
        # At this level of compression a mask is decoded three times as fast as at OpenCV's default.
        ok, mask = cv2.imencode(".png", drawn.semantic, [cv2.IMWRITE_PNG_COMPRESSION, 6])
        assert ok
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(drawn.image), self.config.quality, colorspace="RGB")
        moment = scene.at(ref.number)
        camera = Camera(
            image=Encoded(jpeg, "jpg"), semantic=Encoded(mask.tobytes(), "png"), boxes=_boxes(drawn.boxes),
            width=self.config.width, height=self.config.height, timestamp=round(moment.time * 1e9),
            intrinsics=self._camera.K, sensor_to_ego=self._camera.sensor_to_ego, ego_to_world=moment.ego_to_world,
        )  # fmt: skip
        key, name = self.identify(ref)
        return Frame(key, name, dict(scene.tags), {CAMERA: camera})


def _boxes(drawn: list[Box2D]) -> Boxes:
    return Boxes(
        np.array([(b.x1, b.y1, b.x2, b.y2) for b in drawn], np.float32).reshape(-1, 4),
        [b.class_name for b in drawn],
        truncation=np.array([b.truncation for b in drawn], np.float32).round(3),
        occlusion=np.array([b.occlusion for b in drawn], np.float32).round(3),
        track_ids=np.array([b.track_id for b in drawn], np.int64),
    )
