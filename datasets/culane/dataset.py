"""CULane's files as Frames."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from drivetrain import (
    Camera,
    ClassInfo,
    DataError,
    Frame,
    Lanes,
    check_files,
    check_layout,
    near_matches,
    read_bytes,
    read_picture,
)

if TYPE_CHECKING:
    from .config import CulaneConfig

_KIND = re.compile(r"test\d+_(\w+)")


class Ref(NamedTuple):
    """One picture, ``name`` below ``root``; ``category`` is its kind among the test pictures, where it is told."""

    root: str
    name: str
    category: str

    def file(self, suffix: str) -> Path:
        return Path(self.root, self.name).with_suffix(suffix)


def build(config: CulaneConfig) -> Culane:
    return Culane(config.camera)


class Culane:
    """The dataset; ``camera`` is what its frames call their only one."""

    classes = {"lane_detection": (ClassInfo("lane", 0),)}

    def __init__(self, camera: str = "cam_front"):
        self.camera = camera

    def index(self, root: Path, split: str) -> list[Ref]:
        """The pictures of ``split`` in the order of its list. Raises DataError for what is missing."""
        check_layout("CULane", Path(root), ["list/"])
        lists = {path.stem: path for path in sorted(Path(root).glob("list/test_split/*.txt"))}
        kinds = {name: found[1] for kind, path in lists.items() if (found := _KIND.fullmatch(kind)) for name in _names(path)}
        lists |= {path.stem.removesuffix("_gt"): path for path in sorted(Path(root).glob("list/*.txt"), reverse=True)}
        if split not in lists:
            raise DataError(f"no list of split {split!r}: missing list/{split}.txt", where=str(root),
                            near=near_matches(split, lists), remedy=f"splits here: {', '.join(lists) or 'none'}")  # fmt: skip
        refs = [Ref(str(root), name, kinds.get(name, "")) for name in _names(lists[split])]
        check_files(f"{lists[split]}", (ref.file(suffix) for suffix in (".jpg", ".lines.txt") for ref in refs))
        return refs

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        path = PurePosixPath(ref.name)
        return str(path.with_suffix("")), str(path.parent)

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or broken."""
        image, (width, height) = read_picture(ref.file(".jpg"))
        lanes = _lanes(ref.file(".lines.txt"))
        tags = {"category": ref.category} if ref.category else {}
        return Frame(*self.identify(ref), tags, {self.camera: Camera(lanes=lanes, image=image, width=width, height=height)})


def _names(path: Path) -> list[str]:
    """The pictures of a list, whose lines may go on with a mask and which lanes it has."""
    lines = read_bytes(path).decode().splitlines()
    return [line.split()[0].lstrip("/") for line in lines if line.strip()]


def _lanes(path: Path) -> Lanes:
    points = []
    for number, line in enumerate(read_bytes(path).decode().splitlines(), start=1):
        try:
            lane = np.array(line.split(), np.float32).reshape(-1, 2)
        except ValueError as error:
            raise DataError(f"is no lane of x y x y: {error}", where=f"{path}:{number}") from None
        if len(lane) > 1:
            points.append(lane[np.argsort(-lane[:, 1], kind="stable")])
    return Lanes(points, ["lane"] * len(points))
