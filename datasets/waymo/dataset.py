"""Waymo's segments as Frames."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drivetrain import Camera, DataError, Encoded, Frame, check_files, check_layout, check_split, picture_header, read_table

from .lidar import open_sweeps, read_sweeps
from .rows import TIME, matrix
from .segment import CAMERAS, CLASSES, IMAGE, Segment, boxes_of, read_segment

if TYPE_CHECKING:
    from .config import WaymoConfig

_SPLITS = ("training", "validation", "testing")
_NEEDED = ("camera_image", "camera_calibration")
_LIDAR = ("lidar", "lidar_calibration", "lidar_pose", "vehicle_pose")


class Ref(NamedTuple):
    """The frame of a segment at ``time``, in µs; ``folder`` is the split's."""

    folder: str
    segment: str
    time: int


def build(config: WaymoConfig) -> Waymo:
    return Waymo(config)


class Waymo:
    """The dataset."""

    classes = CLASSES

    def __init__(self, config: WaymoConfig):
        self.config = config

    def index(self, root: Path, split: str) -> list[Ref]:
        """The frames of ``split``, segment by segment, in the order of time. Raises DataError for what is missing."""
        read_segment.cache_clear()  # the files may have been mended
        open_sweeps.cache_clear()
        check_split("Waymo", split, _SPLITS, Path(root))
        needed = [*_NEEDED, *(["camera_box"] if split != "testing" else []), *(_LIDAR if self.config.lidar else [])]
        check_layout("Waymo v2", Path(root), [f"{split}/{kind}/" for kind in needed])
        folder = Path(root) / split
        segments = sorted(path.stem for path in folder.glob("camera_image/*.parquet"))
        if not segments:
            raise DataError("has no segment", where=str(folder / "camera_image"), remedy="expected SEGMENT.parquet")
        check_files(str(folder), (folder / kind / f"{name}.parquet" for name in segments for kind in needed))
        return [Ref(str(folder), name, time) for name in segments for time in _times(folder, name)]

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        return f"{ref.segment}-{ref.time}", ref.segment

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or broken."""
        segment = read_segment(Path(ref.folder), ref.segment)
        frame = Frame(*self.identify(ref), dict(segment.tags.get(ref.time, {})))
        for number in segment.images.of(ref.time):
            frame.cameras[CAMERAS[number]] = _camera(segment, ref.time, number)
        if self.config.lidar:
            frame.lidars = read_sweeps(Path(ref.folder), ref.segment, ref.time)
        return frame


def _times(folder: Path, segment: str) -> list[int]:
    return sorted(set(read_table(folder / "camera_image" / f"{segment}.parquet", [TIME])[TIME].to_pylist()))


def _camera(segment: Segment, time: int, number: int) -> Camera:
    where = f"{segment.images.path}: {CAMERAS[number]} at {time}"
    data, pose, seconds = (segment.images.read(time, number)[name] for name in IMAGE)
    if (known := picture_header(data)) is None:
        raise DataError("is no JPEG and no PNG", where=where)
    if number not in segment.mounts:
        raise DataError("has no calibration", where=where)
    format, (width, height) = known
    intrinsics, distortion, sensor_to_ego = segment.mounts[number]
    return Camera(
        boxes=boxes_of(segment, time, number, (width, height)), image=Encoded(data, format), width=width, height=height,
        timestamp=round(seconds * 1e6) * 1000, intrinsics=intrinsics, model="brown_conrady", distortion=distortion,
        sensor_to_ego=sensor_to_ego, ego_to_world=matrix(pose),
    )  # fmt: skip
