"""A COCO json's pictures as Frames."""

from __future__ import annotations

import os
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from drivetrain import Camera, ClassInfo, DataError, Frame, check_files, read_picture

from .table import Table, read_table

if TYPE_CHECKING:
    from .config import CocoConfig

_JSONS = ("annotations/instances_{split}.json", "annotations/{split}.json", "{split}.json", "annotations.json",
          "{split}/_annotations.coco.json")  # fmt: skip
_FOLDERS = ("{split}", "images/{split}", "images", ".")


class Ref(NamedTuple):
    """Picture ``number`` of a json; ``images`` is the folder of pictures."""

    json: str
    images: str
    number: int


def build(config: CocoConfig) -> Coco:
    return Coco(config)


class Coco:
    """The dataset; `classes` are the categories of the json that was indexed last."""

    def __init__(self, config: CocoConfig):
        self.config = config
        self.classes: dict[str, tuple[ClassInfo, ...]] = {}
        self._tables: dict[str, Table] = {}

    def index(self, root: Path, split: str) -> list[Ref]:
        """The json's pictures in its order. Raises DataError for what is missing, and for what is no COCO json."""
        path = self._json(Path(root), split)
        table = self._tables[str(path)] = read_table(path)
        self.classes = {"object_detection": table.classes}
        if not table.names:
            raise DataError("lists no pictures", where=str(path))
        images = self._images(Path(root), split, path, table.names[0])
        check_files(str(path), (os.path.join(images, name) for name in table.names))
        return [Ref(str(path), images, number) for number in range(len(table.names))]

    def identify(self, ref: Ref) -> tuple[str, str]:
        """Key and scene."""
        table = self._table(ref)
        return str(PurePosixPath(table.names[ref.number]).with_suffix("")), table.scenes[ref.number]

    def load(self, ref: Ref) -> Frame:
        """Raises DataError for a picture that is missing or broken."""
        table = self._table(ref)
        image, (width, height) = read_picture(os.path.join(ref.images, table.names[ref.number]))
        stated = tuple(table.sizes[ref.number].tolist())
        if min(stated) > 0 and stated != (width, height):
            raise DataError(f"{table.names[ref.number]} is {width}x{height}, stated is {stated[0]}x{stated[1]}", where=ref.json,
                            remedy="its boxes are of pictures of another size")  # fmt: skip
        camera = Camera(image=image, width=width, height=height)
        camera.boxes, camera.ignore_regions = table.boxes(ref.number, width, height), table.regions(ref.number)
        looked_for = table.looked_for(ref.number)
        camera.labelled_classes = {} if looked_for is None else {"object_detection": looked_for}
        return Frame(*self.identify(ref), {}, {self.config.camera: camera})

    def _table(self, ref: Ref) -> Table:
        if ref.json not in self._tables:
            self._tables[ref.json] = read_table(Path(ref.json))
        return self._tables[ref.json]

    def _json(self, root: Path, split: str) -> Path:
        given = self.config.annotations
        if given is None and root.is_file():
            return root
        names = [name.replace("{split}", split) for name in ((given,) if given else _JSONS)]
        for name in names:
            if (root / name).is_file():
                return root / name
        found = sorted(str(path.relative_to(root)) for path in (*root.glob("*.json"), *root.glob("*/*.json")))[:10]
        raise DataError(f"no COCO json here: missing {' or '.join(names)}", where=str(root),
                        remedy=f"found: {', '.join(found) or 'no json'}\nname one with --option annotations=PATH")  # fmt: skip

    def _images(self, root: Path, split: str, path: Path, first: str) -> str:
        base = path.parent if root.is_file() else root
        given = self.config.images
        folders = [base / name.replace("{split}", split) for name in ((given,) if given else _FOLDERS)]
        if not given:
            folders.append(path.parent)
        for folder in folders:
            if (folder / first).is_file():
                return str(folder)
        looked = "\n".join(["looked for in:", *map(str, folders), "name the folder with --option images=PATH"])
        raise DataError(f"its first picture, {first}, is missing", where=str(path), remedy=looked)
