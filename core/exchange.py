"""Frames handed to annotators and their boxes brought back, in the formats of COCO and KITTI.

Pictures are copied as they are, under KEY.CAMERA.jpg with the key percent-encoded: by that name labels find their frame.

    coco    images/, annotations.json; exact; ignored boxes are ``iscrowd``
    kitti   image_2/, label_2/ of 15 columns; to 0.01 px and three steps of occlusion; what is ignored is DontCare
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import DataError, UserError, near_matches
from .files import write_json
from .frame import PIXEL_LABELS, Boxes, Camera, ClassInfo, decode_key, encode_key
from .overlay import LABELS, OverlayWriter, prepare_aside

if TYPE_CHECKING:
    from .contracts import ShardSet
    from .progress import Progress

TASK = "object_detection"
PICTURES = {"coco": "images", "kitti": "image_2"}
Labels = dict[tuple[str, str], Camera]
"""(key, camera) -> boxes and ignored regions; what nobody has looked at is not in it."""


def export_frames(format: str, shards: ShardSet, out: Path, keys: Iterable[str] | None, progress: Progress | None = None
                  ) -> int:  # fmt: skip
    """Write pictures and boxes of ``keys``, by default of all frames that were not withdrawn; how many pictures.

    Raises UserError where ``out`` is there, DataError for keys that are not in the set or were withdrawn, and for boxes of
    classes that the set does not declare."""
    if out.exists():
        raise UserError(f"{out} is there already", remedy="name another place, or move it away")
    places = _places(shards)
    named = list(places)
    chosen = [named[number] for number in shards.readable()] if keys is None else list(dict.fromkeys(keys))
    for key in chosen:
        _check(key, places, "key", shards.path)
    aside = prepare_aside(out)
    (aside / PICTURES[format]).mkdir()
    cameras: dict[str, Camera] = {}
    if progress:
        progress.total = len(chosen)
    for done, key in enumerate(chosen, 1):
        for name, camera in shards.frame(places[key]).cameras.items():
            if camera.image is not None:
                file = f"{encode_key(key)}.{name}.{camera.image.format}"
                (aside / PICTURES[format] / file).write_bytes(camera.image.data)
                without: dict[str, Any] = dict.fromkeys(["image", *PIXEL_LABELS])
                cameras[file] = dataclasses.replace(camera, **without)
        if progress:
            progress.advance(done)
    _WRITE[format](aside, cameras, shards.classes.get(TASK, ()))
    aside.rename(out)
    return len(cameras)


def import_labels(format: str, path: Path, overlay: Path, base: ShardSet) -> int:
    """Make what is at ``path`` an overlay over ``base``; how many frames. Raises DataError for pictures that are not in the
    set, for unknown classes (where the set has classes of boxes) and for files that cannot be understood."""
    places, known = _places(base), [info.name for info in base.classes.get(TASK, ())]
    frames: dict[str, dict[str, Camera]] = {}
    for (key, camera), labels in _READ[format](path).items():
        _check(key, places, "key", str(path))
        frames.setdefault(key, {})[camera] = labels
    found = sorted({name for cameras in frames.values() for labels in cameras.values() for name in _names(labels)})
    back = {encode_key(name): name for name in known}
    for name in found if known else ():
        if back.get(name, name) not in known:
            _check(name, known, "class", str(path))
    with OverlayWriter(overlay) as writer:
        for key, cameras in frames.items():
            own = base.frame(places[key]).cameras
            for name, labels in cameras.items():
                _check(name, own, f"camera of {key}:", str(path))
                _as_looked_for(labels, own[name], back if format == "kitti" else {})
            writer.add(key, cameras)
        classes = base.classes.get(TASK) or [ClassInfo(name, number) for number, name in enumerate(found)]
        writer.finish(LABELS, {TASK: classes}, {"format": format, "path": str(path)}, base.info)
    return len(frames)


def _as_looked_for(labels: Camera, own: Camera, back: Mapping[str, str]) -> None:
    """The set's own names, and the classes that were looked for in this picture beside those found."""
    assert labels.boxes is not None
    labels.boxes.names = [back.get(name, name) for name in labels.boxes.names]
    if TASK in own.labelled_classes:
        looked = dict.fromkeys([*own.labelled_classes[TASK], *labels.boxes.names])
        labels.labelled_classes[TASK] = tuple(looked)


