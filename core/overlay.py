"""Overlays: labels by key that lie over shards, which stay as they are; a prediction set is one too.

    part-00000.tar    a WebDataset tar: KEY.cam_front.semantic.png and the like, and last KEY.json with boxes, lanes and
                      what was looked for
    lookup.bin        where each key's labels lie: sorted key hashes, then a row each; memory-mapped, 36 bytes a frame
    excluded.parquet  if there is one, key and why of frames to be left out (`drivetrain data curate` writes it)
    overlay.json      what it is; written last, so a folder without it is half-written

What an overlay says of a frame's camera and task takes the place of what the shards say; what it does not name stays:
absent is not empty. It changes content, never order.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
import tarfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from .errors import DataError, UserError
from .files import write_aside, write_json
from .frame import PIXEL_LABELS, Camera, CameraLabels, ClassInfo, Encoded, boxes_from_json, boxes_to_json, encode_key
from .lanes import lanes_from_json, lanes_to_json

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT_VERSION = 1
OVERLAY_FILE, LOOKUP_FILE, EXCLUDED_FILE = "overlay.json", "lookup.bin", "excluded.parquet"
LABELS, PREDICTIONS, VIEW = "labels", "predictions", "view"
_HEADER = struct.Struct("<8sIIQ")  # magic, version, nothing, frames
_MAGIC = b"DTLABEL\0"
_ROW = np.dtype([("offset", "<u8"), ("checksum", "<u8"), ("length", "<u4"), ("record", "<u4"), ("part", "<u4")])
"""A frame's byte range in its part, and where in it the JSON begins, which ends the range."""
_LISTED = np.dtype([("hash", "<u8"), ("row", _ROW)])


def key_hash(key: str) -> int:
    """What a frame's labels are looked up by: xxh3_64 of its key."""
    return xxhash.xxh3_64_intdigest(key.encode())


def key_hashes(keys: Iterable[str]) -> np.ndarray:
    """uint64 [N]."""
    return np.fromiter(map(key_hash, keys), np.uint64)


def is_overlay(folder: str | os.PathLike[str]) -> bool:
    return (Path(folder) / OVERLAY_FILE).is_file()


# ---------------------------------------------------------------- reading


class Overlay:
    """An overlay, opened; safe to read from several threads. ``info`` is its ``overlay.json``; ``classes``: task -> its
    classes. Raises DataError where the folder holds no whole overlay."""

    def __init__(self, path: str | os.PathLike[str]):
        self.path, self.folder = str(path), Path(path)
        self.info: Mapping[str, Any] = _read_info(self.folder)
        self.classes: Mapping[str, Sequence[ClassInfo]] = {
            task: [class_info(values) for values in infos] for task, infos in self.info["classes"].items()
        }
        self.hashes, self._rows = self._lookup()
        self._files = [open(self.folder / name, "rb") for name in self.info["parts"]]  # noqa: SIM115

    def __len__(self) -> int:
        """The number of frames with labels."""
        return len(self.hashes)

    def labels(self, key: str) -> dict[str, Camera] | None:
        """What it says of a frame: camera -> labels, masks encoded; None where it says nothing.

        In time that does not grow with the overlay, bisection of the hashes aside. Raises DataError for bad bytes."""
        wanted = np.uint64(key_hash(key))
        place = int(np.searchsorted(self.hashes, wanted))
        while place < len(self.hashes) and self.hashes[place] == wanted:  # equal hashes of two keys, once in 2**32 frames
            said, cameras = self._read(place)
            if said == key:
                return cameras
            place += 1
        return None

    def keys(self) -> list[str]:
        """Of all frames with labels, sorted. Reads every record: for checks and exports, not for training."""
        return sorted(self._read(place)[0] for place in range(len(self)))

    @cached_property
    def excluded(self) -> dict[str, str]:
        """Key -> why, of the frames to be left out."""
        import pyarrow.parquet as pq

        path = self.folder / EXCLUDED_FILE
        table = pq.read_table(path).to_pydict() if path.is_file() else {"key": [], "why": []}
        return dict(zip(table["key"], table["why"]))

    def _lookup(self) -> tuple[np.ndarray, np.ndarray]:
        path = self.folder / LOOKUP_FILE
        try:
            data = np.memmap(path, np.uint8, "r")
            magic, version, _, count = _HEADER.unpack_from(data[: _HEADER.size].tobytes())
        except (OSError, ValueError, struct.error) as error:
            raise self._damaged(f"{LOOKUP_FILE} cannot be read: {error}") from error
        end = _HEADER.size + 8 * count
        if (magic, version) != (_MAGIC, FORMAT_VERSION) or count != self.info["frames"] or len(data) != end + 28 * count:
            raise self._damaged(f"{LOOKUP_FILE} is not the one of {count} frames that {OVERLAY_FILE} speaks of")
        return data[_HEADER.size : end].view("<u8"), data[end:].view(_ROW)

    def _read(self, place: int) -> tuple[str, dict[str, Camera]]:
        offset, checksum, length, record, part = self._rows[place].item()
        if part >= len(self._files):
            raise self._damaged(f"{LOOKUP_FILE} speaks of a part {part}")
        data = os.pread(self._files[part].fileno(), length, offset)
        if xxhash.xxh3_64_intdigest(data) != checksum:
            raise self._damaged(f"{self.info['parts'][part]}: the labels at byte {offset} do not match their checksum")
        said = json.loads(data[record:])
        return said["key"], {name: _camera(values, data) for name, values in said["cameras"].items()}

    def _damaged(self, message: str) -> DataError:
        return DataError(message, where=self.path, remedy="write the overlay again, or restore it from a copy")


