"""Argoverse 2's logs as Frames."""

from __future__ import annotations

import bisect
import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drivetrain import (
    Boxes,
    Camera,
    ClassInfo,
    DataError,
    Frame,
    Lidar,
    check_files,
    check_layout,
    check_split,
    cuboid_corners,
    cuboid_extents,
    read_picture,
)

from .log import CATEGORIES, FILES, Annotations, read_annotations, read_log, read_sweep

if TYPE_CHECKING:
    from .config import Argoverse2Config

_SPLITS = ("train", "val", "test")
_RING = ("ring_front_center", "ring_front_left", "ring_front_right", "ring_side_left", "ring_side_right", "ring_rear_left",
         "ring_rear_right")  # fmt: skip
_STEREO = ("stereo_front_left", "stereo_front_right")
_NEAR = 25_000_000  # ns; cameras take 20 pictures a second
_CITY = re.compile(r"____([A-Z]+)_city_")


class Ref(NamedTuple):
    """The sweep of ``log`` at ``timestamp``, and of each camera the time of the picture nearest to it. ns."""

    log: str
    timestamp: int
    cameras: tuple[tuple[str, int], ...]
    city: str


def build(config: Argoverse2Config) -> Argoverse2:
    return Argoverse2(config)


class Argoverse2:
    """The dataset; it has classes where boxes are read."""

    def __init__(self, config: Argoverse2Config):
        self.config = config
        infos = tuple(ClassInfo(name, i) for i, name in enumerate(CATEGORIES))
        self.classes = {"object_detection": infos} if config.boxes else {}

    def index(self, root: Path, split: str) -> list[Ref]:
        """The sweeps of ``split``, log by log, that have what is wanted. Raises DataError for what is missing."""
        read_log.cache_clear()  # the files may have been mended
        read_annotations.cache_clear()
        check_split("Argoverse 2", split, _SPLITS, Path(root))
        check_layout("Argoverse 2", Path(root), [f"{split}/"])
        logs = sorted(path for path in (Path(root) / split).iterdir() if path.is_dir())
        files = FILES if split == "test" or not self.config.boxes else (*FILES, "annotations.feather")
        check_files(f"{root}/{split}", (log / name for log in logs for name in files))
        refs = [ref for log in logs for ref in self._sweeps(log)]
        if not refs:
            raise DataError("no log here has pictures beside its sweeps", where=f"{root}/{split}",
                            remedy=f"expected LOG/sensors/cameras/{_RING[0]}/; for sweeps alone: lidar=true")  # fmt: skip
        return refs

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        log = Path(ref.log).name
        return f"{log}-{ref.timestamp}", log

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or broken."""
        folder = Path(ref.log)
        frame = Frame(*self.identify(ref), {"location": ref.city} if ref.city else {})
        frame.cameras = {name: self._camera(ref, name, timestamp) for name, timestamp in ref.cameras}
        if self.config.lidar:
            points = read_sweep(folder / "sensors" / "lidar" / f"{ref.timestamp}.feather")
            place = {"sensor_to_ego": np.eye(4), "ego_to_world": read_log(folder).pose(ref.timestamp)}
            fields = ("x", "y", "z", "intensity", "ring", "time")
            frame.lidars["lidar"] = Lidar(points, fields, timestamp=ref.timestamp, **place)
        return frame

    def _camera(self, ref: Ref, name: str, timestamp: int) -> Camera:
        folder = Path(ref.log)
        log = read_log(folder)
        image, (width, height) = read_picture(folder / "sensors" / "cameras" / name / f"{timestamp}.jpg")
        if name not in log.mounts:
            raise DataError(f"has no sensor {name!r}", where=str(folder / FILES[0]))
        camera = Camera(
            image=image, width=width, height=height, timestamp=timestamp, intrinsics=log.intrinsics.get(name),
            sensor_to_ego=log.mounts[name], ego_to_world=log.pose(timestamp),
        )  # fmt: skip
        if self.config.boxes and folder.parent.name != "test":
            found = read_annotations(folder).get(ref.timestamp)
            camera.boxes = None if found is None else _boxes(found, log.pose(ref.timestamp), camera, folder)
        return camera

    def _sweeps(self, log: Path) -> Iterator[Ref]:
        cameras = (*_RING, *_STEREO) if self.config.stereo else _RING
        listed = ((name, _times(log / "sensors" / "cameras" / name, "jpg")) for name in cameras)
        taken = {name: times for name, times in listed if times}
        city = next((found[1] for path in log.glob("map/*") if (found := _CITY.search(path.name))), "")
        for timestamp in _times(log / "sensors" / "lidar", "feather"):
            near = tuple((name, _nearest(times, timestamp)) for name, times in taken.items())
            if all(abs(time - timestamp) <= _NEAR for _, time in near) and (near or self.config.lidar):
                yield Ref(str(log), timestamp, near, city)


def _boxes(found: Annotations, ego_to_world: np.ndarray, camera: Camera, folder: Path) -> Boxes:
    """The 3D boxes as far as the camera shows them; ``ego_to_world`` at their own time."""
    if camera.intrinsics is None:
        raise DataError("lacks a camera that has pictures", where=str(folder / FILES[1]))
    assert camera.ego_to_world is not None and camera.sensor_to_ego is not None
    to_camera = np.linalg.inv(camera.ego_to_world @ camera.sensor_to_ego) @ ego_to_world
    in_camera = cuboid_corners(found.boxes) @ to_camera[:3, :3].T + to_camera[:3, 3]
    shown, xyxy = cuboid_extents(in_camera, camera.intrinsics, (camera.width, camera.height))
    return Boxes(
        xyxy, found.names[shown].tolist(), ignore=found.points[shown] == 0, track_ids=found.tracks[shown],
        attributes=[_attributes(found, row) for row in shown.tolist()],
    )  # fmt: skip


def _attributes(found: Annotations, row: int) -> dict[str, object]:
    box = found.boxes[row].tolist()
    where = {"distance": math.hypot(*box[:2]), "translation": box[:3], "size": box[3:6], "rotation": box[6:]}
    return {"num_interior_pts": int(found.points[row]), **where}


def _times(folder: Path, suffix: str) -> list[int]:
    return sorted(int(path.stem) for path in folder.glob(f"*.{suffix}") if path.stem.isdigit())


def _nearest(times: Sequence[int], timestamp: int) -> int:
    """Of two that are equally near the earlier one."""
    place = bisect.bisect_left(times, timestamp)
    return min(times[max(0, place - 1) : place + 1], key=lambda time: abs(time - timestamp))
