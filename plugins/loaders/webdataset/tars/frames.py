"""A sample that others wrote, as a frame of ours: what its pictures and its json say."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drivetrain import TASKS, Camera, DataError, Encoded, Frame, Lidar

from ..checks import stored_size
from ..reader import parse
from ..shards import Damage
from ..targets import SHAPES
from .naming import UNREAD, renamed, split_picture

if TYPE_CHECKING:
    from .walking import Notes

Parts = Mapping[str, memoryview]


@dataclass(frozen=True)
class Found:
    """``names``: suffix in the tar -> suffix of `frame_to_parts`; ``row``: as of `checks.row_of`; ``text``: the ``json`` that
    makes it a frame, empty where the tar's own does."""

    names: Mapping[str, str]
    row: Mapping[str, Any]
    text: bytes = b""


def found_in(key: str, parts: Parts, notes: Notes) -> Found | None:
    """None where the sample has no picture. Raises ValueError for two files that would be one."""
    own = _own(parts)
    if own is not None:
        return Found({suffix: suffix for suffix in parts}, own)
    names = renamed(parts)
    pictures = {split_picture(name): suffix for suffix, name in names.items() if split_picture(name)}
    if not pictures:
        notes.add("samples without a picture (jpg, jpeg, png)", f"{key!r} with {', '.join(sorted(parts))}")
        return None
    for suffix, name in names.items():
        if name.startswith(UNREAD) and suffix != "json":
            notes.add(f"files .{suffix}, which nothing here reads", repr(f"{key}.{suffix}"))
    about = _about(key, parts.get("json"), notes)
    sizes = {camera: _size(parts[suffix], names[suffix], key, notes) for camera, suffix in pictures.items()}
    times = {} if about["timestamp"] is None else {"timestamp": about["timestamp"]}
    cameras = {name: {"width": w, "height": h, "model": "pinhole", **times} for name, (h, w) in sizes.items()}
    meta = {"key": key, "scene": about["scene"], "tags": about["tags"], "cameras": cameras}
    labelled = ["semantic_segmentation"] if any(name.endswith(".semantic.png") for name in names.values()) else []
    row = {"key": key, **about, "labelled": labelled, "class_counts": {}, "sizes": {n: (w, h) for n, (h, w) in sizes.items()}}
    return Found(names, row, json.dumps(meta, sort_keys=True, separators=(",", ":")).encode())


def _own(parts: Parts) -> dict[str, Any] | None:
    """The row, where the json is laid out as ours."""
    if "json" not in parts:
        return None
    try:
        frame = parse(parts)
        row = _row_of_own(frame)
        whole = _index_takes(row)
    except (Damage, TypeError, AttributeError):
        return None
    sensors = {**frame.cameras, **frame.lidars}
    return row if whole and sensors and all(camera.image for camera in frame.cameras.values()) else None


def _index_takes(row: Mapping[str, Any]) -> bool:
    names = [name for counts in row["class_counts"].values() for name in counts]
    texts = [row["key"], row["scene"], *row["tags"], *row["tags"].values(), *names]
    return all(isinstance(text, str) and text == _text(text) for text in texts) and row["timestamp"] == _time(row["timestamp"])


def _text(value: object) -> str:
    """As UTF-8 can say it."""
    return str(value).encode("utf-8", "replace").decode()


def _time(value: object) -> int | None:
    """ns, of a number that is one."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63 else None


def _row_of_own(frame: Frame) -> dict[str, Any]:
    cameras = frame.cameras.values()
    labels = {task.name: [getattr(camera, task.prediction) for camera in cameras] for task in TASKS.values()}
    labelled = sorted(task for task, found in labels.items() if any(label is not None for label in found))
    counts = {task: Counter(name for label in labels[task] if label is not None for name in label.names)
              for task in labelled if task in SHAPES}  # fmt: skip
    sensors: list[Camera | Lidar] = [*cameras, *frame.lidars.values()]
    times = [sensor.timestamp for sensor in sensors if sensor.timestamp is not None]
    return {
        "key": frame.key, "scene": frame.scene, "timestamp": times[0] if times else None, "tags": dict(frame.tags),
        "labelled": labelled, "class_counts": {task: dict(names) for task, names in counts.items()},
        "sizes": {name: (camera.width, camera.height) for name, camera in frame.cameras.items()},
    }  # fmt: skip


def _about(key: str, text: memoryview | None, notes: Notes) -> dict[str, Any]:
    """Scene, tags and timestamp, as far as a json of another layout has them by these names."""
    try:
        values = {} if text is None else json.loads(bytes(text))
    except (ValueError, RecursionError):
        notes.add("json files that cannot be read", repr(f"{key}.json"))
        values = {}
    values = values if isinstance(values, dict) else {}
    scene, tags, time = values.get("scene"), values.get("tags"), values.get("timestamp")
    return {
        "scene": _text(scene) if isinstance(scene, (str, int)) else "",
        "tags": {_text(k): _text(v) for k, v in tags.items() if _is_plain(v)} if isinstance(tags, dict) else {},
        "timestamp": _time(time),
    }


def _is_plain(value: object) -> bool:
    return isinstance(value, (str, int, float))


def _size(content: memoryview, name: str, key: str, notes: Notes) -> tuple[int, int]:
    """(height, width); (0, 0), which every reader takes for damage, where the picture's header cannot be read."""
    try:
        return stored_size(Encoded(bytes(content), name.rpartition(".")[2]), f"sample {key!r}", name)
    except DataError as error:
        notes.add("pictures that cannot be read, and count as damaged", error.message)
        return 0, 0