def class_info(values: Mapping[str, Any]) -> ClassInfo:
    """A ClassInfo from its JSON."""
    color = values.get("color")
    return ClassInfo(values["name"], values["id"], None if color is None else tuple(color), values.get("ignore", False))


def _camera(values: Mapping[str, Any], data: bytes) -> Camera:
    places = {label: values[label] for label in PIXEL_LABELS if label in values}
    pixels: dict[str, Any] = {label: Encoded(data[at : at + length], "png") for label, (at, length) in places.items()}
    regions = values.get("ignore_regions")
    return Camera(
        boxes=boxes_from_json(values["boxes"]) if "boxes" in values else None,
        lanes=lanes_from_json(values["lanes"]) if "lanes" in values else None,
        **pixels,
        labelled_classes={task: tuple(names) for task, names in values.get("labelled_classes", {}).items()},
        ignore_regions=None if regions is None else np.asarray(regions, np.float32).reshape(-1, 4),
    )


def _read_info(folder: Path) -> dict[str, Any]:
    try:
        info = json.loads((folder / OVERLAY_FILE).read_text())
    except (FileNotFoundError, NotADirectoryError):
        what = f"has no {OVERLAY_FILE}" if folder.is_dir() else "does not exist"
        raise DataError(
            f"there is no overlay at {folder}: it {what}",
            remedy="overlays are written by `drivetrain.OverlayWriter`, and as prediction sets by `drivetrain eval`",
        ) from None
    except ValueError as error:
        raise DataError(f"{OVERLAY_FILE} is no JSON: {error}", where=str(folder), remedy="write the overlay again") from error
    if info.get("format_version") != FORMAT_VERSION:
        raise DataError(f"overlay format {info.get('format_version')}, this reads {FORMAT_VERSION}", where=str(folder),
                        remedy="write it again, or update drivetrain")  # fmt: skip
    return info


# ---------------------------------------------------------------- writing


class PartWriter:
    """One tar of an overlay. `close` gives where its frames lie, to be handed to `finish_overlay`."""

    def __init__(self, folder: Path, part: int = 0):
        self.part, self._rows = part, list[tuple[int, tuple[int, ...]]]()
        self._file = open(folder / part_name(part), "wb")  # noqa: SIM115

    def add(self, key: str, cameras: Mapping[str, CameraLabels]) -> None:
        """Labels of one frame: what is None in a camera is not labelled. Masks and depth are arrays or encoded PNG."""
        from .rasters import encode_pixels  # OpenCV, which who only reads does without

        data, start = bytearray(), self._file.tell()
        said: dict[str, Any] = {}
        for name, labels in cameras.items():
            said[name] = _to_json(labels)
            for label in PIXEL_LABELS:
                if (pixels := getattr(labels, label)) is not None:
                    png = encode_pixels(label, pixels).data
                    said[name][label] = [_append(data, f"{encode_key(key)}.{name}.{label}.png", png), len(png)]
        text = json.dumps({"key": key, "cameras": said}, sort_keys=True, separators=(",", ":")).encode()
        record = _append(data, f"{encode_key(key)}.json", text)
        length = record + len(text)
        checksum = xxhash.xxh3_64_intdigest(memoryview(data)[:length])
        self._rows.append((key_hash(key), (start, checksum, length, record, self.part)))
        self._file.write(data)

    def close(self) -> np.ndarray:
        """Ends the tar; returns the frames' rows."""
        if not self._file.closed:
            self._file.write(bytes(2 * tarfile.BLOCKSIZE))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        return np.array(self._rows, _LISTED)


