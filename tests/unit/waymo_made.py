"""Synthetic frames written in Waymo's v2 layout, small: two segments of two frames, columns named and typed as the official
components declare them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import parquet
from unit.layouts_made import CAMERA, jpeg
from unit.nuscenes_made import EGO, turned

from drivetrain import Frame

SEGMENTS = ("10023947602400723454_1120_000_1140_000", "9985243312780923024_3049_720_3069_720")
YAWS = {1: 0, 2: 45, 3: -45, 4: 90, 5: -90}  # of the cameras FRONT, FRONT_LEFT, FRONT_RIGHT, SIDE_LEFT, SIDE_RIGHT, in degrees
START = 1_550_083_467_346_370  # µs
LATE = 0.012  # s, of the pictures after the frame
TYPES = {"car": 1, "truck": 1, "pedestrian": 2, "traffic_sign": 3, "cyclist": 4}
DISTORTION = (0.04, -0.33, 0.001, -0.002, 0.1)
LASERS = {1: (1.4, 0.0, 2.0, 148), 2: (4.0, 0.0, 0.7, 90)}  # TOP and FRONT: x, y, z, and yaw in degrees
RANGE_IMAGE = (3, 360)  # rows and columns
BEAMS = (-0.3, 0.0, 0.1)  # rad, of the rows from the lowest up
BEHIND = 1.0  # m that the vehicle lay back where the top lidar measured
_VECTOR = pa.list_(pa.float64(), 16)


def write_waymo(root: Path, frames: list[Frame], split: str = "training") -> None:
    for number, segment in enumerate(SEGMENTS):
        components = _components(segment, frames[2 * number : 2 * number + 2])
        for name, table in components.items():
            path = root / split / name / f"{segment}.parquet"
            path.parent.mkdir(parents=True, exist_ok=True)
            parquet.write_table(table, path)


def pose(seconds: float, back: float = 0.0) -> np.ndarray:
    """float64 [4, 4] of the vehicle, which drives at 10 m/s, seconds after the first frame; ``back``: m behind that place."""
    out = np.eye(4)
    out[:3, :3] = turned(30)
    out[:3, 3] = out[:3, :3] @ (10 * seconds - back, 0, 0) + EGO
    return out


def _components(segment: str, frames: list[Frame]) -> dict[str, pa.Table]:
    times = [START + 100_000 * i for i in range(len(frames))]
    cameras = [(time, frame, camera) for time, frame in zip(times, frames) for camera in YAWS]
    seconds = [(time - START) / 1e6 for time in times]
    image, calibration, stats = "[CameraImageComponent].", "[CameraCalibrationComponent].", "[StatsComponent]."
    k = frames[0].cameras[CAMERA].intrinsics
    intrinsic = dict(
        zip(("f_u", "f_v", "c_u", "c_v", "k1", "k2", "p1", "p2", "k3"), (*k[[0, 1], [0, 1]], *k[:2, 2], *DISTORTION))
    )
    return {
        "camera_image": _table(
            segment, [time for time, _, _ in cameras], {
                "key.camera_name": pa.array([camera for *_, camera in cameras], pa.int8()),
                f"{image}image": pa.array([jpeg(frame, 10 * camera) for _, frame, camera in cameras], pa.binary()),
                f"{image}pose.transform": _transforms([pose((time - START) / 1e6 + LATE) for time, *_ in cameras]),
                f"{image}pose_timestamp": pa.array([time / 1e6 + LATE for time, *_ in cameras], pa.float64()),
            }),
        "camera_calibration": _table(
            segment, None, {
                "key.camera_name": pa.array(list(YAWS), pa.int8()),
                **{f"{calibration}intrinsic.{n}": pa.array([float(v)] * 5, pa.float64()) for n, v in intrinsic.items()},
                f"{calibration}extrinsic.transform": _transforms([mount(1.5, 0, 2.1, yaw) for yaw in YAWS.values()]),
                f"{calibration}width": pa.array([192] * 5, pa.int32()), f"{calibration}height": pa.array([128] * 5, pa.int32()),
            }),
        "camera_box": _boxes(segment, times, frames),
        "stats": _table(segment, times, {f"{stats}{name}": pa.array([said] * len(times)) for name, said in
                                         {"time_of_day": "Night", "location": "location_sf", "weather": "rain"}.items()}),
        "vehicle_pose": _table(segment, times, {
            "[VehiclePoseComponent].world_from_vehicle.transform": _transforms([pose(s) for s in seconds])}),
        **_lidar(segment, times),
    }  # fmt: skip


def mount(x: float, y: float, z: float, yaw: float) -> np.ndarray:
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = turned(yaw), (x, y, z)
    return out


def _boxes(segment: str, times: list[int], frames: list[Frame]) -> pa.Table:
    """Of the front camera, the later frame's first."""
    rows = []
    for time, frame in list(zip(times, frames))[::-1]:
        boxes = frame.cameras[CAMERA].boxes
        for i, (x1, y1, x2, y2) in enumerate(boxes.xyxy.astype(float).tolist()):
            rows.append(
                (time, f"{boxes.track_ids[i]}-object", (x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, TYPES[boxes.names[i]])
            )
    name, columns = "[CameraBoxComponent].", list(zip(*rows))
    box = dict(zip(("center.x", "center.y", "size.x", "size.y"), columns[2:6]))
    return _table(segment, list(columns[0]), {
        "key.camera_name": pa.array([1] * len(rows), pa.int8()), "key.camera_object_id": pa.array(columns[1]),
        **{f"{name}box.{n}": pa.array(values, pa.float64()) for n, values in box.items()},
        f"{name}type": pa.array(columns[6], pa.int8()),
        f"{name}difficulty_level.detection": pa.array([None, *[2] * (len(rows) - 1)], pa.int8()),
    })  # fmt: skip


def _lidar(segment: str, times: list[int]) -> dict[str, pa.Table]:
    """Each lidar has met one spot to the left of the vehicle, by the middle beam, and in the second return one ahead."""
    height, width = RANGE_IMAGE
    first, second = np.zeros((2, height, width, 4), np.float32)
    first[1, width // 4] = second[0, width // 2] = (10.0, 0.5, 0.1, -1.0)
    keys = [(time, laser) for time in times for laser in LASERS]
    lasers = pa.array([laser for _, laser in keys], pa.int8())
    lidar, calibration = "[LiDARComponent].range_image_return", "[LiDARCalibrationComponent]."
    poses = np.zeros((len(times), height, width, 6), np.float32)
    for number, time in enumerate(times):
        poses[number] = (0, 0, np.radians(30), *pose((time - START) / 1e6, BEHIND)[:3, 3])
    return {
        "lidar": _table(segment, [time for time, _ in keys], {
            "key.laser_name": lasers, **_images(f"{lidar}1", [first] * len(keys)),
            **_images(f"{lidar}2", [second] * len(keys))}),
        "lidar_pose": _table(segment, times, {"key.laser_name": pa.array([1] * len(times), pa.int8()),
                                              **_images("[LiDARPoseComponent].range_image_return1", poses)}),
        "lidar_calibration": _table(segment, None, {
            "key.laser_name": pa.array(list(LASERS), pa.int8()),
            f"{calibration}extrinsic.transform": _transforms([mount(*place) for place in LASERS.values()]),
            f"{calibration}beam_inclination.min": pa.array([-0.3, -0.45], pa.float64()),
            f"{calibration}beam_inclination.max": pa.array([0.1, 0.45], pa.float64()),
            f"{calibration}beam_inclination.values": pa.array([BEAMS, None], pa.list_(pa.float64())),
        }),
    }  # fmt: skip


def _images(name: str, images) -> dict[str, pa.Array]:
    return {
        f"{name}.values": pa.array([image.ravel() for image in images], pa.list_(pa.float32())),
        f"{name}.shape": pa.array([list(image.shape) for image in images], pa.list_(pa.int32(), 3)),
    }


def _transforms(matrices: list[np.ndarray]) -> pa.Array:
    return pa.array([m.ravel().tolist() for m in matrices], _VECTOR)


def _table(segment: str, times: list[int] | None, columns: dict) -> pa.Table:
    count = len(next(iter(columns.values())))
    keys = {"key.segment_context_name": pa.array([segment] * count)}
    if times is not None:
        keys["key.frame_timestamp_micros"] = pa.array(times, pa.int64())
    return pa.table(keys | columns)
