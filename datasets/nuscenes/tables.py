"""nuScenes' tables as columns of one split's keyframes: what a worker process needs, small enough to be sent there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from drivetrain import DataError, check_layout, json_rows

NAMES = ("attribute", "calibrated_sensor", "category", "ego_pose", "instance", "log", "sample", "sample_annotation",
         "sample_data", "scene", "sensor", "visibility")  # fmt: skip
LIDAR = "LIDAR_TOP"


class Reading(NamedTuple):
    """One sensor's file in a sample; ``calibration`` and ``pose`` are rows of the tables."""

    channel: str
    file: str
    width: int
    height: int
    timestamp: int
    calibration: int
    pose: int


class Sample(NamedTuple):
    """A keyframe; ``timestamp`` in us. Its annotations are those from ``first`` to before ``last``."""

    token: str
    scene: str
    timestamp: int
    readings: tuple[Reading, ...]
    first: int
    last: int


@dataclass
class Tables:
    """``tags`` scene -> its tags. ``calibrations`` [C, 7] and ``poses`` [P, 7]: translation and quaternion; ``intrinsics``
    [C, 3, 3]. Annotations: ``boxes`` [A, 10] in the world (translation, size, rotation), ``category`` and ``instance`` int [A],
    ``points`` int [A, 2] of lidar and radar, ``visibility`` A tokens, ``attributes`` annotation -> names."""

    categories: tuple[str, ...]
    samples: list[Sample]
    tags: dict[str, dict[str, str]]
    calibrations: np.ndarray
    intrinsics: np.ndarray
    poses: np.ndarray
    boxes: np.ndarray
    category: np.ndarray
    instance: np.ndarray
    points: np.ndarray
    visibility: list[str]
    attributes: dict[int, tuple[str, ...]]


def read_tables(root: Path, version: str, chosen: Callable[[str], bool]) -> Tables:
    """The keyframes of the ``chosen`` scenes, in the order of the scenes and of time. Raises DataError for a table that is
    missing, or in which something is."""
    check_layout("nuScenes", root, [f"{version}/"])
    check_layout("nuScenes", root, [f"{version}/{name}.json" for name in NAMES])
    try:
        return _Reader(root / version).tables(chosen)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise DataError(f"the tables do not fit: {type(error).__name__}: {error}", where=str(root / version)) from error


class _Reader:
    def __init__(self, folder: Path):
        self.folder = folder

    def rows(self, name: str) -> Iterator[dict[str, Any]]:
        return (row.value for row in json_rows(self.folder / f"{name}.json"))

    def names(self, name: str, field: str = "name") -> dict[str, str]:
        return {row["token"]: row[field] for row in self.rows(name)}

    def tables(self, chosen: Callable[[str], bool]) -> Tables:
        scenes = {row["token"]: row for row in self.rows("scene") if chosen(row["name"])}
        order = {token: place for place, token in enumerate(scenes)}
        rows = [row for row in self.rows("sample") if row["scene_token"] in scenes]
        rows.sort(key=lambda row: (order[row["scene_token"]], row["timestamp"]))
        place = {row["token"]: number for number, row in enumerate(rows)}
        calibrated = list(self.rows("calibrated_sensor"))
        readings, poses = self._readings(place, calibrated)
        annotations, starts = self._annotations(place)
        locations = self.names("log", "location")
        names = [scenes[row["scene_token"]]["name"] for row in rows]
        samples = [
            Sample(row["token"], name, row["timestamp"], tuple(own), first, last)
            for row, name, own, first, last in zip(rows, names, readings, starts, starts[1:])
        ]
        return Tables(
            samples=samples, tags={row["name"]: _tags(row, locations) for row in scenes.values()},
            calibrations=_poses(calibrated), intrinsics=np.array([row["camera_intrinsic"] or np.eye(3) for row in calibrated]),
            poses=poses, **self._columns(annotations),
        )  # fmt: skip

    def _readings(self, place: Mapping[str, int], calibrated: Sequence[Mapping]) -> tuple[list[list[Reading]], np.ndarray]:
        """Of each sample the keyframes of its cameras and its lidar, and the ego poses at them."""
        sensors = {row["token"]: row for row in self.rows("sensor")}
        kept = {number: row["channel"] for number, one in enumerate(calibrated)
                if (row := sensors[one["sensor_token"]])["modality"] == "camera" or row["channel"] == LIDAR}  # fmt: skip
        numbers = {row["token"]: number for number, row in enumerate(calibrated)}
        pose_of: dict[str, int] = {}
        out: list[list[Reading]] = [[] for _ in place]
        for row in self.rows("sample_data"):
            calibration = numbers[row["calibrated_sensor_token"]]
            if row["is_key_frame"] and row["sample_token"] in place and calibration in kept:
                pose = pose_of.setdefault(row["ego_pose_token"], len(pose_of))
                size = (row["width"] or 0, row["height"] or 0)
                one = Reading(kept[calibration], row["filename"], *size, row["timestamp"], calibration, pose)
                out[place[row["sample_token"]]].append(one)
        found = {row["token"]: row for row in self.rows("ego_pose") if row["token"] in pose_of}
        for readings in out:
            readings.sort(key=lambda one: (one.channel != "CAM_FRONT", one.channel))
        return out, _poses([found[token] for token in pose_of])

    def _annotations(self, place: Mapping[str, int]) -> tuple[list[dict[str, Any]], list[int]]:
        """Those of the samples, one sample after the other, and where each sample's begin."""
        rows = [row for row in self.rows("sample_annotation") if row["sample_token"] in place]
        rows.sort(key=lambda row: place[row["sample_token"]])
        of = [place[row["sample_token"]] for row in rows]
        return rows, np.searchsorted(np.array(of, np.int64), np.arange(len(place) + 1)).tolist()

    def _columns(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        categories, attributes = self.names("category"), self.names("attribute")
        levels = self.names("visibility", "level") | {"": ""}
        number = {token: place for place, token in enumerate(categories)}
        instances = {row["token"]: (i, number[row["category_token"]]) for i, row in enumerate(self.rows("instance"))}
        of = np.array([instances[row["instance_token"]] for row in rows], np.int64).reshape(-1, 2)
        said = {i: tuple(attributes[token] for token in row["attribute_tokens"]) for i, row in enumerate(rows)}
        boxes = [[*row["translation"], *row["size"], *row["rotation"]] for row in rows]
        return {
            "categories": tuple(categories.values()), "instance": of[:, 0], "category": of[:, 1],
            "boxes": np.array(boxes, np.float64).reshape(-1, 10),
            "points": np.array([(row["num_lidar_pts"], row["num_radar_pts"]) for row in rows], np.int64).reshape(-1, 2),
            "visibility": [levels[row["visibility_token"]] for row in rows], "attributes": {i: n for i, n in said.items() if n},
        }  # fmt: skip


def _poses(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    return np.array([[*row["translation"], *row["rotation"]] for row in rows], np.float64).reshape(-1, 7)


def _tags(scene: Mapping[str, Any], locations: Mapping[str, str]) -> dict[str, str]:
    said = scene["description"].lower()
    return {
        "location": locations[scene["log_token"]], "time_of_day": "night" if "night" in said else "day",
        "weather": "rain" if "rain" in said else "dry",
    }  # fmt: skip
