"""Pictures for people: labels drawn over images, truth beside prediction, contact sheets. All uint8 [H, W, 3] RGB."""

from __future__ import annotations

import colorsys
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from .contracts import Panel
from .frame import Boxes, CameraLabels, ClassInfo

_FONT, _TEXT_HEIGHT = cv2.FONT_HERSHEY_SIMPLEX, 22  # px of the font's capitals at scale 1
_PAPER, _INK, _VOID = (255, 255, 255), (30, 30, 30), (0, 0, 0)
_GAP = 4
_SHORTEST = 480  # px: a smaller picture is enlarged before it is put beside others, so that text on it can be read
_DARKEST = 40  # a dataset's colour below this in all channels would not be told from the void

Classes = Mapping[str, Sequence[ClassInfo] | Sequence[str]]
"""task -> its classes, or their names alone; class i of a task is drawn in colour i."""


def palette(classes: Sequence[ClassInfo] | Sequence[str]) -> np.ndarray:
    """uint8 [C, 3]: each class's own colour where the dataset gives one, else hues a golden angle apart."""
    given = [c.color if isinstance(c, ClassInfo) and c.color and max(c.color) > _DARKEST else None for c in classes]
    return np.array([color or _hue(i) for i, color in enumerate(given)], np.uint8).reshape(-1, 3)


def _hue(number: int) -> tuple[int, ...]:
    """Steps of the golden angle never repeat; value and saturation change with each third of the way."""
    value, saturation = (1.0, 0.72, 0.9)[number % 3], (0.85, 0.9, 0.5)[number // 3 % 3]
    return tuple(round(255 * c) for c in colorsys.hsv_to_rgb(number * 0.381966 % 1, saturation, value))


def draw_labels(image: np.ndarray, labels: CameraLabels, classes: Classes, alpha: float = 0.55) -> np.ndarray:
    """A copy of ``image`` with the mask blended in by ``alpha`` (void stays as it is) and boxes with class and score."""
    out = image.copy()
    if labels.semantic is not None:
        infos = classes["semantic_segmentation"]
        colors = np.zeros((256, 3), np.uint8)
        colors[: len(infos)] = palette(infos)
        mixed = cv2.addWeighted(image, 1 - alpha, colors[labels.semantic], alpha, 0)
        out = np.where((labels.semantic < len(infos))[..., None], mixed, out)
    if labels.boxes is not None:
        _draw_boxes(out, labels.boxes, classes["object_detection"])
    return out


def _draw_boxes(image: np.ndarray, boxes: Boxes, classes: Sequence[ClassInfo] | Sequence[str]) -> None:
    colors = dict(zip(_names(classes), palette(classes).tolist()))
    order = range(len(boxes)) if boxes.scores is None else np.argsort(boxes.scores, kind="stable")  # the surest on top
    for i in order:
        name = boxes.names[i]
        color = (128, 128, 128) if boxes.ignore[i] else colors.get(name, (128, 128, 128))
        text = name if boxes.scores is None else f"{name} {boxes.scores[i]:.2f}"
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
    """Picture, truth and prediction side by side under their names, above a legend of the classes."""
    parts = {panel.key: CameraLabels(), "truth": panel.truth, "prediction": panel.prediction}
    scale = max(1, -(-_SHORTEST // panel.image.shape[1]))
    image = _enlarged(panel.image, scale)
    tiles = [draw_labels(image, _enlarged_labels(labels, scale), classes) for labels in parts.values() if labels is not None]
    sheet = contact_sheet(tiles, len(tiles), [name for name, labels in parts.items() if labels is not None])
    strips = [_legend(infos, sheet.shape[1]) for task, infos in classes.items() if _shown(panel, task)]
    return np.concatenate([sheet, *strips])


def _shown(panel: Panel, task: str) -> bool:
    field = {"semantic_segmentation": "semantic", "object_detection": "boxes"}[task]
    return any(labels is not None and getattr(labels, field) is not None for labels in (panel.truth, panel.prediction))


def contact_sheet(tiles: Sequence[np.ndarray], columns: int, captions: Sequence[str]) -> np.ndarray:
    """Pictures of any sizes in rows of ``columns``, each in a cell of the largest one's size under its caption."""
    height, width = (max(tile.shape[axis] for tile in tiles) for axis in (0, 1))
    size = float(np.clip(width / 40, 9, 14))
    bar = round(size * 2)
    rows = -(-len(tiles) // columns)
    sheet = np.full((rows * (height + bar + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), _PAPER, np.uint8)
    for number, (tile, caption) in enumerate(zip(tiles, captions)):
        y = _GAP + number // columns * (height + bar + _GAP)
        x = _GAP + number % columns * (width + _GAP)
        _write(sheet, _shortened(caption, size, width), (x, y + round(size / 2)), size, _INK)
        sheet[y + bar : y + bar + tile.shape[0], x : x + tile.shape[1]] = tile
    return sheet


def _legend(classes: Sequence[ClassInfo] | Sequence[str], width: int, size: float = 11) -> np.ndarray:
    """A strip of ``width`` with a swatch and a name for every class, in as many lines as it takes."""
    line, swatch = round(size * 2.2), round(size * 1.4)
    places, x, y = [], _GAP, 0
    for name in _names(classes):
        needed = swatch + 6 + _text_size(name, size)[0] + 18
        if x + needed > width and x > _GAP:
            x, y = _GAP, y + line
        places.append((x, y))
        x += needed
    strip = np.full((y + line + _GAP, width, 3), _PAPER, np.uint8)
    for name, color, (x, y) in zip(_names(classes), palette(classes).tolist(), places):
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


def _names(classes: Sequence[ClassInfo] | Sequence[str]) -> list[str]:
    return [c.name if isinstance(c, ClassInfo) else c for c in classes]


def _enlarged(image: np.ndarray, scale: int) -> np.ndarray:
    return image if scale == 1 else np.repeat(np.repeat(image, scale, 0), scale, 1)


def _enlarged_labels(labels: CameraLabels | None, scale: int) -> CameraLabels | None:
    if labels is None or scale == 1:
        return labels
    boxes = labels.boxes if labels.boxes is None else labels.boxes.select(np.arange(len(labels.boxes)))
    if boxes is not None:
        boxes.xyxy = boxes.xyxy * scale
    return CameraLabels(boxes, None if labels.semantic is None else _enlarged(labels.semantic, scale))


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
