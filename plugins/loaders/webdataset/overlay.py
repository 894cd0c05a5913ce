"""Overlays laid over a shard set: whose labels count, and in which classes."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from drivetrain import IGNORE, TASKS, Camera, ClassInfo, DataError, Encoded, Frame, Overlay, key_hashes

from .decode import decode_label

Classes = Mapping[str, Sequence[ClassInfo]]


@dataclass(frozen=True)
class _Layer:
    """An overlay, and what of it must be said in the set's terms: ``luts``: task -> uint8 [256] from its mask ids, where they
    are not the set's; ``looked``: task -> its classes, where these are not all that are known now."""

    overlay: Overlay
    luts: Mapping[str, np.ndarray]
    looked: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True)
class Layers:
    """A set's overlays, later ones on top. ``classes``: the set's own, and what the overlays add; ``looked``: task -> the
    set's own classes, where the overlays know more, since nobody looked for these in its own labels."""

    classes: Classes
    layers: Sequence[_Layer] = ()
    looked: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @staticmethod
    def open(paths: Iterable[str], own: Classes, info: Mapping[str, Any], keys: Callable[[], Iterable[str]]) -> Layers:
        """``keys``: of the set, asked for where an overlay was made for another set or for another content.

        Raises DataError for an overlay of which no key is in the set; warns where some are not."""
        overlays = [Overlay(path) for path in paths]
        for overlay in overlays:
            if len(overlay) and (overlay.info["base"] or {}).get("content_id") != info["content_id"]:
                _check_keys(overlay, info, keys())
        classes = own
        for overlay in overlays:
            classes = _joined(classes, overlay.classes)
        layers = [_Layer(o, _luts(o.classes, classes), _fewer(o.classes, classes)) for o in overlays]
        return Layers(classes, layers, _fewer(own, classes))

    def apply(self, frame: Frame) -> Frame:
        """``frame`` with the overlays' labels in place of its own. Thread safe. Raises DataError for damaged labels."""
        if not self.layers:
            return frame
        said = [(layer, found) for layer in self.layers if (found := layer.overlay.labels(frame.key))]
        for name, camera in frame.cameras.items():
            for task, names in self.looked.items():
                camera.labelled_classes.setdefault(task, names)
            for layer, cameras in said:
                if name in cameras:
                    _lay(camera, cameras[name], layer)
        return frame


def _lay(camera: Camera, labels: Camera, layer: _Layer) -> None:
    for task in TASKS.values():
        value = getattr(labels, task.prediction)
        if value is None:
            continue
        if task.name in layer.luts:
            value = layer.luts[task.name][decode_label(task.prediction, value) if isinstance(value, Encoded) else value]
        setattr(camera, task.prediction, value)
        looked = labels.labelled_classes.get(task.name, layer.looked.get(task.name))
        camera.labelled_classes.pop(task.name, None)
        if looked is not None:
            camera.labelled_classes[task.name] = looked
    if labels.instances is not None or labels.boxes is not None:
        camera.instances = labels.instances  # they are numbered as the boxes that they came with
    if labels.ignore_regions is not None:
        camera.ignore_regions = labels.ignore_regions


def _check_keys(overlay: Overlay, info: Mapping[str, Any], keys: Iterable[str]) -> None:
    found = np.isin(overlay.hashes, key_hashes(keys))
    strange = int(len(found) - np.count_nonzero(found))
    if strange == len(found):
        base, made = overlay.info["base"], overlay.info["made_from"]
        of = f"{base['dataset']} {base['split']}" if base else ", ".join(f"{k} {v}" for k, v in made.items() if v)
        this = f"{info.get('dataset')} {info.get('split')}"
        raise DataError(f"none of its {strange} keys is in this set, {this}: it was made from {of or 'something else'}",
                        where=overlay.path, remedy="name the overlay of this set")  # fmt: skip
    if strange:
        warnings.warn(f"{overlay.path}: {strange} of its {len(found)} keys are not in the set, and count for nothing")


def _joined(classes: Classes, more: Classes) -> dict[str, Sequence[ClassInfo]]:
    """``classes`` and what ``more`` adds; a new class whose id is taken gets the next free one."""
    out: dict[str, Sequence[ClassInfo]] = dict(classes)
    for task, infos in more.items():
        joined = list(out.get(task, ()))
        for info in infos:
            if info.name not in {one.name for one in joined}:
                taken = {one.id for one in joined} | {IGNORE}
                number = info.id if info.id not in taken else next(n for n in range(len(taken) + 1) if n not in taken)
                joined.append(dataclasses.replace(info, id=number))
        out[task] = joined
    return out


def _fewer(own: Classes, joined: Classes) -> dict[str, tuple[str, ...]]:
    """Task -> the classes of ``own``, for tasks of which ``joined`` has more."""
    return {task: tuple(info.name for info in infos) for task, infos in own.items() if len(infos) < len(joined[task])}


def _luts(own: Classes, joined: Classes) -> dict[str, np.ndarray]:
    """Task -> from mask ids of ``own`` to those of ``joined``, undeclared ids as they are, where any of them changes."""
    luts = {task.name: _lut(own.get(task.name, ()), joined.get(task.name, ())) for task in TASKS.values() if task.is_mask}
    return {task: lut for task, lut in luts.items() if (lut != np.arange(256)).any()}


def _lut(own: Sequence[ClassInfo], joined: Sequence[ClassInfo]) -> np.ndarray:
    ids = {info.name: info.id for info in joined}
    lut = np.arange(256, dtype=np.uint8)
    for info in own:
        if info.id < 256:
            lut[info.id] = ids[info.name]
    return lut
