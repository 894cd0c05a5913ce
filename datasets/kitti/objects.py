"""The object benchmark's files as Frames."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from drivetrain import Camera, DataError, Frame, check_files, check_layout, near_matches, read_bytes, read_picture

from .calib import Calibration, read_calibration
from .labels import CLASSES, COLUMNS, parse_labels, read_rows

if TYPE_CHECKING:
    from .config import KittiConfig

_FOLDERS = ("training", "testing")


class Ref(NamedTuple):
    """One frame: ``folder`` is training/ or testing/, ``scene`` its drive where that is known."""

    folder: str
    id: str
    scene: str

    def file(self, kind: str, suffix: str = "txt") -> Path:
        return Path(self.folder, kind, f"{self.id}.{suffix}")


def build(config: KittiConfig) -> Kitti:
    return Kitti(config.camera)


class Kitti:
    """The dataset; ``camera`` is what its frames call their only one."""

    classes = CLASSES

    def __init__(self, camera: str = "cam_front"):
        self.camera = camera

    def index(self, root: Path, split: str) -> list[Ref]:
        """The frames of ``split`` in the order of its list. Raises DataError for what is missing."""
        root = Path(root)
        folder = root / ("testing" if split in ("test", "testing") else "training")
        kinds = {"image_2": "png", "label_2": "txt"} if folder.name == "training" else {"image_2": "png"}
        if (folder / "calib").is_dir():
            kinds["calib"] = "txt"
        check_layout("KITTI", root, [f"{folder.name}/{kind}/" for kind in kinds])
        drives = _drives(root) if folder.name == "training" else []
        refs = [Ref(str(folder), id, _drive_of(id, drives)) for id in _ids(root, folder, split)]
        check_files(f"{root}: split {split}", (ref.file(kind, suffix) for kind, suffix in kinds.items() for ref in refs))
        return refs

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        return ref.id, ref.scene

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or broken."""
        image, (width, height) = read_picture(ref.file("image_2", "png"))
        calib = ref.file("calib")
        intrinsics, sensor_to_ego = read_calibration(calib) if calib.parent.is_dir() else Calibration()
        camera = Camera(image=image, width=width, height=height, intrinsics=intrinsics, sensor_to_ego=sensor_to_ego)
        if Path(ref.folder).name == "training":
            label = ref.file("label_2")
            camera.boxes, camera.ignore_regions = parse_labels(read_rows(label, COLUMNS), str(label))
        return Frame(ref.id, ref.scene, {}, {self.camera: camera})


def _ids(root: Path, folder: Path, split: str) -> list[str]:
    if split in _FOLDERS:
        return sorted(path.stem for path in folder.glob("image_2/*.png"))
    path = root / "ImageSets" / f"{split}.txt"
    if path.is_file():
        return read_bytes(path).decode().split()
    known = [*_FOLDERS, *sorted(path.stem for path in root.glob("ImageSets/*.txt"))]
    raise DataError(f"no list of split {split!r}: missing ImageSets/{split}.txt", where=str(root),
                    near=near_matches(split, known), remedy=f"splits here: {', '.join(known)}")  # fmt: skip


def _drives(root: Path) -> list[str]:
    """The drive of every training frame, by its number; empty without the devkit's mapping. ``train_rand.txt`` says, from 1,
    which line of ``train_mapping.txt`` a frame has."""
    order, lines = root / "mapping" / "train_rand.txt", root / "mapping" / "train_mapping.txt"
    if not (order.is_file() and lines.is_file()):
        return []
    drives = [line.split()[1] for line in lines.read_text().splitlines() if line.strip()]
    return [drives[int(number) - 1] for number in re.findall(r"\d+", order.read_text())]


def _drive_of(id: str, drives: Sequence[str]) -> str:
    return drives[int(id)] if id.isdigit() and int(id) < len(drives) else ""