class OverlayWriter:
    """An overlay of one part, written aside and given its name by `finish`; left unfinished, nothing stays.

    Raises UserError where ``folder`` is there already: what somebody labelled is not overwritten."""

    def __init__(self, folder: str | os.PathLike[str]):
        self.folder = Path(folder)
        if self.folder.exists():
            raise UserError(f"{self.folder} is there already", remedy="name another place, or move it away")
        self.aside = prepare_aside(self.folder)
        self._part = PartWriter(self.aside)

    def __enter__(self) -> OverlayWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._part.close()
        shutil.rmtree(self.aside, ignore_errors=True)

    def add(self, key: str, cameras: Mapping[str, CameraLabels]) -> None:
        self._part.add(key, cameras)

    def finish(self, kind: str, classes: Mapping[str, Sequence[ClassInfo]], made_from: Mapping[str, Any],
               base: Mapping[str, Any] | None = None, excluded: Mapping[str, str] | None = None) -> Overlay:  # fmt: skip
        """``base``: the ``dataset.json`` of the set that it lies over; ``excluded``: key -> why."""
        finish_overlay(self.aside, self.folder, [self._part.close()], kind, classes, made_from, base, excluded)
        return Overlay(self.folder)


def part_name(part: int) -> str:
    return f"part-{part:05d}.tar"


def prepare_aside(folder: Path) -> Path:
    """An empty folder beside ``folder``, to be filled and renamed. Raises UserError where it cannot be made."""
    aside = folder.with_name(f".{folder.name}.tmp")
    try:
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
    except OSError as error:
        raise UserError(f"{aside} cannot be written: {error.strerror}") from error
    return aside


def finish_overlay(aside: Path, folder: Path, rows: Sequence[np.ndarray], kind: str,
                   classes: Mapping[str, Sequence[ClassInfo]], made_from: Mapping[str, Any],
                   base: Mapping[str, Any] | None = None, excluded: Mapping[str, str] | None = None) -> None:  # fmt: skip
    """Make the parts in ``aside``, which ``rows`` are of, an overlay at ``folder``; an older one there goes last."""
    listed = np.sort(np.concatenate(rows), order="hash", kind="stable")
    header = _HEADER.pack(_MAGIC, FORMAT_VERSION, 0, len(listed))
    lookup = header + listed["hash"].tobytes() + listed["row"].tobytes()
    write_aside(aside / LOOKUP_FILE, lambda path: Path(path).write_bytes(lookup))
    if excluded is not None:
        import pyarrow.parquet as pq

        write_aside(aside / EXCLUDED_FILE, lambda path: pq.write_table(_excluded_table(excluded), path))
    info = {
        "format_version": FORMAT_VERSION, "kind": kind, "made_from": dict(made_from), "frames": len(listed),
        "parts": [part_name(part) for part in range(len(rows))], "excluded": len(excluded or ()),
        "classes": {task: [asdict(info) for info in infos] for task, infos in classes.items()},
        "base": {name: base[name] for name in ("dataset", "split", "order_id", "content_id")} if base else None,
    }  # fmt: skip
    write_json(aside / OVERLAY_FILE, info)
    older = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(older, ignore_errors=True)
    if folder.exists():
        folder.rename(older)
    aside.rename(folder)
    shutil.rmtree(older, ignore_errors=True)


def _excluded_table(excluded: Mapping[str, str]) -> pa.Table:
    import pyarrow as pa

    schema = pa.schema({"key": pa.string(), "why": pa.string()})
    return pa.table({"key": list(excluded), "why": list(excluded.values())}, schema=schema)


def _to_json(labels: CameraLabels) -> dict[str, Any]:
    out: dict[str, Any] = {} if labels.boxes is None else {"boxes": boxes_to_json(labels.boxes)}
    if labels.lanes is not None:
        out["lanes"] = lanes_to_json(labels.lanes)
    if isinstance(labels, Camera):
        if labels.labelled_classes:
            out["labelled_classes"] = {task: list(names) for task, names in labels.labelled_classes.items()}
        if labels.ignore_regions is not None:
            out["ignore_regions"] = np.asarray(labels.ignore_regions).tolist()
    return out


def _append(data: bytearray, name: str, content: bytes) -> int:
    """A member of the tar at the end of ``data``; returns where its content begins."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    data += info.tobuf(tarfile.PAX_FORMAT)
    start = len(data)
    data += content
    data += bytes(-len(content) % tarfile.BLOCKSIZE)
    return start
