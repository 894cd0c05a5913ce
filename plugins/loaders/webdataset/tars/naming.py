"""What the files of a WebDataset sample are to us, by their names."""

from __future__ import annotations

import re
from collections.abc import Iterable

CAMERA = "camera"
"""The camera of ``KEY.jpg``, which names none."""
UNREAD = "-"
"""Stem of files that nothing here reads: no sensor's name, so that they are skipped when others of the sample are read."""
PICTURES = {"jpg": "jpg", "jpeg": "jpg", "png": "png"}
_MASKS = ("semantic", "seg")
_NAME = re.compile(r"((?:.*/)?[^./]+)\.([^/]+)")  # as WebDataset splits: at the first dot of the last part
_META = re.compile(r"__[^/]*__($|/.*)")


def split_name(path: str) -> tuple[str, str] | None:
    """(key, suffix) of a file in a tar; None where WebDataset knows no key for it: no dot, a hidden file, ``__meta__``."""
    path = path.removeprefix("./")
    found = _NAME.fullmatch(path)
    return None if found is None or _META.fullmatch(path) else (found[1], found[2].lower())


def renamed(suffixes: Iterable[str]) -> dict[str, str]:
    """A sample's suffixes -> those of `frame_to_parts`: ``jpeg`` -> ``camera.jpg``, ``cam-front.seg.png`` ->
    ``cam_front.semantic.png``, ``cls`` -> ``-.cls``. Raises ValueError where two are one picture."""
    suffixes = list(suffixes)
    cameras = {_camera(stem): None for stem, ending in map(_split, suffixes) if ending in PICTURES and not _is_mask(stem)}
    names = {suffix: _renamed(suffix, list(cameras)) for suffix in suffixes}
    first: dict[str, str] = {}
    for suffix, name in names.items():
        before = first.setdefault(name.removesuffix(".jpg").removesuffix(".png"), suffix)
        if before != suffix:
            raise ValueError(f".{before} and .{suffix} are one picture by their names; a mask ends with .seg.png")
    return names


def split_picture(name: str) -> str | None:
    """The camera whose picture has this name among `renamed` ones, None where it is none's."""
    stem, ending = _split(name)
    return stem if ending in ("jpg", "png") and "." not in stem and stem != UNREAD else None


def _renamed(suffix: str, cameras: list[str]) -> str:
    stem, ending = _split(suffix)
    if ending in PICTURES and not _is_mask(stem):
        return f"{_camera(stem)}.{PICTURES[ending]}"
    if ending == "png":
        owner = stem.rpartition(".")[0]
        camera = _camera(owner) if owner or CAMERA in cameras or len(cameras) != 1 else cameras[0]
        if camera in cameras:
            return f"{camera}.semantic.png"
    return f"{UNREAD}.{suffix}"


def _split(suffix: str) -> tuple[str, str]:
    stem, _, ending = suffix.rpartition(".")
    return stem, ending


def _is_mask(stem: str) -> bool:
    return stem.rpartition(".")[2] in _MASKS


def _camera(stem: str) -> str:
    return re.sub(r"[^a-z0-9_]", "_", stem) or CAMERA
