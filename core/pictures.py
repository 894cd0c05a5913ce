"""Pictures for people: labels drawn over images, truth beside prediction, contact sheets. All uint8 [H, W, 3] RGB."""

from __future__ import annotations

import colorsys
import dataclasses
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from .contracts import Panel
from .frame import PIXEL_LABELS, Boxes, CameraLabels, ClassInfo
from .lanes import Lanes
from .tasks import TASKS

_FONT, _TEXT_HEIGHT = cv2.FONT_HERSHEY_SIMPLEX, 22  # px of the font's capitals at scale 1
_PAPER, _INK, _GREY = (255, 255, 255), (30, 30, 30), (128, 128, 128)
_GAP = 4
_SHORTEST = 480  # px: a smaller picture is enlarged before it is put beside others, so that text on it can be read
_DEPTHS = (2.0, 100.0)  # m, what the colours of depth reach from and to
_OFF = 30_000  # px, where OpenCV's fixed point ends with room to spare
_DARKEST = 40  # a dataset's colour below this in all channels would not be told from the void

Classes = Mapping[str, "Sequence[ClassInfo | str]"]
"""task -> its classes by their own ids, or names alone, whose ids are their places."""


def palette(classes: Sequence[ClassInfo | str]) -> np.ndarray:
    """uint8 [C, 3]: each class's own colour where the dataset gives one, else hues a golden angle apart."""
    given = [c.color if isinstance(c, ClassInfo) and c.color and max(c.color) > _DARKEST else None for c in classes]
    return np.array([color or _hue(i) for i, color in enumerate(given)], np.uint8).reshape(-1, 3)


def _hue(number: int) -> tuple[int, ...]:
    """Golden-angle steps of the hue; value and saturation, found by search, keep any two of the first 24 at least 16 apart
    in CIE Lab."""
    value, saturation = (1.0, 0.5, 0.95)[number % 3], (0.9, 0.4, 0.7)[number // 8 % 3]
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(number * 0.381966 % 1, saturation, value))


def draw_labels(image: np.ndarray, labels: CameraLabels, classes: Classes, alpha: float = 0.55) -> np.ndarray:
    """A copy of ``image`` [H, W, 3] with what is labelled, decoded, drawn on it: a mask blended in by ``alpha`` (void stays
    as it is), lanes, and boxes with class and score. What would cover one another stands side by side, so that it may be
    [H, 2 W, 3] or [H, 3 W, 3]: lanes and boxes are on the first, drivable area beside a semantic mask, depth last.
    Labels whose classes are not known are not drawn."""
    tiles = [_blended(image, getattr(labels, TASKS[task].prediction), classes[task], alpha)
             for task in ("semantic_segmentation", "drivable_area")
             if task in classes and getattr(labels, TASKS[task].prediction) is not None] or [image.copy()]  # fmt: skip
    if labels.depth is not None:
        assert isinstance(labels.depth, np.ndarray), "what is drawn is decoded"
        tiles.append(draw_depth(labels.depth))
    if labels.lanes is not None and "lane_detection" in classes:
        _draw_lanes(tiles[0], labels.lanes, classes["lane_detection"])
    if labels.boxes is not None:
        _draw_boxes(tiles[0], labels.boxes, classes["object_detection"])
    return np.concatenate(tiles, axis=1)


def draw_depth(depth: np.ndarray) -> np.ndarray:
    """uint8 [H, W, 3] of float32 [H, W] metres: red is near, blue far, in equal steps of the logarithm; black is unknown."""
    low, high = (np.log(limit) for limit in _DEPTHS)
    known = depth > 0
    share = (high - np.log(np.where(known, depth, 1.0))) / (high - low)
    colors = cv2.applyColorMap((share.clip(0, 1) * 255).astype(np.uint8), cv2.COLORMAP_TURBO)
    return np.where(known[..., None], cv2.cvtColor(colors, cv2.COLOR_BGR2RGB), np.uint8(0))


def _blended(image: np.ndarray, mask: np.ndarray, classes: Sequence[ClassInfo | str], alpha: float) -> np.ndarray:
    assert isinstance(mask, np.ndarray), "what is drawn is decoded"
    colors, painted = _color_table(classes)
    mixed = cv2.addWeighted(image, 1 - alpha, colors[mask], alpha, 0)
    return np.where(painted[mask][..., None], mixed, image)


