"""Synthetic frames written in Argoverse 2's sensor layout, small: two logs of two sweeps, between which the vehicle moves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import feather
from unit.layouts_made import CAMERA, save
from unit.nuscenes_made import BOXES, EGO, HEADING, quaternion, turned

from drivetrain import Frame

LOGS = ("adcf7d18-0510-35b0-a2fa-b4cea13a6d76", "ff0dbfc5-8a7b-3a6e-8936-e5e812e45408")
RIG = {  # sensor -> where it looks, in degrees to the left
    "ring_front_center": 0, "ring_front_left": 45, "ring_front_right": -45, "ring_side_left": 99, "ring_side_right": -99,
    "ring_rear_left": 153, "ring_rear_right": -153, "stereo_front_left": 0, "stereo_front_right": 0,
}  # fmt: skip
START = 315_966_265_259_836_000  # ns
CATEGORIES = {"vehicle.car": "REGULAR_VEHICLE", "human.pedestrian.adult": "PEDESTRIAN"}
SPEED = (10.0, 0.0, 0.0)  # m/s, ahead
LATE = 9_000_000  # ns, of the pictures after the sweep
_AXES = np.array([[0.0, 0, 1], [-1, 0, 0], [0, -1, 0]])
_POSE = ("qw", "qx", "qy", "qz", "tx_m", "ty_m", "tz_m")


def write_argoverse2(root: Path, frames: list[Frame], split: str = "val") -> None:
    for number, log in enumerate(LOGS):
        _write_log(root / split / log, frames[2 * number : 2 * number + 2])


def ego(seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Rotation and place in the city of the vehicle, seconds after the first sweep."""
    return turned(HEADING), turned(HEADING) @ np.array(SPEED) * seconds + EGO


def save_table(path: Path, columns: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    feather.write_feather(pa.table(columns), str(path))


def _write_log(log: Path, frames: list[Frame]) -> None:
    k = frames[0].cameras[CAMERA].intrinsics
    mounts = [[*quaternion(turned(angle) @ _AXES), 1.5, 0.0, 1.5] for angle in RIG.values()]
    lidars = [[1.0, 0, 0, 0, 1.35, 0, 1.64], [0.0, 1.0, 0, 0, 1.35, 0, 1.57]]
    save_table(log / "calibration/egovehicle_SE3_sensor.feather", {"sensor_name": [*RIG, "up_lidar", "down_lidar"],
               **_columns(_POSE, [*mounts, *lidars])})  # fmt: skip
    lenses = {"fx_px": k[0, 0], "fy_px": k[1, 1], "cx_px": k[0, 2], "cy_px": k[1, 2], "k1": -0.24, "k2": -0.2, "k3": 0.3}
    sizes = {"height_px": pa.array([128] * len(RIG), pa.uint16()), "width_px": pa.array([192] * len(RIG), pa.uint16())}
    lenses = {name: [value] * len(RIG) for name, value in lenses.items()}
    save_table(log / "calibration/intrinsics.feather", {"sensor_name": list(RIG), **lenses, **sizes})
    times = [START + i * 100_000_000 for i in range(len(frames))]
    shots = [time + LATE for time in times]
    poses = [[*quaternion(r), *t] for r, t in (ego((time - START) / 1e9) for time in [*times, *shots])]
    save_table(log / "city_SE3_egovehicle.feather", {"timestamp_ns": [*times, *shots], **_columns(_POSE, poses)})
    save(log / f"map/log_map_archive_{log.name}____PIT_city_47896.json", "{}")
    for time, shot, frame in zip(times, shots, frames):
        save_table(log / f"sensors/lidar/{time}.feather", _sweep())
        for name in RIG:
            for at in (shot - 50_000_000, shot):  # at 20 Hz, the second is the nearer one
                save(log / f"sensors/cameras/{name}/{at}.jpg", frame.cameras[CAMERA].image.data)
    save_table(log / "annotations.feather", _annotations(times))


def _columns(names, rows) -> dict:
    return {name: [float(row[i]) for row in rows] for i, name in enumerate(names)}


def _sweep() -> dict:
    xyz = np.array([[1.5, -3, 0.25], [40, 2, 1], [-8, 4, 0.5]], np.float16)
    return {
        "x": xyz[:, 0], "y": xyz[:, 1], "z": xyz[:, 2], "intensity": np.array([10, 47, 255], np.uint8),
        "laser_number": np.array([31, 1, 63], np.uint8), "offset_ns": np.array([2_654_000, 50_000_001, 99_000_000], np.int32),
    }  # fmt: skip


def _annotations(times: list[int]) -> dict:
    """The boxes stand, so that they come nearer."""
    rows = [(time, i, box) for i, box in enumerate(BOXES) for time in times]  # by track: not in the order of time
    middles = [np.array(box[1]) - np.array(SPEED) * (time - START) / 1e9 for time, _, box in rows]
    return {
        "timestamp_ns": [time for time, _, _ in rows], "track_uuid": [f"{7 - i}f0-track" for _, i, _ in rows],
        "category": [CATEGORIES[box[0]] for _, _, box in rows], "length_m": [4.2] * len(rows), "width_m": [1.8] * len(rows),
        "height_m": [1.6] * len(rows), **_columns(_POSE, [[1.0, 0, 0, 0, *middle] for middle in middles]),
        "num_interior_pts": [box[2] for _, _, box in rows],
    }  # fmt: skip
