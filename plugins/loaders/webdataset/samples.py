"""From a sample's files to a decoded `Sample`: views, pixels, targets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from drivetrain import (
    IGNORE,
    TASKS,
    Camera,
    CameraSample,
    DataError,
    DataSpec,
    Encoded,
    Frame,
    Lidar,
    LidarSample,
    Optics,
    RecipeError,
    Rng,
    Sample,
    Source,
    Taxonomy,
    Transform,
    View,
    decode_array,
    near_matches,
)

from .decode import draw_image, grids
from .joins import Joined
from .mixing import Mixing, Shown, instances_in, told_of_partner
from .placement import place
from .rasters import rasters_of
from .reader import ShardSet
from .shards import Damage, Wanted
from .storage.config import StorageConfig
from .targets import SHAPES, Pixels, Reader, checked_pixels, in_recipes_terms, raster_target

Output = tuple[np.ndarray, ...]
"""What is written into: the image uint8 [H, W, 3], then the `rasters.Raster` of each task that has one."""
Outputs = Callable[[str, tuple[int, int]], Output]
"""(picture, (height, width)) -> where it goes; pictures are named as in `Sample.pictures`."""
Partner = Callable[[int], "tuple[Frame, OpenSource, str]"]
"""number -> a partner's frame, its source, and the name of its shard."""


@dataclass(frozen=True)
class OpenSource:
    """A source of the recipe, as ``asked`` for, opened: its shard set and, per task of the recipe, how its labels are read."""

    asked: Source
    shards: ShardSet
    readers: Mapping[str, Reader]
    joins: tuple[Joined, ...] = ()

    @property
    def name(self) -> str:
        return self.asked.name

    @staticmethod
    def open(source: Source, spec: DataSpec, storage: StorageConfig | None = None) -> OpenSource:
        """Raises DataError where there is no shard set, RecipeError for tasks or classes that it does not have."""
        shards = ShardSet(source.shards, storage, source.overlays)
        if source.joins and spec.clip_frames > 1:
            raise RecipeError(f"source {source.name!r} is joined: the frames of a clip cannot be", where=source.where,
                              remedy="data.clip.frames: 1, or no join")  # fmt: skip
        joins = tuple(Joined.open(join, source, shards, storage) for join in source.joins)
        return OpenSource(source, shards, {task: _reader(source, shards, task, spec) for task in spec.tasks}, joins)

    @property
    def cameras(self) -> list[str]:
        """Its own cameras and those that are joined to it."""
        return sorted({name for shards in (self.shards, *(j.shards for j in self.joins)) for name in shards.info["cameras"]})


def _reader(source: Source, shards: ShardSet, task: str, spec: DataSpec) -> Reader:
    if task not in shards.classes and not shards.lacks(task):
        raise RecipeError(f"source {source.name!r} ({shards.path}) has masks of {task} without a list of classes",
                          where=source.where, near=near_matches(task, shards.classes),
                          remedy="see classes.json in docs/loading.md")  # fmt: skip
    infos, mapping = shards.classes.get(task, ()), _of_task(source.taxonomy.get(task, {}), shards, task)
    undeclared = np.ones(256, np.uint8)
    undeclared[[info.id for info in infos if info.id < 256] + [IGNORE]] = 0
    return Reader(Taxonomy.build(source.name, task, infos, spec.classes[task], mapping, source.where), undeclared)


def _of_task(mapping: Mapping[str, str], shards: ShardSet, task: str) -> dict[str, str]:
    """Without the names that only other tasks of the source have: a recipe says ``ignore`` and ``drop`` for all at once."""
    names = {name: {info.name for info in infos} for name, infos in shards.classes.items()}
    others = {name for other, found in names.items() if other != task for name in found} - names.get(task, set())
    return {name: target for name, target in mapping.items() if name not in others}


def refuse_unlabelled(spec: DataSpec, sources: Sequence[OpenSource]) -> None:
    """Raises RecipeError for a task of which no source has a label: nothing would be learnt."""
    for task in spec.tasks:
        if all(source.shards.lacks(task) for source in sources):
            had = (f"{s.shards.path} has {', '.join(sorted(s.shards.classes)) or 'none'}" for s in sources)
            raise RecipeError(f"no source has labels of {task}: {'; '.join(had)}", where=sources[0].asked.where,
                              remedy="docs/loading.md says how tars carry labels; overlays lie over sets")  # fmt: skip