def _color_table(classes: Sequence[ClassInfo | str]) -> tuple[np.ndarray, np.ndarray]:
    """By mask id: uint8 [256, 3] the color, bool [256] whether it is drawn (`_is_void`)."""
    colors, painted = np.zeros((256, 3), np.uint8), np.zeros(256, bool)
    for place, (info, color) in enumerate(zip(classes, palette(classes))):
        number = info.id if isinstance(info, ClassInfo) else place
        colors[number], painted[number] = color, not _is_void(info)
    return colors, painted


def _draw_lanes(image: np.ndarray, lanes: Lanes, classes: Sequence[ClassInfo | str]) -> None:
    colors = dict(zip(_names(classes), palette(classes).tolist()))
    thick = max(1, round(min(image.shape[:2]) / 180))
    for line, name in zip(lanes.points, lanes.names):
        corners = np.rint((line.clip(-_OFF, _OFF) - 0.5) * 16).astype(np.int32)  # OpenCV counts from pixels' centres
        cv2.polylines(image, [corners], False, colors.get(name, _GREY), thick, cv2.LINE_AA, shift=4)


def _draw_boxes(image: np.ndarray, boxes: Boxes, classes: Sequence[ClassInfo | str]) -> None:
    colors = dict(zip(_names(classes), palette(classes).tolist()))
    assert boxes.ignore is not None
    scores = boxes.scores
    for i in range(len(boxes)) if scores is None else np.argsort(scores, kind="stable"):  # the surest on top
        name = boxes.names[i]
        color = _GREY if boxes.ignore[i] else colors.get(name, _GREY)
        text = name if scores is None else f"{name} {scores[i]:.2f}"
        _draw_box(image, boxes.xyxy[i], f"({text})" if boxes.ignore[i] else text, color)


def _draw_box(image: np.ndarray, xyxy: np.ndarray, text: str, color: Sequence[int]) -> None:
    height, width = image.shape[:2]
    (x1, y1), (x2, y2) = np.rint(xyxy.reshape(2, 2)).astype(int).tolist()
    cv2.rectangle(image, (x1, y1), (x2 - 1, y2 - 1), color, max(1, round(min(height, width) / 360)))
    size = float(np.clip(min(height, width) / 60, 7, 14))
    text_width, text_height = _text_size(text, size)
    x = max(0, min(x1, width - text_width - 4))
    y = y1 - text_height - 4 if y1 >= text_height + 4 else max(0, min(y1, height - text_height - 4))
    cv2.rectangle(image, (x, y), (x + text_width + 3, y + text_height + 3), color, -1)
    _write(image, text, (x + 2, y + 2), size, _contrast(color))


