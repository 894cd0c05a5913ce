"""What is predicted without labels: a picture, a folder of them or a video, as a shard set, so that prediction has one road."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2

from .building import data_spec
from .contracts import DataSpec, Source
from .data import default_loader
from .errors import DataError
from .frame import Camera, ClassInfo, Encoded, Frame
from .progress import Progress
from .recipe import Recipe

_PICTURES = {".jpg": "jpg", ".jpeg": "jpg", ".png": "png"}
_VIDEOS = (".avi", ".m4v", ".mkv", ".mov", ".mp4", ".webm")
_REMEDY = "name a picture (.jpg, .png), a folder of pictures, a video, or a shard set"
_QUALITY = [cv2.IMWRITE_JPEG_QUALITY, 95]  # of a video's frames


def is_shard_set(source: str) -> bool:
    """Whether ``source`` is a shard set or WebDataset tars: a folder of them, a pattern or an address of a store."""
    path = Path(source)
    return "://" in source or "{" in path.name or path.suffix == ".tar" or (
        path.is_dir() and ((path / "dataset.json").is_file() or any(path.glob("*.tar")))
    )  # fmt: skip


def shards_of_footage(source: Path, out: Path, recipe: Recipe) -> str:
    """A picture, a folder of pictures or a video as a shard set in a new folder ``out``. Returns its path.

    A picture's key is its path in the folder without the suffix, a video frame's NAME/NUMBER from 0. Raises DataError for
    what is none of these."""
    if not source.exists():
        raise DataError(f"{source} does not exist", remedy=_REMEDY)
    shutil.rmtree(out, ignore_errors=True)
    shards, frames = out / "shards", out / "frames"
    if source.suffix.lower() in _VIDEOS and source.is_file():
        write_frames(source, frames / source.stem)
        source = frames
    dataset = Pictures({task: tuple(names) for task, names in recipe.classes.items()})
    default_loader().convert(dataset, source, shards, "predict", dataset_name="pictures", workers=1, samples_per_shard=256)
    return str(shards)


def write_frames(video: Path, out: Path) -> int:
    """The frames of a video as JPEG, named by their number from 0; how many. Raises DataError where OpenCV reads none."""
    out.mkdir(parents=True)
    count = 0
    with Progress("reading the video", None, "frame") as progress:
        for count, picture in enumerate(_frames_of(video), 1):
            cv2.imwrite(str(out / f"{count - 1:06d}.jpg"), picture, _QUALITY)
            progress.advance(count)
    if not count:
        raise DataError(f"{video}: no frame can be read", remedy="convert it to H.264 in .mp4, or name a folder of pictures")
    return count


def _frames_of(video: Path) -> Iterator[Any]:
    capture = cv2.VideoCapture(str(video))
    try:
        while (read := capture.read())[0]:
            yield read[1]
    finally:
        capture.release()


def spec_of_shards(recipe: Recipe, shards: str) -> DataSpec:
    """What a recipe reads, but from ``shards``, whose classes need not be the recipe's: nothing of them is scored."""
    classes = default_loader().open(shards).classes
    taxonomy = {task: {c.name: c.name if c.name in names else "ignore" for c in classes.get(task, ())}
                for task, names in recipe.classes.items()}  # fmt: skip
    spec = data_spec(recipe, "val")
    return dataclasses.replace(spec, sources=(Source("predict", shards, taxonomy),), cameras=None)


class Pictures:
    """A picture or a folder of pictures as a dataset without labels, in a recipe's classes."""

    def __init__(self, classes: dict[str, tuple[str, ...]]):
        self.classes: Mapping[str, Sequence[ClassInfo]] = {
            task: tuple(ClassInfo(n, i) for i, n in enumerate(names)) for task, names in classes.items()
        }

    def index(self, root: Path, split: str) -> list[tuple[str, Path]]:
        root = Path(root)
        folder, candidates = (root, sorted(root.rglob("*"))) if root.is_dir() else (root.parent, [root])
        found = [path for path in candidates if path.suffix.lower() in _PICTURES]
        if not found:
            raise DataError(f"{root}: no .jpg or .png pictures in it", remedy=_REMEDY)
        refs = {path.relative_to(folder).with_suffix("").as_posix(): path for path in reversed(found)}
        if len(refs) < len(found):
            twice = next(path for path in found if path not in refs.values())
            raise DataError(f"{twice}: another picture has this name but for the suffix", remedy="rename one of them")
        return list(refs.items())[::-1]

    def load(self, ref: tuple[str, Path]) -> Frame:
        from PIL import Image

        key, path = ref
        try:
            with Image.open(path) as picture:
                width, height = picture.size
            image = Encoded(path.read_bytes(), _PICTURES[path.suffix.lower()])
        except OSError as error:
            raise DataError(f"no picture: {error}", where=str(path), remedy="take it out of the folder, or mend it") from error
        return Frame(key, cameras={"picture": Camera(image=image, width=width, height=height)})
