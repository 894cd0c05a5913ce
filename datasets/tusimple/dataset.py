"""TuSimple's files as Frames."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from drivetrain import (
    Camera,
    ClassInfo,
    DataError,
    Frame,
    Lanes,
    check_files,
    check_layout,
    read_bytes,
    read_json,
    read_picture,
)

if TYPE_CHECKING:
    from .config import TusimpleConfig

_TEST = ("test_label", "test_tasks_0627")


class Ref(NamedTuple):
    """One picture, ``name`` below ``root``, and where its line lies: ``size`` bytes of ``json``."""

    root: str
    name: str
    json: str
    offset: int
    size: int


def build(config: TusimpleConfig) -> Tusimple:
    return Tusimple(config.camera)


class Tusimple:
    """The dataset; ``camera`` is what its frames call their only one."""

    classes = {"lane_detection": (ClassInfo("lane", 0),)}

    def __init__(self, camera: str = "cam_front"):
        self.camera = camera

    def index(self, root: Path, split: str) -> list[Ref]:
        """The pictures of ``split`` in the order of its files. Raises DataError for what is missing."""
        root = Path(root)
        refs = [ref for path in _files(root, split) for ref in _listed(root, path)]
        check_files(f"{root}: split {split}", (root / ref.name for ref in refs))
        return refs

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        path = PurePosixPath(ref.name)
        return str(path.with_suffix("")), str(path.parent)

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or broken."""
        image, (width, height) = read_picture(Path(ref.root, ref.name))
        row = read_json(ref.json, ref.offset, ref.size)
        is_task = Path(ref.json).stem == _TEST[1]
        camera = Camera(image=image, width=width, height=height)
        camera.lanes = None if is_task else _lanes(row, f"{ref.json}: {ref.name}")
        return Frame(*self.identify(ref), {}, {self.camera: camera})


def _files(root: Path, split: str) -> list[Path]:
    here = sorted(path.stem for path in root.glob("*.json"))
    meant = {"train": [name for name in here if name.startswith("label_data_")] or ["label_data_0313"],
             "test": [name for name in _TEST if name in here][:1] or [_TEST[0]]}  # fmt: skip
    files = [f"{name}.json" for name in meant.get(split, [split])]
    check_layout("TuSimple", root, files)
    return [root / file for file in files]


def _listed(root: Path, path: Path) -> Iterator[Ref]:
    """The pictures of a file of JSON lines."""
    offset = 0
    for number, line in enumerate(read_bytes(path).split(b"\n"), start=1):
        if line.strip():
            try:
                name = json.loads(line)["raw_file"]
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(f"is no JSON with a raw_file: {error!r}", where=f"{path}:{number}") from None
            yield Ref(str(root), name, str(path), offset, len(line))
        offset += len(line) + 1


def _lanes(row: Mapping[str, Any], where: str) -> Lanes:
    try:
        rows = np.array(row["h_samples"], np.float32)
        lanes = [_points(np.array(xs, np.float32), rows) for xs in row["lanes"]]
    except (KeyError, TypeError, ValueError) as error:
        raise DataError(f"is no lanes with an x for each of h_samples: {error!r}", where=where) from None
    lanes = [points for points in lanes if len(points) > 1]
    return Lanes(lanes, ["lane"] * len(lanes))


def _points(xs: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """float32 [K, 2], from near to far, of the rows where the lane has an x of 0 and above."""
    points = np.stack([xs, rows], 1)[xs >= 0]  # raises ValueError for another number of rows
    return points[np.argsort(-points[:, 1], kind="stable")]
