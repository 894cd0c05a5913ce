"""nuScenes' official splits: scenes by number."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from drivetrain import DataError, near_matches

_VAL = (
    "3 12-18 35-36 38-39 92-110 221 268-278 329-332 344-346 519-524 552-565 625-627 629-630 632-638 770-771 775 777-778 "
    "780-784 794-800 802 904-917 919-931 962-963 966-969 971-972 1059-1073"
)
_MINI_VAL = "103 916"


def _scenes(ranges: str) -> frozenset[str]:
    ends = (part.split("-") for part in ranges.split())
    return frozenset(f"scene-{number:04d}" for end in ends for number in range(int(end[0]), int(end[-1]) + 1))


VAL, MINI_VAL = _scenes(_VAL), _scenes(_MINI_VAL)
_SPLITS: dict[str, tuple[str, Callable[[str], bool]]] = {
    "train": ("v1.0-trainval", lambda scene: scene not in VAL),
    "val": ("v1.0-trainval", lambda scene: scene in VAL),
    "test": ("v1.0-test", lambda scene: True),
    "mini_train": ("v1.0-mini", lambda scene: scene not in MINI_VAL),
    "mini_val": ("v1.0-mini", lambda scene: scene in MINI_VAL),
}


def split_of(root: Path, split: str, version: str | None) -> tuple[str, Callable[[str], bool]]:
    """The folder of tables of a split, and which scenes, by name, are its. Raises DataError for a split that is none."""
    if split in _SPLITS:
        folder, chosen = _SPLITS[split]
        return version or folder, chosen
    if split == version or (root / split / "scene.json").is_file() or split.startswith("v1.0-"):
        return version or split, lambda scene: True
    raise DataError(f"nuScenes has no split {split!r}", where=str(root), near=near_matches(split, _SPLITS),
                    remedy=f"splits: {', '.join(_SPLITS)}, or a version such as v1.0-mini")  # fmt: skip
