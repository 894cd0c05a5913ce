"""`drivetrain score segmentation` held against cityscapesScripts on the same files: `make bench-score`.

Both read the same masks of Cityscapes' size and count the same confusion matrix, without instances; each round both run in a
process of their own, in turn, and time what follows their imports. The figure is the median of the rounds' ratios. The two
mIoUs must agree to 1e-9.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)  # Cityscapes' evaluated label ids
VOID = 0


def make_masks(folder: Path, frames: int) -> None:
    """Streets of polygons, some of it void, and predictions whose borders and some of whose classes are wrong."""
    for number in range(frames):
        rng = np.random.default_rng(number)
        truth, found = np.full((1024, 2048), 23, np.uint8), np.full((1024, 2048), 23, np.uint8)
        for name in rng.choice((*IDS, VOID), 60):
            middle, sides = rng.uniform((0, 300), (2048, 1024)), rng.uniform(20, 250)
            shape = middle + rng.normal(0, sides, (8, 2))
            said = name if rng.uniform() < 0.9 else rng.choice(IDS)
            cv2.fillPoly(truth, [shape.astype(np.int32)], int(name))
            cv2.fillPoly(found, [(shape + rng.normal(0, 6, (8, 2))).astype(np.int32)], int(said))
        for side, mask in (("truth", truth), ("found", found)):
            (folder / side).mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(folder / side / f"{number:04d}.png"), mask)


def ours(folder: Path) -> dict[str, float]:
    from drivetrain.plugins.metrics.miou.scorer import SegmentationScored

    began = time.perf_counter()
    scored = SegmentationScored(folder / "truth", folder / "found", None, [str(k) for k in range(34)], VOID)
    figures = scored.figures(np.ones(len(scored.keys), np.int64))
    return {"seconds": time.perf_counter() - began, "miou": figures["miou"]}


def run(command: list[str]) -> dict[str, float]:
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path, default=Path("build/bench-score/masks"))
    parser.add_argument("--peer", default="build/bench-score/venv/bin/python", help="a python that has cityscapesScripts")
    parser.add_argument("--frames", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--ours", action="store_true", help="time ours, in this process")
    options = parser.parse_args()
    if options.ours:
        print(json.dumps(ours(options.folder)))
        return
    make_masks(options.folder, options.frames)
    peer = str(Path(__file__).with_name("scoring_peer.py"))
    ratios = []
    for _ in range(options.rounds):
        theirs = run([options.peer, peer, str(options.folder)])
        mine = run([sys.executable, __file__, "--ours", "--folder", str(options.folder)])
        assert abs(theirs["miou"] - mine["miou"]) < 1e-9, (theirs, mine)
        ratios.append(theirs["seconds"] / mine["seconds"])
        each = [1000 * side["seconds"] / options.frames for side in (theirs, mine)]
        print("cityscapesScripts {:.1f} ms a frame, drivetrain {:.1f} ms: {:.1f} times".format(*each, ratios[-1]))
    print(f"median of {options.rounds} rounds: {statistics.median(ratios):.1f} times")


if __name__ == "__main__":
    main()
