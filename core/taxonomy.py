"""From a source's own class names to the recipe's classes, or to ``ignore`` or ``drop``."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from .errors import DataError, RecipeError, near_matches
from .frame import Boxes, Camera, ClassInfo
from .lanes import Lanes
from .tasks import IGNORE

DROP = -1
_FORBIDDEN = 254
_SIDE = re.compile(r"(?<![a-z])(left|right)(?![a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Taxonomy:
    """How one task of one source is read.

    ``classes``: the recipe's. ``to_id``: source name -> class id, `IGNORE` or `DROP`. ``lut`` uint8 [256]: source mask
    id -> class id or `IGNORE`; ids that the dataset does not have map to a value that `map_mask` refuses.
    """

    classes: tuple[str, ...]
    to_id: Mapping[str, int]
    lut: np.ndarray

    @staticmethod
    def build(source: str, task: str, infos: Sequence[ClassInfo], classes: Sequence[str], mapping: Mapping[str, str],
              where: str | None = None) -> Taxonomy:  # fmt: skip
        """Join ``mapping`` (source name -> recipe class, ``ignore`` or ``drop``) with equal names and void classes.

        Raises RecipeError for a source class that nothing maps, and for a mapping to or from a name that is not there.
        """
        names = [info.name for info in infos]
        for name, target in mapping.items():
            if name not in names:
                raise RecipeError(
                    f"source {source!r} has no {task} class {name!r}", where=where, near=near_matches(name, names)
                )
            if target not in (*classes, "ignore", "drop"):
                raise RecipeError(f"{name!r} is mapped to {target!r}, which is no class of this recipe", where=where,
                                  near=near_matches(target, (*classes, "ignore", "drop")))  # fmt: skip
        to_id = {info.name: _target(source, task, info, classes, mapping, where) for info in infos}
        lut = np.full(256, _FORBIDDEN, np.uint8)
        lut[IGNORE] = IGNORE
        for info in (i for i in infos if i.id < 256):  # others cannot occur in a mask: detection has ids as it likes
            lut[info.id] = IGNORE if to_id[info.name] == DROP else to_id[info.name]
        return Taxonomy(tuple(classes), to_id, lut)

    def map_mask(self, mask: np.ndarray, what: str) -> np.ndarray:
        """``mask`` uint8 [H, W] of source ids as class ids. Raises DataError for ids outside the dataset's classes."""
        mapped = self.lut[mask]
        if (mapped == _FORBIDDEN).any():
            ids = sorted(set(np.unique(mask).tolist()) - set(np.flatnonzero(self.lut != _FORBIDDEN).tolist()))
            raise DataError(f"{what}: mask holds class ids {ids} that are outside the dataset's classes",
                            remedy=f"ids of the dataset: {np.flatnonzero(self.lut != _FORBIDDEN).tolist()}")  # fmt: skip
        return mapped

    def map_boxes(self, boxes: Boxes, what: str) -> tuple[Boxes, np.ndarray]:
        """The boxes that are not dropped, named in the recipe's classes, and their ids int64 [N] (`IGNORE` if ignored).

        Raises DataError for a class name that the dataset does not declare.
        """
        ids = self._ids(boxes.names, f"{what}: box")
        kept = boxes.select(ids != DROP)
        ids = ids[ids != DROP]
        names = [n if i == IGNORE else self.classes[i] for n, i in zip(kept.names, ids)]
        return dataclasses.replace(kept, names=names, ignore=kept.ignore | (ids == IGNORE)), ids

    def map_lanes(self, lanes: Lanes, what: str) -> tuple[Lanes, np.ndarray]:
        """The lanes that are neither dropped nor ignored, named in the recipe's classes, and their ids int64 [L].

        Raises DataError for a class name that the dataset does not declare.
        """
        ids = self._ids(lanes.names, f"{what}: lane")
        learnt = (ids != DROP) & (ids != IGNORE)
        return dataclasses.replace(lanes.select(learnt), names=[self.classes[i] for i in ids[learnt]]), ids[learnt]

    def _ids(self, names: Sequence[str], what: str) -> np.ndarray:
        unknown = sorted(set(names) - set(self.to_id))
        if unknown:
            raise DataError(f"{what} classes {unknown} are outside the dataset's classes",
                            near=near_matches(unknown[0], self.to_id))  # fmt: skip
        return np.array([self.to_id[name] for name in names], np.int64).reshape(-1)

    @cached_property
    def mirrored(self) -> np.ndarray:
        """uint8 [256]: class id -> what it is in a picture whose left and right are exchanged (`mirrored_classes`)."""
        lut = np.arange(256, dtype=np.uint8)
        lut[: len(self.classes)] = mirrored_classes(self.classes)
        return lut

    def labelled(self, camera: Camera, task: str) -> np.ndarray:
        """bool [C]: the recipe's classes that were looked for in this picture."""
        looked = camera.labelled_classes.get(task)
        sources = self.to_id if looked is None else {n: self.to_id[n] for n in looked if n in self.to_id}
        out = np.zeros(len(self.classes), bool)
        out[[i for i in sources.values() if 0 <= i < len(self.classes)]] = True
        return out


def mirrored_classes(classes: Sequence[str]) -> list[int]:
    """For each class its id where left and right are exchanged: ``ego_left`` becomes ``ego_right``, ``turn left`` becomes
    ``turn right``. A class that has a side, and whose other side is no class, becomes `IGNORE`: a mirrored keep-left sign is
    none. A class without a side stays."""
    ids = {name: number for number, name in enumerate(classes)}
    return [ids.get(_SIDE.sub(_other_side, name), IGNORE) for name in classes]


def _other_side(found: re.Match[str]) -> str:
    other = "right" if found[0].lower() == "left" else "left"
    return other.upper() if found[0].isupper() else other.title() if found[0].istitle() else other


def _target(source, task, info, classes, mapping, where) -> int:
    target = mapping.get(info.name)
    if target is None:
        if info.name in classes:
            return list(classes).index(info.name)
        if info.ignore:
            return IGNORE
        raise RecipeError(
            f"source {source!r}: {task} class {info.name!r} is not mapped to any of the recipe's classes",
            where=where, near=near_matches(info.name, classes),
            remedy=f"set data.taxonomy.{source}.{info.name} to one of: {', '.join(classes)}, ignore, drop",
        )  # fmt: skip
    return {"ignore": IGNORE, "drop": DROP}.get(target, list(classes).index(target) if target in classes else IGNORE)
