"""Synthetic frames written in nuScenes' layout, small: two scenes of two samples, each with a sweep that is no keyframe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from unit.layouts_made import CAMERA, png, save

from drivetrain import Frame

RIG = {  # channel -> where it looks, in degrees to the left
    "CAM_FRONT": 0, "CAM_FRONT_RIGHT": -55, "CAM_BACK_RIGHT": -110, "CAM_BACK": 179, "CAM_BACK_LEFT": 110, "CAM_FRONT_LEFT": 55,
}  # fmt: skip
LIDAR = "LIDAR_TOP"
SCENES = {"scene-0061": "Night, rain, parked cars", "scene-0103": "Many peds"}
BOXES = [  # category, middle in the ego frame, points of the lidar
    ("vehicle.car", (12.0, 1.0, 0.8), 40),
    ("human.pedestrian.adult", (-9.0, -2.0, 0.9), 0),
    ("vehicle.car", (2.0, 9.0, 0.8), 3),
]
EGO, HEADING = (100.0, 50.0, 0.0), 30  # m, degrees: the vehicle stands
SIZE = (1.8, 4.2, 1.6)  # m: width, length, height
_AXES = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])  # of a camera that looks ahead
_NOT_LINKED = {"prev": "", "next": ""}


def quaternion(m: np.ndarray) -> list[float]:
    """w x y z of a rotation of less than 180 degrees."""
    w = float(np.sqrt(1 + np.trace(m))) / 2
    return [w, *(float(v) / (4 * w) for v in (m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1]))]


def turned(degrees: float) -> np.ndarray:
    """float64 [3, 3]: about z, to the left."""
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def write_nuscenes(root: Path, frames: list[Frame], version: str = "v1.0-mini") -> None:
    tables: dict[str, list] = {"sample": [], "sample_data": [], "ego_pose": [], "sample_annotation": []}
    tables |= _fixed(frames[0].cameras[CAMERA].intrinsics)
    for number, frame in enumerate(frames):
        _add_sample(root, tables, list(SCENES)[number // 2], number, frame)
    save(root / "maps/map.png", png(np.zeros((8, 8), np.uint8)))
    for name, rows in tables.items():
        save(root / version / f"{name}.json", json.dumps(rows, indent=0))


def _fixed(intrinsics: np.ndarray) -> dict[str, list]:
    """The tables that do not grow with the samples."""
    camera = {"translation": [1.5, 0.0, 1.5], "camera_intrinsic": intrinsics.tolist()}
    calibrated = [
        {"token": f"c{c}", "sensor_token": f"s{c}", "rotation": quaternion(turned(angle) @ _AXES), **camera}
        for c, angle in RIG.items()
    ]
    lidar = {"sensor_token": f"s{LIDAR}", "translation": [0.9, 0.0, 1.8], "rotation": [1.0, 0, 0, 0], "camera_intrinsic": []}
    levels = ("v0-40", "v40-60", "v60-80", "v80-100")
    more = {"log_token": "l", "first_sample_token": "", "last_sample_token": "", "nbr_samples": 2}
    categories = ("human.pedestrian.adult", "vehicle.car", "animal")
    return {
        "sensor": [{"token": f"s{c}", "channel": c, "modality": "camera" if c != LIDAR else "lidar"} for c in (*RIG, LIDAR)],
        "calibrated_sensor": [*calibrated, {"token": f"c{LIDAR}", **lidar}],
        "log": [{"token": "l", "logfile": "n1", "vehicle": "n", "date_captured": "", "location": "singapore-onenorth"}],
        "map": [{"token": "m", "log_tokens": ["l"], "category": "semantic_prior", "filename": "maps/map.png"}],
        "scene": [{"token": name, "name": name, "description": said, **more} for name, said in SCENES.items()],
        "category": [{"token": f"k{c}", "name": c, "description": ""} for c in categories],
        "attribute": [{"token": "a", "name": "vehicle.parked", "description": ""}],
        "visibility": [{"token": str(i), "level": level, "description": ""} for i, level in enumerate(levels, 1)],
        "instance": [{"token": f"i{i}", "category_token": f"k{c}"} for i, (c, _, _) in enumerate(BOXES)],
    }


def _add_sample(root: Path, tables: dict[str, list], scene: str, number: int, frame: Frame) -> None:
    token, time = f"{scene}-{number % 2}", 1_532_402_927_000_000 + 500_000 * number
    tables["sample"].append({"token": token, "timestamp": time, "scene_token": scene, **_NOT_LINKED})
    for c in (*RIG, LIDAR):
        for folder in ("sweeps", "samples"):
            row = {"token": f"{token}-{c}-{folder}", "sample_token": token, "ego_pose_token": f"{token}-{c}-{folder}"}
            row |= {"calibrated_sensor_token": f"c{c}", "timestamp": time + 1, "is_key_frame": folder == "samples"}
            row |= {"height": 128, "width": 192, "filename": f"{folder}/{c}/n1__{c}__{time}", "fileformat": "jpg"}
            tables["sample_data"].append(row | _NOT_LINKED)
            pose = {"translation": list(EGO), "rotation": quaternion(turned(HEADING)), "timestamp": time + 1}
            tables["ego_pose"].append({"token": row["token"], **pose})
        points = np.arange(20, dtype=np.float32).reshape(4, 5).tobytes()
        save(root / f"samples/{c}/n1__{c}__{time}", points if c == LIDAR else frame.cameras[CAMERA].image.data)
    for i, (_, middle, points) in enumerate(BOXES):
        row = {"token": f"{token}-{i}", "sample_token": token, "instance_token": f"i{i}", "visibility_token": str(i + 1)}
        row |= {"attribute_tokens": ["a"] if i == 0 else [], "num_lidar_pts": points, "num_radar_pts": 0, "size": list(SIZE)}
        row |= {"translation": (turned(HEADING) @ middle + EGO).tolist(), "rotation": quaternion(turned(HEADING))}
        tables["sample_annotation"].append(row | _NOT_LINKED)
