"""CamVid's files as Frames. Pictures and masks stay the PNG bytes that they are."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from drivetrain import Camera, ClassInfo, DataError, Encoded, Frame, near_matches

if TYPE_CHECKING:
    from .config import CamvidConfig

_COLORS = {
    "sky": (128, 128, 128), "building": (128, 0, 0), "pole": (192, 192, 128), "road": (128, 64, 128),
    "pavement": (60, 40, 222), "tree": (128, 128, 0), "signsymbol": (192, 128, 128), "fence": (64, 64, 128),
    "car": (64, 0, 128), "pedestrian": (64, 64, 0), "bicyclist": (0, 128, 192), "unlabelled": (0, 0, 0),
}  # fmt: skip
CLASSES = tuple(ClassInfo(name, i, color, ignore=name == "unlabelled") for i, (name, color) in enumerate(_COLORS.items()))
_TIME_OF_DAY = {"0001TP": "dusk", "0006R0": "day", "0016E5": "day", "Seq05VD": "day"}
_SPLITS = ("train", "val", "test")


class Ref(NamedTuple):
    """One frame's files."""

    image: Path
    mask: Path


def build(config: CamvidConfig) -> CamVid:
    return CamVid(config.camera)


class CamVid:
    """The dataset; ``camera`` is what its frames call their only one."""

    classes = {"semantic_segmentation": CLASSES}

    def __init__(self, camera: str = "cam_front"):
        self.camera = camera

    def index(self, root: Path, split: str) -> list[Ref]:
        """The frames of ``split`` in the order of its list.

        Raises DataError for a missing list, a line that is not two columns, and frames that are named but not there.
        """
        refs = list(_read_list(_list_file(Path(root), split), Path(root)))
        missing = [path for ref in refs for path in ref if not path.exists()]
        if missing:
            shown = "".join(f"\n{path}" for path in missing[:5]) + ("\n..." if len(missing) > 5 else "")
            raise DataError(
                f"{split}.txt names {2 * len(refs)} files, {len(missing)} of them are not there", where=str(root),
                remedy=f"the first of them:{shown}",
            )  # fmt: skip
        return refs

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        key = ref.image.stem
        return key, key.rpartition("_")[0]

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or no PNG."""
        key, scene = self.identify(ref)
        image, mask = _read_png(ref.image), _read_png(ref.mask)
        width, height = _png_size(image.data)
        if _png_size(mask.data) != (width, height):
            raise DataError(f"mask is {_png_size(mask.data)}, its picture {(width, height)}", where=str(ref.mask))
        tags = {"time_of_day": _TIME_OF_DAY[scene]} if scene in _TIME_OF_DAY else {}
        return Frame(key, scene, tags, {self.camera: Camera(semantic=mask, image=image, width=width, height=height)})


def _list_file(root: Path, split: str) -> Path:
    path = root / f"{split}.txt"
    if path.is_file():
        return path
    wanted = [f"{split}.txt", f"{split}/", f"{split}annot/"]
    missing = [name for name in wanted if not (root / name).exists()]
    found = sorted(p.name + "/" * p.is_dir() for p in root.iterdir())[:10] if root.is_dir() else []
    nested = root / "CamVid" / path.name
    raise DataError(
        f"CamVid's layout is not complete: missing {', '.join(missing)}", where=str(root),
        near=[] if split in _SPLITS else near_matches(split, _SPLITS),
        remedy=f"give {nested.parent}" if nested.is_file() else f"found: {', '.join(found) or 'nothing'}",
    )  # fmt: skip


def _read_list(path: Path, root: Path) -> Iterator[Ref]:
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        columns = line.split()
        if columns and len(columns) != 2:
            raise DataError("expected two columns, picture and mask", where=f"{path}:{number}")
        if columns:
            # The lists begin with their author's /SegNet/CamVid: the folder and the name are ours.
            yield Ref(*(root.joinpath(*PurePosixPath(column).parts[-2:]) for column in columns))


def _read_png(path: Path) -> Encoded:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if data[:8] != b"\x89PNG\r\n\x1a\n" or len(data) < 24:
        raise DataError("is not a PNG file", where=str(path))
    return Encoded(data, "png")


def _png_size(data: bytes) -> tuple[int, int]:
    """(width, height) from the header: the first chunk's first two words (PNG specification, 11.2.2)."""
    return struct.unpack(">II", data[16:24])
