"""The synthetic world as Frames: a front camera with its labels."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import simplejpeg

from drivetrain import PIXEL_LABELS, TASKS, Camera, ClassInfo, DataError, Encoded, Frame, encode_pixels, near_matches

from .classes import BOX_CLASSES, SEMANTIC_CLASSES
from .geometry import View, front_camera
from .labels import DRIVABLE, LANES, boxes_of, drivable_of, instances_of, lanes_of
from .render import Rendered, render
from .world import Moment, Scene, WorldConfig, build_scene

if TYPE_CHECKING:
    from .config import SyntheticConfig

_COLORS = {
    "road": (110, 80, 125), "lane_marking": (250, 250, 200), "pavement": (214, 120, 200), "terrain": (152, 220, 130),
    "building": (110, 110, 110), "vegetation": (70, 130, 40), "pole": (190, 190, 170), "traffic_sign": (240, 200, 0),
    "sky": (120, 175, 220), "car": (30, 60, 220), "truck": (0, 130, 150), "pedestrian": (230, 40, 60),
    "cyclist": (160, 20, 110),
}  # fmt: skip
_LANE_COLORS = ((240, 60, 60), (60, 120, 255), (255, 190, 40), (60, 220, 160))
_CLASSES = {
    "semantic_segmentation": tuple(ClassInfo(n, i, _COLORS[n]) for i, n in enumerate(SEMANTIC_CLASSES)),
    "object_detection": tuple(ClassInfo(n, i, _COLORS[n]) for i, n in enumerate(BOX_CLASSES)),
    "drivable_area": tuple(map(ClassInfo, DRIVABLE, range(3), ((219, 94, 86), (86, 211, 219), None))),
    "lane_detection": tuple(map(ClassInfo, LANES, range(4), _LANE_COLORS)),
    "depth_estimation": (),
}
_COMPRESSION = 6  # at this level a mask is decoded three times as fast as at OpenCV's default
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

    def __init__(self, config: SyntheticConfig):
        self.config = config
        self.classes = {task: infos for task, infos in _CLASSES.items() if TASKS[task].prediction in config.labels}
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
        moment, drawn = scene.at(ref.number), render(scene, ref.number, self._camera, "depth" in self.config.labels)
        jpeg = simplejpeg.encode_jpeg(np.ascontiguousarray(drawn.image), self.config.quality, colorspace="RGB")
        camera = Camera(
            image=Encoded(jpeg, "jpg"), width=self.config.width, height=self.config.height,
            timestamp=round(moment.time * 1e9), intrinsics=self._camera.K, sensor_to_ego=self._camera.sensor_to_ego,
            ego_to_world=moment.ego_to_world, **self._labels(scene, moment, drawn),
        )  # fmt: skip
        key, name = self.identify(ref)
        return Frame(key, name, dict(scene.tags), {CAMERA: camera})

    def _labels(self, scene: Scene, moment: Moment, drawn: Rendered) -> dict[str, Any]:
        view = View(self._camera, moment.ego_to_world @ self._camera.sensor_to_ego)
        makers: dict[str, Callable[[], Any]] = {
            "boxes": lambda: boxes_of(drawn.boxes), "lanes": lambda: lanes_of(scene, moment, view),
            "semantic": lambda: drawn.semantic, "depth": lambda: drawn.depth, "instances": lambda: instances_of(drawn),
            "drivable": lambda: drivable_of(scene, moment, view, drawn.semantic),
        }  # fmt: skip
        made = {name: make() for name, make in makers.items() if name in self.config.labels}
        return {
            name: encode_pixels(name, label, _COMPRESSION) if name in PIXEL_LABELS else label for name, label in made.items()
        }
