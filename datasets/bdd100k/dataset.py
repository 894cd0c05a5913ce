"""BDD100K's files as Frames."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from drivetrain import (
    Camera,
    DataError,
    Frame,
    check_files,
    check_layout,
    check_split,
    json_rows,
    read_json,
    read_mask,
    read_picture,
)

from .labels import CLASSES, boxes_of, lanes_of, tags_of

if TYPE_CHECKING:
    from .config import Bdd100kConfig

_SPLITS = ("train", "val", "test")
_OLDER = ("labels/bdd100k_labels_images_{split}.json", "labels/100k/{split}/")
_JSONS = {
    "detection": ("labels/det_20/det_{split}.json", *_OLDER),
    "lanes": ("labels/lane/polygons/lane_{split}.json", *_OLDER),
}
_MASKS = {"drivable": "labels/drivable/masks/{split}/", "semantic": "labels/sem_seg/masks/{split}/"}
_TASKS = {"detection": "object_detection", "lanes": "lane_detection", "drivable": "drivable_area",
          "semantic": "semantic_segmentation"}  # fmt: skip
_VIDEO = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}")


class Row(NamedTuple):
    """Where the labels of one picture lie: ``size`` bytes of ``json`` from ``offset`` on, all of it where that is None."""

    json: str
    offset: int = 0
    size: int | None = None


class Ref(NamedTuple):
    """One picture, its mask, and the rows of its boxes and lanes, as far as it has them."""

    image: str
    mask: str = ""
    boxes: Row | None = None
    lanes: Row | None = None


def build(config: Bdd100kConfig) -> Bdd100k:
    return Bdd100k(config)


class Bdd100k:
    """The dataset: those labels that ``config`` names."""

    def __init__(self, config: Bdd100kConfig):
        self.config = config
        self.mask = next((kind for kind in _MASKS if kind in config.labels), None)
        self.classes = {_TASKS[kind]: CLASSES[kind] for kind in config.labels}

    def index(self, root: Path, split: str) -> list[Ref]:
        """The pictures of ``split``, in the json's order, else by name. Raises DataError for what is missing."""
        root = Path(root)
        check_split("BDD100K", split, _SPLITS, root)
        images = f"images/{'10k' if self.mask == 'semantic' else '100k'}/{split}/"
        masks = _MASKS[self.mask].replace("{split}", split) if self.mask and split != "test" else None
        jsons = {kind: [name.replace("{split}", split) for name in _JSONS[kind]]
                 for kind in _JSONS if kind in self.config.labels and split != "test"}  # fmt: skip
        found = {kind: next((name for name in names if (root / name).exists()), names[0]) for kind, names in jsons.items()}
        check_layout("BDD100K", root, [images, *([masks] if masks else []), *found.values()])
        rows = {name: _listed(root / name) for name in found.values()}
        boxes, lanes = (rows[found[kind]] if kind in found else {} for kind in ("detection", "lanes"))
        listed = next((rows[name] for name in found.values()), None)
        names = [path.name for path in sorted((root / images).glob("*.jpg"))] if listed is None else list(listed)
        refs = [
            Ref(str(root / images / name), str(root / masks / f"{Path(name).stem}.png") if masks else "", boxes.get(name),
                lanes.get(name)) for name in names
        ]  # fmt: skip
        check_files(f"{root}: split {split}", (path for ref in refs for path in (ref.image, ref.mask) if path))
        return refs

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene, which is the video that a picture was taken from."""
        key = Path(ref.image).stem
        video = _VIDEO.match(key)
        return key, video[0] if video else key

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a file that is missing or broken."""
        image, (width, height) = read_picture(ref.image)
        camera = Camera(image=image, width=width, height=height)
        rows = {row: read_json(*row) for row in (ref.boxes, ref.lanes) if row}
        tags = next(map(tags_of, rows.values()), {})
        if ref.boxes:
            camera.boxes = boxes_of(rows[ref.boxes], (width, height), _where(ref, ref.boxes))
        if ref.lanes:
            camera.lanes = lanes_of(rows[ref.lanes], _where(ref, ref.lanes))
        if ref.mask:
            setattr(camera, str(self.mask), read_mask(ref.mask, (width, height)))
        return Frame(*self.identify(ref), tags, {self.config.camera: camera})


def _where(ref: Ref, row: Row) -> str:
    return f"{row.json}: {os.path.basename(ref.image)}"


def _listed(path: Path) -> dict[str, Row]:
    """The pictures of a json, or of a folder of them, by their file names."""
    if path.is_dir():
        return {f"{file.stem}.jpg": Row(str(file)) for file in sorted(path.glob("*.json"))}
    return {_name(row.value, path): Row(str(path), row.offset, row.size) for row in json_rows(path, "frames")}


def _name(row: Any, path: Path) -> str:
    if not (isinstance(row, dict) and isinstance(row.get("name"), str)):
        raise DataError(f"expected frames with a name, found {row!r:.60}", where=str(path))
    return row["name"]
