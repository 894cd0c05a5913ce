"""Synthetic frames written in the layouts of lane benchmarks, small; their lanes are straight lines to a vanishing point."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from unit.layouts_made import CAMERA, save

from drivetrain import Frame

VIDEOS = ("driver_23_30frame/05151640_0419.MP4", "driver_100_30frame/05251517_0433.MP4")
ROWS = list(range(30, 128, 7))
LEFT_AT_THE_BOTTOM = (-20.25, 60.5, 130.75)  # x of lanes where the picture ends; the first leaves it by the side


def lane(bottom: float, rows=ROWS) -> np.ndarray:
    """float64 [K, 2] from far to near."""
    y = np.array(rows, float)
    return np.stack([96 + (bottom - 96) * (y - 20) / 107, y], 1)


def write_culane(root: Path, frames: list[Frame]) -> None:
    """The last picture has no lane; the lists of train and val name masks too, as in train_gt.txt."""
    names = [f"{VIDEOS[number // 2]}/{30 * number:05d}" for number in range(len(frames))]
    for number, (name, frame) in enumerate(zip(names, frames)):
        lanes = [] if number == len(frames) - 1 else [lane(bottom)[::-1] for bottom in LEFT_AT_THE_BOTTOM]
        lines = "".join(" ".join(f"{v:g}" for v in points.ravel()) + " \n" for points in lanes)
        save(root / f"{name}.jpg", frame.cameras[CAMERA].image.data)
        save(root / f"{name}.lines.txt", lines)
    save(root / "list/train_gt.txt", "".join(f"/{name}.jpg /laneseg_label_w16/{name}.png 1 1 1 0\n" for name in names))
    save(root / "list/test.txt", "".join(f"{name}.jpg\n" for name in names[2:]))
    save(root / "list/test_split/test8_night.txt", f"{names[2]}.jpg\n")
    save(root / "list/test_split/test6_curve.txt", f"{names[3]}.jpg\n")


def tusimple_row(name: str, lanes, rows=ROWS) -> str:
    """Lanes of points far to near; -2 for the rows that they do not cross."""
    xs = [{y: x for x, y in points} for points in lanes]
    row = {"lanes": [[int(at.get(y, -2)) for y in rows] for at in xs], "h_samples": list(rows), "raw_file": name}
    return json.dumps(row) + "\n"


def write_tusimple(root: Path, frames: list[Frame]) -> None:
    """Three pictures to train on in two files, one to test on. A lane begins in the picture's middle; one is nowhere."""
    files = {"label_data_0313": [], "label_data_0531": [], "test_label": []}
    for number, frame in enumerate(frames):
        name = f"clips/0313-1/{60 * number}/20.jpg"
        lanes = [lane(60.5), lane(130.75, ROWS[:6]), []]
        files[list(files)[(0, 0, 1, 2)[number]]].append(tusimple_row(name, lanes))
        save(root / name, frame.cameras[CAMERA].image.data)
    for name, lines in files.items():
        save(root / f"{name}.json", "".join(lines))
