"""The tracking benchmark's files as Frames."""

from __future__ import annotations

import functools
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drivetrain import Camera, DataError, Frame, check_files, check_layout, check_split, read_picture

from .calib import Calibration, ego_poses, read_calibration
from .labels import CLASSES, COLUMNS, parse_labels, read_rows

if TYPE_CHECKING:
    from .config import KittiConfig

_SPLITS = ("training", "testing")


class Ref(NamedTuple):
    """One picture of a sequence; ``folder`` is training/ or testing/."""

    folder: str
    sequence: str
    number: int

    def file(self, kind: str) -> Path:
        return Path(self.folder, kind, f"{self.sequence}.txt")


def build(config: KittiConfig) -> KittiTracking:
    return KittiTracking(config.camera)


class KittiTracking:
    """The dataset; ``camera`` is what its frames call their only one."""

    classes = CLASSES

    def __init__(self, camera: str = "cam_front"):
        self.camera = camera

    def index(self, root: Path, split: str) -> list[Ref]:
        """The pictures of all sequences of ``split``, in order. Raises DataError for what is missing."""
        _labels.cache_clear()  # the files may have been mended
        _poses.cache_clear()
        folder = Path(root) / split
        kinds = ["label_02"] if split == "training" else []
        check_split("KITTI tracking", split, _SPLITS, Path(root))
        check_layout("KITTI tracking", Path(root), [f"{split}/{kind}/" for kind in ("image_02", *kinds)])
        kinds += [kind for kind in ("calib", "oxts") if (folder / kind).is_dir()]
        sequences = sorted(path.name for path in folder.glob("image_02/*/"))
        check_files(f"{folder}", (folder / kind / f"{sequence}.txt" for kind in kinds for sequence in sequences))
        pictures = (path for sequence in sequences for path in sorted((folder / "image_02" / sequence).glob("*.png")))
        return [Ref(str(folder), path.parent.name, int(path.stem)) for path in pictures]

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        return f"{ref.sequence}-{ref.number:06d}", ref.sequence

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or broken."""
        image, (width, height) = read_picture(Path(ref.folder, "image_02", ref.sequence, f"{ref.number:06d}.png"))
        calib = ref.file("calib")
        intrinsics, sensor_to_ego = read_calibration(calib) if calib.is_file() else Calibration()
        camera = Camera(image=image, width=width, height=height, intrinsics=intrinsics, sensor_to_ego=sensor_to_ego)
        camera.ego_to_world = _pose(ref)
        label = ref.file("label_02")
        if Path(ref.folder).name == "training":
            rows = _labels(str(label)).get(ref.number, [])
            tracks = [int(row[1]) for row in rows]
            camera.boxes, camera.ignore_regions = parse_labels([row[2:] for row in rows], str(label), tracks)
        key, scene = self.identify(ref)
        return Frame(key, scene, {}, {self.camera: camera})


@functools.lru_cache(4)
def _labels(path: str) -> dict[int, list[list[str]]]:
    """frame -> its rows of 17 columns: frame, track, then those of the object benchmark."""
    out = defaultdict(list)
    for row in read_rows(Path(path), COLUMNS + 2):
        try:
            int(row[1])
            out[int(row[0])].append(row)
        except ValueError:
            raise DataError(f"frame {row[0]!r}, track {row[1]!r}: expected whole numbers", where=path) from None
    return dict(out)


@functools.lru_cache(4)
def _poses(path: str) -> np.ndarray:
    return ego_poses(Path(path))


def _pose(ref: Ref) -> np.ndarray | None:
    oxts = ref.file("oxts")
    if not oxts.is_file():
        return None
    poses = _poses(str(oxts))
    if ref.number >= len(poses):
        raise DataError(f"has {len(poses)} lines, none for frame {ref.number}", where=str(oxts))
    return poses[ref.number]
