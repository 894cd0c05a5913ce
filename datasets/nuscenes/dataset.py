"""nuScenes' keyframes as Frames."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from drivetrain import (
    Boxes,
    Camera,
    ClassInfo,
    DataError,
    Frame,
    Lidar,
    check_files,
    cuboid_corners,
    cuboid_extents,
    pose_matrix,
    read_bytes,
    read_picture,
)

from .splits import split_of
from .tables import LIDAR, Reading, Sample, Tables, read_tables

if TYPE_CHECKING:
    from .config import NuscenesConfig

# Of how much of an object is seen, in all cameras together: what is not, at the middle of the bin.
_OCCLUSION = {"v0-40": 0.8, "v40-60": 0.5, "v60-80": 0.3, "v80-100": 0.1}
_OF_POINTS = re.compile(r"(flat|static)\.|noise$|vehicle\.ego$")  # lidarseg adds these to the table: no box has them
_LENGTH_FIRST = [0, 1, 2, 4, 3, 5, 6, 7, 8, 9]
_LIDAR_FIELDS = ("x", "y", "z", "intensity", "ring")


class Ref(NamedTuple):
    """Sample ``number`` of a split."""

    root: str
    split: str
    number: int


def build(config: NuscenesConfig) -> Nuscenes:
    return Nuscenes(config)


class Nuscenes:
    """The dataset; `classes` are the categories of the tables that were indexed last."""

    def __init__(self, config: NuscenesConfig):
        self.config = config
        self.classes: dict[str, tuple[ClassInfo, ...]] = {}
        self._tables: dict[tuple[str, str], Tables] = {}

    def index(self, root: Path, split: str) -> list[Ref]:
        """The keyframes of ``split``, scene by scene. Raises DataError for what is missing."""
        version, chosen = split_of(Path(root), split, self.config.version)
        tables = self._tables[str(root), split] = read_tables(Path(root), version, chosen)
        infos = (ClassInfo(name, i, ignore=_OF_POINTS.match(name) is not None) for i, name in enumerate(tables.categories))
        self.classes = {"object_detection": tuple(infos)}
        if not tables.samples:
            raise DataError(f"has no scene of split {split!r}", where=str(Path(root) / version))
        readings = (one for sample in tables.samples for one in self._wanted(sample))
        check_files(f"{root}/{version}: split {split}", (Path(root, one.file) for one in readings))
        return [Ref(str(root), split, number) for number in range(len(tables.samples))]

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        sample = self._of(ref).samples[ref.number]
        return sample.token, sample.scene

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or broken."""
        tables = self._of(ref)
        sample = tables.samples[ref.number]
        labelled = ref.split not in ("test", "v1.0-test")
        frame = Frame(sample.token, sample.scene, dict(tables.tags[sample.scene]))
        for one in self._wanted(sample):
            place: dict[str, Any] = {"timestamp": one.timestamp * 1000}
            place |= {"sensor_to_ego": pose_matrix(tables.calibrations[one.calibration])}
            place |= {"ego_to_world": pose_matrix(tables.poses[one.pose])}
            if one.channel == LIDAR:
                frame.lidars[one.channel.lower()] = Lidar(_points(Path(ref.root, one.file)), _LIDAR_FIELDS, **place)
                continue
            image, (width, height) = read_picture(Path(ref.root, one.file))
            camera = Camera(image=image, width=width, height=height, intrinsics=tables.intrinsics[one.calibration], **place)
            camera.boxes = _boxes(tables, sample, camera) if labelled else None
            frame.cameras[one.channel.lower()] = camera
        return frame

    def _wanted(self, sample: Sample) -> list[Reading]:
        return [one for one in sample.readings if one.channel != LIDAR or self.config.lidar]

    def _of(self, ref: Ref) -> Tables:
        if (ref.root, ref.split) not in self._tables:
            self.index(Path(ref.root), ref.split)
        return self._tables[ref.root, ref.split]


def _boxes(tables: Tables, sample: Sample, camera: Camera) -> Boxes:
    """The sample's 3D boxes as far as the camera shows them."""
    assert camera.ego_to_world is not None and camera.sensor_to_ego is not None and camera.intrinsics is not None
    to_camera = np.linalg.inv(camera.ego_to_world @ camera.sensor_to_ego)
    boxes = tables.boxes[sample.first : sample.last][:, _LENGTH_FIRST]
    in_camera = cuboid_corners(boxes) @ to_camera[:3, :3].T + to_camera[:3, 3]
    shown, xyxy = cuboid_extents(in_camera, camera.intrinsics, (camera.width, camera.height))
    rows = shown + sample.first
    return Boxes(
        xyxy, [tables.categories[number] for number in tables.category[rows]], ignore=tables.points[rows].sum(1) == 0,
        occlusion=np.array([_OCCLUSION.get(tables.visibility[row], np.nan) for row in rows]),
        track_ids=tables.instance[rows], attributes=[_attributes(tables, int(row)) for row in rows],
    )  # fmt: skip


def _attributes(tables: Tables, row: int) -> dict[str, Any]:
    box, points = tables.boxes[row], tables.points[row].tolist()
    out = {
        "num_lidar_pts": points[0], "num_radar_pts": points[1], "translation": box[:3].tolist(), "size": box[3:6].tolist(),
        "rotation": box[6:].tolist(),
    }  # fmt: skip
    if tables.visibility[row]:
        out["visibility"] = tables.visibility[row]
    if row in tables.attributes:
        out["attributes"] = list(tables.attributes[row])
    return out


def _points(path: Path) -> np.ndarray:
    data = read_bytes(path)
    if len(data) % (4 * len(_LIDAR_FIELDS)):
        raise DataError(f"is {len(data)} bytes, no whole number of points of {len(_LIDAR_FIELDS)} floats", where=str(path))
    return np.frombuffer(data, np.float32).reshape(-1, len(_LIDAR_FIELDS))
