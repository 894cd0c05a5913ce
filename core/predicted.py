"""A prediction set in forms that people and other programs read: pictures, COCO's results, PNG.

    pictures/KEY.png              what was predicted, drawn
    predictions.json              boxes in COCO's result format; images.json says which image and category an id is
    semantic/KEY.png              class ids, uint8; drivable/ likewise; depth/ in 1/256 m, uint16 (KITTI)

Keys are percent-encoded; where a frame has several cameras it is KEY.CAMERA.png.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .contracts import ShardSet
from .evaluate import decode_image
from .files import write_aside, write_json
from .frame import PIXEL_LABELS, Boxes, Camera, CameraLabels, ClassInfo, encode_key
from .overlay import Overlay
from .pictures import draw_labels, save_png
from .progress import Progress
from .rasters import decoded

TASK = "object_detection"


@dataclass(frozen=True)
class Predicted:
    """One camera of a frame: its ``image_id`` counts the pictures of the set from 1, as `drivetrain data export coco` does."""

    number: int
    key: str
    name: str
    image_id: int
    camera: Camera
    said: CameraLabels
    file: str


def predicted(shards: ShardSet, overlay: Overlay) -> Iterator[Predicted]:
    """What ``overlay`` says of the frames of ``shards``, in stored order; frames that it says nothing of are left out."""
    keys, image_id = shards.index.column("key"), 0
    for number in shards.readable():
        key = keys[int(number)].as_py()
        said = overlay.labels(key)
        frame = shards.frame(int(number)) if said is not None else None
        for name, camera in frame.cameras.items() if frame is not None else ():
            image_id += 1
            if said is not None and name in said:
                file = encode_key(key) + (f".{name}" if len(said) > 1 else "")
                yield Predicted(int(number), key, name, image_id, camera, said[name], file)


def write_forms(shards: ShardSet, overlay: Overlay, out: Path, classes: Mapping[str, Sequence[ClassInfo]],
                panels: int | None, draw_score: float = 0.0) -> None:  # fmt: skip
    """Write all forms to ``out``; drawn are ``panels`` frames, spread over the set, or all (None), with boxes
    from ``draw_score`` on. ``classes`` in colours."""
    names = [info.name for info in classes.get(TASK, ())]
    ids = {name: n for n, name in enumerate(dict.fromkeys([*(c.name for c in shards.classes.get(TASK, ())), *names]), 1)}
    drawn = _spread(shards.readable(), panels)
    images = list[dict[str, Any]]()

    def rows() -> Iterator[dict[str, Any]]:
        with Progress("writing", len(overlay), "picture") as progress:
            for done, one in enumerate(predicted(shards, overlay)):
                _write_pixels(one, out)
                if one.number in drawn:
                    _draw(one, out, classes, draw_score)
                images.append(_image(one))
                yield from coco_rows(one.said.boxes, one.image_id, ids)
                progress.advance(done + 1)

    out.mkdir(parents=True, exist_ok=True)
    if not names:
        list(rows())  # of a model without boxes there are none
        return
    write_aside(out / "predictions.json", lambda path: _write_list(path, rows()))
    categories = [{"id": number, "name": name} for name, number in ids.items()]
    write_json(out / "images.json", {"images": images, "categories": categories})


def _spread(numbers: np.ndarray, count: int | None) -> set[int]:
    """``count`` of ``numbers``, evenly from the first to the last; all for None."""
    last, count = len(numbers) - 1, len(numbers) if count is None else min(count, len(numbers))
    return set(numbers[np.linspace(0, last, count).round().astype(int)].tolist())


def coco_rows(boxes: Boxes | None, image_id: int, ids: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """COCO's result format (cocodataset.org/#format-results): ``bbox`` is x y width height in the picture's pixels."""
    if boxes is None:
        return
    scores = np.ones(len(boxes)) if boxes.scores is None else boxes.scores
    for name, (x1, y1, x2, y2), score in zip(boxes.names, boxes.xyxy.tolist(), scores.tolist()):
        yield {"image_id": image_id, "category_id": ids[name], "bbox": [x1, y1, x2 - x1, y2 - y1], "score": score}


def _write_list(path: str, rows: Iterator[dict[str, Any]]) -> None:
    """One row a line, as they come: the whole is never in memory."""
    with open(path, "w") as file:
        file.write("[")
        for number, row in enumerate(rows):
            file.write((",\n" if number else "\n") + json.dumps(row))
        file.write("\n]\n")


def _image(one: Predicted) -> dict[str, Any]:
    assert one.camera.image is not None
    return {"id": one.image_id, "file_name": f"{encode_key(one.key)}.{one.name}.{one.camera.image.format}",
            "width": one.camera.width, "height": one.camera.height, "key": one.key, "camera": one.name}  # fmt: skip


def _write_pixels(one: Predicted, out: Path) -> None:
    """As they lie in the prediction set: PNG."""
    for label in PIXEL_LABELS:
        if (pixels := getattr(one.said, label)) is not None:
            (out / label).mkdir(parents=True, exist_ok=True)
            (out / label / f"{one.file}.png").write_bytes(pixels.data)


def _draw(one: Predicted, out: Path, classes: Mapping[str, Sequence[ClassInfo]], least: float) -> None:
    assert one.camera.image is not None
    labels = decoded(one.said)
    if labels.boxes is not None and labels.boxes.scores is not None:
        labels.boxes = labels.boxes.select(labels.boxes.scores >= least)
    save_png(out / "pictures" / f"{one.file}.png", draw_labels(decode_image(one.camera.image), labels, classes))
