"""BDD100K's files as Frames."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
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

from .labels import CLASSES, boxes_of, tags_of

if TYPE_CHECKING:
    from .config import Bdd100kConfig

_SPLITS = ("train", "val", "test")
_JSONS = ("labels/det_20/det_{split}.json", "labels/bdd100k_labels_images_{split}.json", "labels/100k/{split}/")
_MASKS = {"drivable": "labels/drivable/masks/{split}/", "semantic": "labels/sem_seg/masks/{split}/"}
_VIDEO = re.compile(r"[0-9a-f]{8}-[0-9a-f]{8}")


class Ref(NamedTuple):
    """One picture, its mask, and where its labels lie: ``size`` bytes of ``json``, all of it where that is None. What it
    does not have is empty."""

    image: str
    mask: str = ""
    json: str = ""
    offset: int = 0
    size: int | None = None


def build(config: Bdd100kConfig) -> Bdd100k:
    return Bdd100k(config)


class Bdd100k:
    """The dataset: those labels that ``config`` names."""

    def __init__(self, config: Bdd100kConfig):
        self.config = config
        self.mask = next((kind for kind in _MASKS if kind in config.labels), None)
        self.classes = {"object_detection": CLASSES["detection"]} if "detection" in config.labels else {}
        if self.mask is not None:
            self.classes["semantic_segmentation"] = CLASSES[self.mask]

    def index(self, root: Path, split: str) -> list[Ref]:
        """The pictures of ``split``, in the json's order, else by name. Raises DataError for what is missing."""
        root = Path(root)
        check_split("BDD100K", split, _SPLITS, root)
        images = f"images/{'10k' if self.mask == 'semantic' else '100k'}/{split}/"
        masks = _MASKS[self.mask].replace("{split}", split) if self.mask and split != "test" else None
        has_boxes = "detection" in self.config.labels and split != "test"
        jsons = [name.replace("{split}", split) for name in _JSONS] if has_boxes else []
        json = next((name for name in jsons if (root / name).exists()), None)
        check_layout("BDD100K", root, [images, *([masks] if masks else []), *jsons[: json is None]])
        if json is not None:
            refs = [ref._replace(image=str(root / images / ref.image)) for ref in _listed(root / json)]
        else:
            refs = [Ref(str(path)) for path in sorted((root / images).glob("*.jpg"))]
        if masks:
            refs = [ref._replace(mask=str(root / masks / f"{Path(ref.image).stem}.png")) for ref in refs]
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
        camera, tags = Camera(image=image, width=width, height=height), {}
        if ref.json:
            row = read_json(ref.json, ref.offset, ref.size)
            where = f"{ref.json}: {os.path.basename(ref.image)}"
            camera.boxes, tags = boxes_of(row, (width, height), where), tags_of(row)
        if ref.mask:
            camera.semantic = read_mask(ref.mask, (width, height))
        return Frame(*self.identify(ref), tags, {self.config.camera: camera})


def _listed(path: Path) -> Iterator[Ref]:
    """The pictures of a json, or of a folder of them, by their file names."""
    if path.is_dir():
        yield from (Ref(f"{file.stem}.jpg", json=str(file)) for file in sorted(path.glob("*.json")))
        return
    for row in json_rows(path, "frames"):
        yield Ref(_name(row.value, path), json=str(path), offset=row.offset, size=row.size)


def _name(row: Any, path: Path) -> str:
    if not (isinstance(row, dict) and isinstance(row.get("name"), str)):
        raise DataError(f"expected frames with a name, found {row!r:.60}", where=str(path))
    return row["name"]