def _places(shards: ShardSet) -> dict[str, int]:
    return {key: place for place, key in enumerate(shards.index.column("key").to_pylist())}


def _check(name: str, known: Iterable[str], what: str, where: str) -> None:
    if name not in known:
        raise DataError(f"{what} {name!r} is not in the shard set", where=where, near=near_matches(name, known),
                        remedy="name the set that was exported, and its own names")  # fmt: skip


def _names(labels: Camera) -> list[str]:
    return labels.boxes.names if labels.boxes is not None else []


def _split(file: str, where: Path) -> tuple[str, str]:
    """(key, camera) of a picture's file name."""
    parts = Path(file).name.split(".")
    if len(parts) != 3:
        raise DataError(f"{file!r} is not named KEY.CAMERA.jpg as exported", where=str(where), remedy="keep the file names")
    return decode_key(parts[0]), parts[1]


# ---------------------------------------------------------------- COCO


def _write_coco(out: Path, cameras: Mapping[str, Camera], classes: Sequence[ClassInfo]) -> None:
    ids = {info.name: number for number, info in enumerate(classes, 1)}
    for file, camera in cameras.items():
        for name in camera.boxes.names if camera.boxes is not None else ():
            _check(name, ids, f"class in {file}:", "the set's classes")
    images, annotations = list[dict[str, Any]](), list[dict[str, Any]]()
    for number, (file, camera) in enumerate(cameras.items(), 1):
        image = {"id": number, "file_name": file, "width": camera.width, "height": camera.height}
        if camera.boxes is None:
            image["labelled"] = False
        if camera.ignore_regions is not None:
            image["ignore_regions"] = np.asarray(camera.ignore_regions).tolist()
        images.append(image)
        for place in range(len(camera.boxes or ())):
            annotations.append({"id": len(annotations) + 1, "image_id": number, **_to_coco(camera.boxes, place, ids)})
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    write_json(out / "annotations.json", {"images": images, "annotations": annotations, "categories": categories})


def _to_coco(boxes: Any, place: int, ids: Mapping[str, int]) -> dict[str, Any]:
    x1, y1, x2, y2 = boxes.xyxy[place].tolist()
    out = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1), "iscrowd": int(boxes.ignore[place])}
    out["category_id"] = ids[boxes.names[place]]
    for name, field in _EXTRAS.items():
        value = getattr(boxes, field)
        if value is not None and value[place] == value[place]:  # NaN is unknown
            out[name] = value[place] if field == "attributes" else value[place].item()
    return out


_EXTRAS = {"truncation": "truncation", "occlusion": "occlusion", "track_id": "track_ids", "attributes": "attributes"}
_UNKNOWN: dict[str, Any] = {"truncation": np.nan, "occlusion": np.nan, "track_id": -1, "attributes": {}}


def _read_coco(path: Path) -> Labels:
    path = path / "annotations.json" if path.is_dir() else path
    try:
        said = json.loads(path.read_text())
        names = {one["id"]: one["name"] for one in said["categories"]}
        of: dict[int, list[Any]] = {image["id"]: [] for image in said["images"]}
        for one in said["annotations"]:
            of[one["image_id"]].append(one)
        return {
            _split(image["file_name"], path): _from_coco(of[image["id"]], names, image.get("ignore_regions"))
            for image in said["images"] if image.get("labelled", True) or of[image["id"]]
        }  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"no COCO boxes can be read: {error!r}", where=str(path), remedy="export it again as COCO") from error