def cameras_of(spec: DataSpec, sources: list[OpenSource]) -> tuple[str, ...]:
    """The cameras that the recipe reads. Raises RecipeError where they are not stated, or a source does not have them."""
    for source in sources:
        had = source.cameras
        if spec.cameras is None and len(had) > 1:
            raise RecipeError(
                f"source {source.name!r} has several cameras", remedy=f"set data.cameras to some of: {', '.join(had)}"
            )
        for name in spec.cameras or ():
            if had and name not in had:
                raise RecipeError(f"source {source.name!r} has no camera {name!r}", near=near_matches(name, had),
                                  remedy=f"its cameras: {', '.join(had)}")  # fmt: skip
    names = spec.cameras or {name for source in sources for name in source.cameras}
    if len(names) > 1 and spec.cameras is None:
        raise RecipeError("the sources name their cameras differently", remedy=f"all of them: {', '.join(sorted(names))}")
    return tuple(names)


class SampleMaker:
    """Makes samples of ``spec``, in any thread. In evaluation (``training`` False) transforms that are for training only
    are left out, and a sample carries its frame with labels in the recipe's classes."""

    def __init__(self, spec: DataSpec, cameras: tuple[str, ...], training: bool):
        self.cameras, self.training, self.seed, self.tasks = cameras, training, spec.seed, spec.tasks
        self.lidars = spec.lidars
        self.rasters = rasters_of(spec.tasks)
        pixels = [f"{name}.{raster.label}" for name in cameras for raster in self.rasters]
        self.wanted = Wanted(frozenset([*cameras, *pixels, *spec.lidars]))
        more = [f"{name}.{label}" for name in cameras for t in spec.transforms.values() for label in t.reads]
        self.wanted_of_partners = Wanted(self.wanted.stems | {*more})
        self.transforms: dict[str, Transform] = {
            name: transform for name, transform in spec.transforms.items() if training or not transform.training_only
        }
        mixes = training and any(transform.partners for transform in self.transforms.values())
        self._mixing = Mixing(self.transforms) if mixes else None

    def make(self, frame: Frame, source: OpenSource, position: int, outputs: Outputs, where: str,
             history: Sequence[Frame] = (), partner: Partner | None = None) -> Sample:  # fmt: skip
        """``partner(number)`` reads one of the frame's partners. Raises Damage for what cannot be decoded, DamagedPartner
        where it is a partner, DataError for labels that contradict the source's classes."""
        labels: dict[str, Camera] = {}
        partner = partner and cache(partner)
        cameras = self._cameras(frame, source, position, outputs, where, "", labels, partner)
        past = [
            self._cameras(earlier, source, position, outputs, where, f"@{back}")
            for back, earlier in zip(range(len(history), 0, -1), history)
        ]
        lidars = {name: _sweep(frame, name, where) for name in self.lidars}
        truth = None if self.training else dataclasses.replace(frame, cameras=labels, lidars=_own_sweeps(frame))
        return Sample(frame.key, position, cameras, truth, lidars, tuple(past))

    def _cameras(self, frame: Frame, source: OpenSource, position: int, outputs: Outputs, where: str, back: str,
                 labels: dict[str, Camera] | None = None, partner: Partner | None = None
                 ) -> dict[str, CameraSample]:  # fmt: skip
        """The frame's pictures, drawn to ``NAME`` + ``back``; in evaluation its ``labels`` in the recipe's classes too."""
        cameras = {}
        for name in self.cameras:
            picture = self._picture(frame, source, name, where)
            draw = partial(self._drawn, outputs=partial(outputs, name + back))
            if self._mixing is None or partner is None:
                cameras[name] = self._plain(picture, position, draw)
            else:
                cameras[name] = self._mixed(picture, position, draw, name, partner)
            if labels is not None and not self.training:
                labels[name] = _mapped(picture.camera, picture.pixels, source.readers, picture.what)
        return cameras

    def _picture(self, frame: Frame, source: OpenSource, name: str, where: str) -> _Picture:
        what = f"frame {frame.key!r} in {where}, camera {name!r}"
        if name not in frame.cameras:
            raise DataError(f"{what}: the frame has no such camera: it has {', '.join(frame.cameras) or 'none'}")
        camera = frame.cameras[name]
        if camera.image is None:
            raise Damage(f"{what}: its picture is not there")
        pixels = {raster.task: checked_pixels(camera, raster, what) for raster in self.rasters}
        return _Picture(camera, pixels, source, what)

    def _plain(self, picture: _Picture, position: int, draw: Callable[[_Picture, View], CameraSample]) -> CameraSample:
        rngs = {name: Rng(self.seed, position, name) for name in self.transforms}  # by name: another one shifts none
        view = picture.first_view()
        for name, transform in self.transforms.items():
            view = transform.view(view, rngs[name])
        sample = draw(picture, view)
        for name, transform in self.transforms.items():
            sample = transform.pixels(sample, rngs[name])
        return sample

    def _mixed(self, picture: _Picture, position: int, draw: Callable[[_Picture, View], CameraSample], camera: str,
               partner: Partner) -> CameraSample:  # fmt: skip
        """As `_plain`, with partners, of which only those that are taken are read."""
        assert self._mixing is not None
        others: dict[int, _Picture] = {}

        def first_view(number: int) -> View:
            with told_of_partner(number):
                frame, source, where = partner(number)
                others[number] = self._picture(frame, source, camera, where)
            return others[number].first_view()

        def drawn(shown: Shown) -> CameraSample:
            if shown.number < 0:
                return draw(picture, shown.view)
            with told_of_partner(shown.number):
                sample = self._drawn(others[shown.number], shown.view, outputs=self._aside)
                if "instances" in shown.reads:
                    sample.instances = instances_in(others[shown.number].camera, shown.view)
            return sample

        shown = self._mixing.shown(self.seed, position, picture.first_view(), first_view)
        return self._mixing.finished(shown, drawn)

    def _aside(self, size: tuple[int, int]) -> Output:
        """Memory of a partner's own."""
        return np.empty((*size, 3), np.uint8), *(np.empty(size, raster.dtype) for raster in self.rasters)

    def _drawn(self, picture: _Picture, view: View, outputs: Callable[[tuple[int, int]], Output]) -> CameraSample:
        """The picture through ``view``, with its targets."""
        camera, pixels, source, what = picture
        assert camera.image is not None
        size = (camera.height, camera.width)
        at = place(view, *size, *grids(camera.image))
        image, *drawn = outputs(view.size)
        draw_image(camera.image, size, at, image)
        sample = CameraSample(image, at.view, size)
        for raster, out in zip(self.rasters, drawn):
            reader = source.readers[raster.task]
            sample.targets[raster.task] = raster_target(raster, camera, pixels[raster.task], reader, at, out, what)
        for task, reader in source.readers.items():
            looked = reader.taxonomy.labelled(camera, task)
            there = getattr(camera, TASKS[task].prediction) is not None
            sample.labelled_classes[task] = looked if there else np.zeros_like(looked)
            if task in SHAPES:
                sample.targets[task] = SHAPES[task](camera, reader.taxonomy, at.view, what)
        return sample


