"""A small labelled dataset made of numbers, for the tests of the loader; importable by worker processes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import simplejpeg

from drivetrain import Boxes, Camera, ClassInfo, DataSpec, Encoded, Frame, Lidar, Source, Transform
from drivetrain.plugins.loaders.webdataset.config import WebDatasetConfig
from drivetrain.plugins.loaders.webdataset.loader import WebDatasetLoader, build

TASKS = ("semantic_segmentation", "object_detection")
MASK_CLASSES = (ClassInfo("road", 0, (90, 90, 90)), ClassInfo("car", 3), ClassInfo("void", 7, ignore=True))
BOX_CLASSES = (ClassInfo("car", 0), ClassInfo("person", 1))
RECIPE_CLASSES = {"semantic_segmentation": ("road", "car"), "object_detection": ("person", "car")}


def png(array: np.ndarray) -> Encoded:
    return Encoded(cv2.imencode(".png", array)[1].tobytes(), "png")


def jpg(array: np.ndarray, quality: int = 92) -> Encoded:
    return Encoded(simplejpeg.encode_jpeg(np.ascontiguousarray(array), quality, "RGB", "420"), "jpg")


@dataclass
class Toy:
    """Frame i: noise seeded by i, with one red car on it. ``changes``: number -> what its camera has instead."""

    samples: int
    size: tuple[int, int] = (48, 64)
    keys: list[str] = field(default_factory=list)
    changes: dict[int, dict[str, Any]] = field(default_factory=dict)
    delay: float = 0.0
    classes: dict[str, tuple[ClassInfo, ...]] = field(
        default_factory=lambda: {"semantic_segmentation": MASK_CLASSES, "object_detection": BOX_CLASSES}
    )

    def index(self, root: Path, split: str) -> range:
        return range(self.samples)

    def load(self, ref: int) -> Frame:
        time.sleep(self.delay)
        height, width = self.size
        rng = np.random.default_rng(ref)
        image = cv2.resize(rng.integers(0, 120, (6, 8, 3), np.uint8), (width, height), interpolation=cv2.INTER_CUBIC)
        x, y = int(rng.integers(0, width // 2)), int(rng.integers(0, height // 2))
        image[y : y + height // 3, x : x + width // 3] = (255, 0, 0)
        mask = np.zeros((height, width), np.uint8)
        mask[y : y + height // 3, x : x + width // 3] = 3
        mask[0] = 7
        boxes = Boxes(np.array([[x, y, x + width // 3, y + height // 3]]), ["car"])
        camera = {
            "image": jpg(image),
            "width": width,
            "height": height,
            "timestamp": ref,
            "boxes": boxes,
            "semantic": png(mask),
        }
        key = self.keys[ref] if self.keys else f"frame/{ref:05d}"
        camera |= self.changes.get(ref, {})
        return Frame(key, f"drive{ref // 10}", {"weather": "rain"}, {"cam_front": Camera(**camera)})


class Rig(Toy):
    """Toy frames with a second camera and a lidar whose sweep has as many points as the frame's number."""

    def load(self, ref: int) -> Frame:
        frame = super().load(ref)
        front = frame.cameras["cam_front"]
        frame.cameras["cam_back"] = replace(
            front, image=jpg(np.full((*self.size, 3), ref, np.uint8)), semantic=None, boxes=None
        )
        points = np.arange(4 * ref, dtype=np.float32).reshape(ref, 4)
        frame.lidars["lidar_top"] = Lidar(points, ("x", "y", "z", "intensity"), timestamp=ref, sensor_to_ego=np.eye(4))
        return frame


class Resize(Transform):
    training_only = False

    def __init__(self, height: int, width: int):
        self.size = height, width

    def view(self, view, rng):
        return view.scaled(*self.size)


class ResizedFlip(Resize):
    def view(self, view, rng):
        matrix = np.array([[-1.0, 0, view.size[1]], [0, 1, 0], [0, 0, 1]])
        return super().view(view, rng).then(matrix, self.size)


class RandomFlip(Transform):
    def view(self, view, rng):
        width = view.size[1]
        matrix = np.array([[-1.0, 0, width], [0, 1, 0], [0, 0, 1]])
        return view.then(matrix, view.size) if rng.uniform() < 0.5 else view


class Brighten(Transform):
    def pixels(self, sample, rng):
        return sample.replace(image=cv2.add(sample.image, rng.integer(0, 50)))


def loader(**config) -> WebDatasetLoader:
    return build(WebDatasetConfig(**config))


def convert(toy: Toy, out: Path, workers: int = 1, samples_per_shard: int = 4, split: str = "train", **more):
    return loader().convert(
        toy, Path(), out, split, dataset_name="toy", workers=workers, samples_per_shard=samples_per_shard, **more
    )


def spec(
    *shards: Path, transforms: dict[str, Transform] | None = None, tasks=TASKS, cameras=None, seed: int = 5, taxonomy=None
):
    transforms = {"resize": Resize(24, 32), "flip": RandomFlip(), "brighten": Brighten()} if transforms is None else transforms
    sources = tuple(Source(f"toy{i}", str(path), taxonomy or {}) for i, path in enumerate(shards))
    return DataSpec(sources, tuple(tasks), RECIPE_CLASSES, cameras, transforms, seed)