def _from_coco(found: Sequence[Mapping[str, Any]], names: Mapping[int, str], regions: Any) -> Camera:
    corners = [(x, y, x + w, y + h) for x, y, w, h in (one["bbox"] for one in found)]
    extras = {
        field: [one.get(name, _UNKNOWN[name]) for one in found] if any(name in one for one in found) else None
        for name, field in _EXTRAS.items()
    }
    ignore = np.array([one.get("iscrowd", 0) for one in found], bool)
    boxes = Boxes(np.array(corners), [names[one["category_id"]] for one in found], ignore, **extras)  # type: ignore[arg-type]
    return Camera(boxes, ignore_regions=None if regions is None else np.asarray(regions, np.float32).reshape(-1, 4))


# ---------------------------------------------------------------- KITTI


def _write_kitti(out: Path, cameras: Mapping[str, Camera], classes: Sequence[ClassInfo]) -> None:
    (out / "label_2").mkdir()
    for file, camera in cameras.items():
        if camera.boxes is not None:
            (out / "label_2" / f"{file.rpartition('.')[0]}.txt").write_text("".join(_to_kitti(camera.boxes, camera)))


def _to_kitti(boxes: Any, camera: Camera) -> Iterable[str]:
    for place, (name, xyxy) in enumerate(zip(boxes.names, boxes.xyxy)):
        truncation = np.nan if boxes.truncation is None else boxes.truncation[place]
        occlusion = np.nan if boxes.occlusion is None else boxes.occlusion[place]
        if not boxes.ignore[place]:
            level = 3 if np.isnan(occlusion) else round(2 * float(occlusion))
            yield _line(encode_key(name), "-1" if np.isnan(truncation) else f"{truncation:.2f}", level, xyxy)
    regions = [] if camera.ignore_regions is None else list(camera.ignore_regions)
    for xyxy in [*boxes.xyxy[boxes.ignore], *regions]:
        yield _line("DontCare", "-1", -1, xyxy)


def _line(name: str, truncation: str, occlusion: int, xyxy: Any) -> str:
    return f"{name} {truncation} {occlusion} -10 {' '.join(f'{x:.2f}' for x in xyxy)} -1 -1 -1 -1000 -1000 -1000 -10\n"


def _read_kitti(path: Path) -> Labels:
    files = sorted((path / "label_2").glob("*.txt"))
    if not files:
        raise DataError("there are no label_2/*.txt", where=str(path), remedy="name the folder that holds label_2")
    return {_split(f"{file.stem}.jpg", file): _from_kitti(file) for file in files}


def _from_kitti(file: Path) -> Camera:
    try:
        rows = [line.split() for line in file.read_text().splitlines() if line.strip()]
        if any(len(row) not in (15, 16) for row in rows):
            raise ValueError("a line has not 15 columns")
        numbers = np.array([row[1:8] for row in rows], np.float64).reshape(-1, 7)
    except (OSError, ValueError) as error:
        raise DataError(f"no KITTI labels: {error}", where=str(file), remedy="give every line KITTI's columns") from error
    ignored = np.array([row[0] == "DontCare" for row in rows], bool)
    kept = numbers[~ignored]
    truncation = np.where(kept[:, 0] < 0, np.nan, kept[:, 0])
    occlusion = np.where((kept[:, 1] < 0) | (kept[:, 1] > 2), np.nan, kept[:, 1] / 2)
    names = [row[0] for row in rows if row[0] != "DontCare"]
    boxes = Boxes(kept[:, 3:], names, truncation=truncation, occlusion=occlusion)
    return Camera(boxes, ignore_regions=numbers[ignored, 3:].astype(np.float32))


_WRITE = {"coco": _write_coco, "kitti": _write_kitti}
_READ: dict[str, Callable[[Path], Labels]] = {"coco": _read_coco, "kitti": _read_kitti}