def compare(panel: Panel, classes: Classes) -> np.ndarray:
    """Picture, truth if it is labelled, and prediction side by side under their names, above a legend of the classes."""
    is_labelled = any(getattr(panel.truth, task.prediction) is not None for task in TASKS.values())
    parts = {panel.key: CameraLabels(), "truth": panel.truth if is_labelled else None, "prediction": panel.prediction}
    scale = max(1, -(-_SHORTEST // panel.image.shape[1]))
    image = _enlarged(panel.image, scale)
    shown = {name: _enlarged_labels(labels, scale) for name, labels in parts.items() if labels is not None}
    tiles = [draw_labels(image, labels, classes) for labels in shown.values()]
    sheet = contact_sheet(tiles, len(tiles), list(shown))
    size = float(np.clip(sheet.shape[1] / 130, 9, 26))
    legends = {task: infos for task, infos in classes.items() if infos and _shown(panel, task)}
    strips = [_legend(task, infos, sheet.shape[1], size) for task, infos in legends.items()]
    return np.concatenate([sheet, *strips])


def _shown(panel: Panel, task: str) -> bool:
    field = TASKS[task].prediction
    return any(labels is not None and getattr(labels, field) is not None for labels in (panel.truth, panel.prediction))


def contact_sheet(tiles: Sequence[np.ndarray], columns: int, captions: Sequence[str]) -> np.ndarray:
    """Pictures of any sizes in rows of ``columns``, each in a cell of the largest one's size under its caption."""
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    size = float(np.clip(width / 48, 9, 26))
    bar = round(size * 2)
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + bar + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), _PAPER, np.uint8)
    for number, (tile, caption) in enumerate(zip(tiles, captions)):
        y = _GAP + number // columns * (height + bar + _GAP)
        x = _GAP + number % columns * (width + _GAP)
        _write(sheet, _shortened(caption, size, width), (x, y + round(size / 2)), size, _INK)
        sheet[y + bar : y + bar + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def _legend(task: str, classes: Sequence[ClassInfo | str], width: int, size: float) -> np.ndarray:
    """A strip of ``width`` px, text of ``size`` px: the task, then a swatch and a name for every class, in lines."""
    line, swatch = round(size * 2.2), round(size * 1.4)
    title = task.replace("_", " ") + ":"
    start = x = 2 * _GAP + _text_size(title, size)[0] + 12
    shown = [(n, c) for n, c, info in zip(_names(classes), palette(classes).tolist(), classes) if not _is_void(info)]
    places, y = [], 0
    for name, _ in shown:
        needed = swatch + 6 + _text_size(name, size)[0] + 18
        if x + needed > width and x > start:
            x, y = start, y + line
        places.append((x, y))
        x += needed
    strip = np.full((y + line + _GAP, width, 3), _PAPER, np.uint8)
    _write(strip, title, (_GAP, (line - round(size)) // 2), size, _INK)
    for (name, color), (x, y) in zip(shown, places):
        top = y + (line - swatch) // 2
        cv2.rectangle(strip, (x, top), (x + swatch, top + swatch), color, -1)
        cv2.rectangle(strip, (x, top), (x + swatch, top + swatch), _INK, 1)
        _write(strip, name, (x + swatch + 6, y + (line - round(size)) // 2), size, _INK)
    return strip


def save_png(path: Path | str, image: np.ndarray) -> None:
    """Write ``image`` so that a reader finds the whole file or none."""
    path = Path(path)
    done, data = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    assert done, "PNG encodes any uint8 picture"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.write_bytes(data.tobytes())
    part.replace(path)


def _names(classes: Sequence[ClassInfo | str]) -> list[str]:
    return [c.name if isinstance(c, ClassInfo) else c for c in classes]


def _is_void(info: ClassInfo | str) -> bool:
    """Whether it is left as it is: what nobody labelled, and what a mask calls its background."""
    return info.ignore or info.name == "background" if isinstance(info, ClassInfo) else info == "background"


def _enlarged(image: np.ndarray, scale: int) -> np.ndarray:
    return image if scale == 1 else np.repeat(np.repeat(image, scale, 0), scale, 1)


def _enlarged_labels(labels: CameraLabels, scale: int) -> CameraLabels:
    boxes, lanes = labels.boxes, labels.lanes
    pixels = {label: _enlarged(getattr(labels, label), scale) for label in PIXEL_LABELS if getattr(labels, label) is not None}
    return CameraLabels(
        boxes=None if boxes is None else dataclasses.replace(boxes, xyxy=boxes.xyxy * scale),
        lanes=None if lanes is None else dataclasses.replace(lanes, points=[line * scale for line in lanes.points]), **pixels,
    )  # fmt: skip


def _text_size(text: str, size: float) -> tuple[int, int]:
    """(width, height) in px of ``text`` with capitals ``size`` px high."""
    (width, _), _ = cv2.getTextSize(text, _FONT, size / _TEXT_HEIGHT, 1)
    return width, round(size)


def _write(image: np.ndarray, text: str, corner: tuple[int, int], size: float, color: Sequence[int]) -> None:
    """``text`` with its capitals' top left at ``corner``."""
    cv2.putText(image, text, (corner[0], corner[1] + round(size)), _FONT, size / _TEXT_HEIGHT, color, 1, cv2.LINE_AA)


def _shortened(text: str, size: float, width: int) -> str:
    if _text_size(text, size)[0] <= width:
        return text
    while text and _text_size(text + "...", size)[0] > width:
        text = text[:-1]
    return text + "..."


def _contrast(color: Sequence[int]) -> tuple[int, int, int]:
    """Black or white, whichever is read better on ``color`` (ITU-R BT.601 luma)."""
    luma = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luma > 140 else (255, 255, 255)