class _Picture(NamedTuple):
    """One camera's reading, its labels that are pictures decoded, where it is from and how messages name it."""

    camera: Camera
    pixels: Pixels
    source: OpenSource
    what: str

    def first_view(self) -> View:
        camera = self.camera
        optics = None if camera.intrinsics is None else Optics(camera.intrinsics, camera.sensor_to_ego)
        return View.identity(camera.height, camera.width, optics)


def _sweep(frame: Frame, name: str, where: str) -> LidarSample:
    """Raises Damage for what is no array of points."""
    if name not in frame.lidars:
        raise DataError(f"frame {frame.key!r} in {where}: it has no lidar {name!r}")
    lidar = frame.lidars[name]
    try:
        points = decode_array(lidar.points) if isinstance(lidar.points, Encoded) else lidar.points
    except ValueError as error:
        raise Damage(f"lidar {name!r}: {error}") from error
    if points.ndim != 2 or points.shape[1] != len(lidar.fields) or not lidar.fields or points.dtype.kind not in "fiub":
        raise Damage(f"lidar {name!r}: {points.dtype} points of shape {points.shape} for the fields {', '.join(lidar.fields)}")
    return LidarSample(points.astype(np.float32), lidar.sensor_to_ego)


def _own_sweeps(frame: Frame) -> dict[str, Lidar]:
    return {
        name: dataclasses.replace(lidar, points=_own(lidar.points), labels=_own(lidar.labels))
        for name, lidar in frame.lidars.items()
    }


def _own(label: Any) -> Any:
    """What is encoded with bytes of its own, which can be sent to another process, and not a view of all that was read."""
    return Encoded(bytes(label.data), label.format) if isinstance(label, Encoded) else label


def _mapped(camera: Camera, pixels: Pixels, readers: Mapping[str, Reader], what: str) -> Camera:
    """``camera`` with its labels in the recipe's classes, and without those of other tasks; its image is bytes of its own."""
    changes: dict[str, Any] = {"image": _own(camera.image), "instances": None}
    for task in TASKS.values():
        label, reader = pixels.get(task.name, getattr(camera, task.prediction)), readers.get(task.name)
        if reader is None or label is None:
            changes[task.prediction] = None
        else:
            changes[task.prediction] = in_recipes_terms(task.name, label, camera, reader.taxonomy, what)
    # Always said: a source that lacks a class of the recipe was not searched for it.
    looked = {
        task: tuple(np.array(reader.taxonomy.classes)[reader.taxonomy.labelled(camera, task)].tolist())
        for task, reader in readers.items()
    }
    return dataclasses.replace(camera, labelled_classes=looked, **changes)
