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


def jpeg(frame: Frame, brighter: int) -> bytes:
    return cv2.imencode(".jpg", cv2.add(picture(frame), (brighter,) * 3))[1].tobytes()


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


BDD_NAMES = {"car": "car", "truck": "truck", "pedestrian": "person", "cyclist": "rider", "traffic_sign": "traffic sign"}


def bdd_rows(frames: list[Frame]) -> list[dict]:
    """As in det_20, whose corners are of pixels; what the frames do not have is a traffic light, a crowd and a trailer."""
    rows = []
    for number, frame in enumerate(frames):
        labels, attributes = [], {"occluded": True, "truncated": False}
        for name, xyxy in zip(frame.cameras[CAMERA].boxes.names, (frame.cameras[CAMERA].boxes.xyxy - (0, 0, 1, 1)).tolist()):
            box = dict(zip(("x1", "y1", "x2", "y2"), xyxy))
            labels.append({"id": "7", "category": BDD_NAMES[name], "attributes": attributes, "box2d": box})
        box = {"x1": 1.0, "y1": 2.0, "x2": 9.0, "y2": 11.5}
        labels.append({"category": "traffic light", "attributes": {"trafficLightColor": "green"}, "box2d": box})
        labels.append({"category": "car", "attributes": {"crowd": True}, "box2d": box})
        labels.append({"category": "trailer", "box2d": box})
        labels.append({"category": "lane/single white", "poly2d": [[[0, 0, "L"], [5, 5, "L"]]]})
        tags = {"weather": "rainy", "scene": "city street", "timeofday": "undefined"}
        rows.append({"name": f"{number:08x}-0000abcd.jpg", "attributes": tags, "timestamp": 10000, "labels": labels})
    return rows


def write_bdd100k(root: Path, frames: list[Frame], masks: str = "drivable", images: str = "100k") -> None:
    save(root / "labels/det_20/det_val.json", json.dumps(bdd_rows(frames), indent=1))
    for number, frame in enumerate(frames):
        save(root / f"images/{images}/val/{number:08x}-0000abcd.jpg", frame.cameras[CAMERA].image.data)
        ids = cv2.imdecode(np.frombuffer(frame.cameras[CAMERA].semantic.data, np.uint8), cv2.IMREAD_UNCHANGED)
        ids = np.where(ids > 2, 2, ids) if masks == "drivable" else np.where(ids == 12, 255, ids)
        save(root / f"labels/{masks}/masks/val/{number:08x}-0000abcd.png", png(ids.astype(np.uint8)))


def write_bdd100k_semantic(root: Path, frames: list[Frame]) -> None:
    write_bdd100k(root, frames, "sem_seg", "10k")


CITYSCAPES_IDS = (7, 1, 8, 22, 11, 21, 17, 20, 23, 26, 27, 24, 25)  # of the synthetic world's classes; 1 is void
CITYSCAPES_CAMERA = {
    "extrinsic": {"baseline": 0.2, "pitch": 0.04, "roll": 0.0, "x": 1.7, "y": 0.1, "yaw": -0.02, "z": 1.22},
    "intrinsic": {"fx": 160.0, "fy": 161.0, "u0": 96.0, "v0": 64.0},
}


def write_cityscapes(root: Path, frames: list[Frame]) -> None:
    """Car and truck pixels left of the middle are one instance, those right of it a group."""
    for number, frame in enumerate(frames):
        city = ("aachen", "ulm")[number // 2]
        at = f"{{0}}/train/{city}/{city}_{number:06d}_000019_{{1}}"
        ids = cv2.imdecode(np.frombuffer(frame.cameras[CAMERA].semantic.data, np.uint8), cv2.IMREAD_UNCHANGED)
        ids = np.array(CITYSCAPES_IDS, np.uint8)[ids]
        left = np.isin(ids, (26, 27)) & (np.arange(ids.shape[1]) < ids.shape[1] // 2)
        save(root / at.format("leftImg8bit", "leftImg8bit.png"), png(picture(frame)))
        save(root / at.format("gtFine", "gtFine_labelIds.png"), png(ids))
        save(
            root / at.format("gtFine", "gtFine_instanceIds.png"),
            png(np.where(left, ids * np.uint16(1000), ids).astype(np.uint16)),
        )
        save(root / at.format("camera", "camera.json"), json.dumps(CITYSCAPES_CAMERA))
