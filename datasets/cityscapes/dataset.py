"""Cityscapes' files as Frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from drivetrain import (
    Boxes,
    Camera,
    DataError,
    Frame,
    check_files,
    check_layout,
    check_split,
    encode_pixels,
    read_bytes,
    read_json,
    read_mask,
    read_picture,
)

from .classes import SEMANTIC, THINGS

if TYPE_CHECKING:
    from .config import CityscapesConfig

_SPLITS = {"gtFine": ("train", "val", "test"), "gtCoarse": ("train", "val", "train_extra")}
_GROUP = 1000  # an instance's id is its class's times this, and its number; a lesser one is a class's, of a whole group


class Ref(NamedTuple):
    """One frame of ``city`` in ``split``."""

    root: str
    split: str
    city: str
    key: str

    def file(self, folder: str, end: str) -> Path:
        return Path(self.root, folder, self.split, self.city, f"{self.key}_{end}")


def build(config: CityscapesConfig) -> Cityscapes:
    return Cityscapes(config)


class Cityscapes:
    """The dataset; boxes where ``config`` asks for them."""

    def __init__(self, config: CityscapesConfig):
        self.config = config
        self.classes = {"semantic_segmentation": SEMANTIC} | ({"object_detection": THINGS} if config.boxes else {})

    def index(self, root: Path, split: str) -> list[Ref]:
        """The frames of ``split`` by city and name. Raises DataError for what is missing."""
        root, labels = Path(root), self.config.labels
        check_split(f"Cityscapes with {labels}", split, _SPLITS[labels], root)
        check_layout("Cityscapes", root, [f"leftImg8bit/{split}/", *([f"{labels}/{split}/"] if split != "test" else [])])
        pictures = sorted((root / "leftImg8bit" / split).glob("*/*_leftImg8bit.png"))
        refs = [Ref(str(root), split, path.parent.name, path.name.removesuffix("_leftImg8bit.png")) for path in pictures]
        kinds: list[tuple[str, str]] = [] if split == "test" else [(labels, f"{labels}_{end}") for end in self._ends()]
        if (root / "camera" / split).is_dir():
            kinds.append(("camera", "camera.json"))
        check_files(f"{root}: split {split}", (ref.file(*kind) for kind in kinds for ref in refs))
        return refs

    def _ends(self) -> list[str]:
        return ["labelIds.png", *(["instanceIds.png"] if self.config.boxes else [])]

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        return ref.key, ref.city

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or broken."""
        labels = self.config.labels
        image, (width, height) = read_picture(ref.file("leftImg8bit", "leftImg8bit.png"))
        camera = Camera(image=image, width=width, height=height)
        if ref.split != "test":
            camera.semantic = read_mask(ref.file(labels, f"{labels}_labelIds.png"), (width, height))
            if self.config.boxes:
                camera.boxes, numbers = _instances(ref.file(labels, f"{labels}_instanceIds.png"))
                camera.instances = encode_pixels("instances", numbers) if self.config.instances else None
        calibration = ref.file("camera", "camera.json")
        if calibration.is_file():
            camera.intrinsics, camera.sensor_to_ego = _calibration(calibration)
        return Frame(ref.key, ref.city, {"city": ref.city}, {self.config.camera: camera})


def _instances(path: Path) -> tuple[Boxes, np.ndarray]:
    """A box around the pixels of each instance and group of a 16-bit mask, and uint16 [H, W] of their numbers from 1."""
    ids = cv2.imdecode(np.frombuffer(read_bytes(path), np.uint8), cv2.IMREAD_UNCHANGED)
    if ids is None or ids.ndim != 2:
        raise DataError("is no PNG of one channel", where=str(path))
    names = {info.id: info.name for info in THINGS}
    void = {info.id for info in THINGS if info.ignore}
    found = [int(id) for id in np.unique(ids) if (id // _GROUP if id >= _GROUP else id) in names]
    classes = [id // _GROUP if id >= _GROUP else id for id in found]
    ignore = np.array([id < _GROUP or number in void for id, number in zip(found, classes)], bool)
    numbers = np.zeros(int(ids.max()) + 1, np.uint16)
    numbers[found] = np.arange(1, len(found) + 1)
    boxes = Boxes(np.array([_around(ids == id) for id in found]), [names[number] for number in classes], ignore=ignore)
    return boxes, numbers[ids]


def _around(there: np.ndarray) -> tuple[int, int, int, int]:
    x, y, width, height = cv2.boundingRect(there.astype(np.uint8))
    return x, y, x + width, y + height


def _calibration(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Intrinsics float64 [3, 3] and the camera's place float64 [4, 4]: x right, y down, z ahead, to the vehicle."""
    said = read_json(path)
    try:
        inner, outer = said["intrinsic"], said["extrinsic"]
        intrinsics = np.array([[inner["fx"], 0, inner["u0"]], [0, inner["fy"], inner["v0"]], [0, 0, 1]], np.float64)
        (cy, sy), (cp, sp), (cr, sr) = ((np.cos(outer[a]), np.sin(outer[a])) for a in ("yaw", "pitch", "roll"))
        place = [outer[axis] for axis in "xyz"]
    except (KeyError, TypeError) as error:
        raise DataError(f"is no calibration: {error!r}", where=str(path)) from None
    turn = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]]) @ [[cp, 0, sp], [0, 1, 0], [-sp, 0, cp]]
    out = np.eye(4)
    out[:3, :3] = turn @ [[1, 0, 0], [0, cr, -sr], [0, sr, cr]] @ _CAMERA_AXES
    out[:3, 3] = place
    return intrinsics, out


_CAMERA_AXES = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # right, down, ahead, in x ahead, y left, z up
