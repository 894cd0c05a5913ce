"""Synthetic frames written in official layouts, small."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np

from drivetrain import Frame

CAMERA = "cam_front"
KITTI_NAMES = {"car": "Car", "truck": "Truck", "pedestrian": "Pedestrian", "cyclist": "Cyclist", "traffic_sign": "Misc"}
KITTI_CALIB = """\
P0: {fx} 0 {cx} 0 0 {fy} {cy} 0 0 0 1 0
P2: {fx} 0 {cx} 44.8 0 {fy} {cy} 0.2 0 0 1 0.003
R0_rect: 1 0 0 0 1 0 0 0 1
Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27
Tr_imu_to_velo: 1 0 0 -0.81 0 1 0 0.32 0 0 1 -0.8

"""


def save(path: Path, data: bytes | str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def picture(frame: Frame) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(frame.cameras[CAMERA].image.data, np.uint8), cv2.IMREAD_COLOR)


def png(array: np.ndarray) -> bytes:
    return cv2.imencode(".png", array)[1].tobytes()


def kitti_lines(frame: Frame) -> list[str]:
    """The object columns of a frame's boxes, and one DontCare."""
    boxes = frame.cameras[CAMERA].boxes
    rest = "1.50 1.60 3.70 -2.00 1.70 12.00 0.10"
    lines = [
        f"{KITTI_NAMES[name]} {boxes.truncation[i]:.2f} {round(2 * boxes.occlusion[i])} -1.57 "
        f"{' '.join(f'{x:.2f}' for x in boxes.xyxy[i])} {rest}"
        for i, name in enumerate(boxes.names)
    ]
    return [*lines, "DontCare -1 -1 -10 10.00 20.00 30.50 40.25 -1 -1 -1 -1000 -1000 -1000 -10"]


def write_kitti(root: Path, frames: list[Frame]) -> None:
    for number, frame in enumerate(frames):
        k = frame.cameras[CAMERA].intrinsics
        calib = KITTI_CALIB.format(fx=k[0, 0], fy=k[1, 1], cx=k[0, 2], cy=k[1, 2])
        save(root / f"training/image_2/{number:06d}.png", png(picture(frame)))
        save(root / f"training/label_2/{number:06d}.txt", "".join(f"{line}\n" for line in kitti_lines(frame)))
        save(root / f"training/calib/{number:06d}.txt", calib)
    save(root / "ImageSets/train.txt", "".join(f"{i:06d}\n" for i in range(len(frames))))


def write_kitti_tracking(root: Path, frames: list[Frame]) -> None:
    for sequence in range(2):
        rows = []
        for number, frame in enumerate(frames[2 * sequence : 2 * sequence + 2]):
            save(root / f"training/image_02/{sequence:04d}/{number:06d}.png", png(picture(frame)))
            tracks = [*frame.cameras[CAMERA].boxes.track_ids.tolist(), -1]
            for line, track in zip(kitti_lines(frame), tracks):
                name, _, *columns = line.split()
                rows.append(f"{number} {track} {name} {-1 if track < 0 else 0} {' '.join(columns)}\n")
        save(root / f"training/label_02/{sequence:04d}.txt", "".join(rows))


def coco_json(frames: list[Frame], **more) -> dict:
    """Ids with gaps, annotations out of order, the last one a crowd."""
    names = sorted({name for frame in frames for name in frame.cameras[CAMERA].boxes.names})
    images, annotations = [], []
    for number, frame in enumerate(frames):
        images.append({"id": 7 * number + 3, "file_name": f"{number:012d}.jpg", "width": 192, "height": 128, **more})
        for name, (x1, y1, x2, y2) in zip(frame.cameras[CAMERA].boxes.names, frame.cameras[CAMERA].boxes.xyxy.tolist()):
            bbox = [x1, y1, x2 - x1, y2 - y1]
            one = {"image_id": 7 * number + 3, "category_id": 10 + 3 * names.index(name), "bbox": bbox, "iscrowd": 0}
            annotations.append(one | {"area": 0.7 * bbox[2] * bbox[3], "segmentation": [[x1, y1, x2, y1, x2, y2]]})
    annotations[-1]["iscrowd"] = 1
    annotations = [{"id": 5 * i + 1, **one} for i, one in enumerate(annotations[::-1])]
    categories = [{"id": 10 + 3 * i, "name": name, "supercategory": "thing"} for i, name in enumerate(names)]
    return {"info": {}, "images": images, "annotations": annotations, "categories": categories}


def write_coco(root: Path, frames: list[Frame]) -> None:
    for number, frame in enumerate(frames):
        save(root / f"val2017/{number:012d}.jpg", frame.cameras[CAMERA].image.data)
    save(root / "annotations/instances_val2017.json", json.dumps(coco_json(frames)))
