"""``drivetrain score panoptic`` against panopticapi's numbers, a case by hand, and wrong files."""

from __future__ import annotations

import copy
import json

import cv2
import numpy as np
import pytest
from unit.score_oracles import agrees, expected_of, ids_of, official, oracle

from drivetrain import DataError
from drivetrain.plugins.metrics.panoptic.scorer import PanopticScored


def test_official_files_get_the_official_numbers(shared):
    folder = oracle(shared, "panoptic_quality")
    scored = PanopticScored(folder / "ground_truth.json", folder / "predictions.json", ids_of(folder))
    assert agrees(official(scored), expected_of(folder)) == 96


CATEGORIES = [{"id": 1, "name": "road", "isthing": 0}, {"id": 5, "name": "car", "isthing": 1}]
TRUTH = np.array([[70000, 70000, 70000, 70000, 0, 0, 0, 0, 9, 9, 9, 9, 8, 8, 8, 8]])
FOUND = np.array([[3, 3, 3, 4, 3, 3, 6, 6, 7, 7, 7, 4, 5, 5, 5, 4]])
SEGMENTS = {
    "truth": [(70000, 1, 0), (9, 5, 0), (8, 5, 1)],  # road, car, a crowd of cars
    "found": [(3, 1, 0), (4, 1, 0), (6, 5, 0), (7, 5, 0), (5, 5, 0)],  # 6 is on void, 5 is in the crowd
}


def written(folder, change=lambda data: None, masks=(TRUTH, FOUND)):
    for side, mask in zip(("truth", "found"), masks):
        (folder / side).mkdir(exist_ok=True)
        cv2.imwrite(str(folder / side / "a.png"), np.stack([mask >> 16, mask >> 8 & 255, mask & 255], 2).astype(np.uint8))
        infos = [{"id": i, "category_id": c, "iscrowd": crowd} for i, c, crowd in SEGMENTS[side]]
        data = {"annotations": [{"image_id": "a", "file_name": "a.png", "segments_info": infos}], "categories": CATEGORIES}
        if side == "found":
            change(data)
        (folder / f"{side}.json").write_text(json.dumps(data, indent=1))
    return folder / "truth.json", folder / "found.json"


def test_by_hand(tmp_path):
    got = official(PanopticScored(*written(tmp_path), None))
    road, car = got["per_class"]["road"], got["per_class"]["car"]
    # road: 3 of 4 pixels, void left out of the union; segment 4 lies elsewhere. car: 3 of 4; void and crowd excuse the others.
    assert (road["tp"], road["fp"], road["fn"], road["iou_sum"]) == (1, 1, 0, 0.75)
    assert (car["tp"], car["fp"], car["fn"], car["iou_sum"]) == (1, 0, 0, 0.75)
    assert got["Stuff"] == {"pq": 0.5, "sq": 0.75, "rq": pytest.approx(2 / 3), "n": 1} and got["Things"]["pq"] == 0.75
    assert official(PanopticScored(tmp_path / "truth", tmp_path / "found", ["a"])) == got  # the folders named
    none = official(PanopticScored(*written(tmp_path), None), np.array([0]))
    assert none["All"] == {"pq": None, "sq": None, "rq": None, "n": 0}


def test_wrong_files_are_told_by_line_and_key(tmp_path):
    def told(pattern, change):
        with pytest.raises(DataError, match=pattern):
            PanopticScored(*written(tmp_path, change), None)

    infos = lambda data: data["annotations"][0]["segments_info"]
    told(
        r"found\.json:9: annotations\[0\]\.segments_info\[0\]\.category_id: 2 is no category .*\n  its categories: 1, 5$",
        lambda data: infos(data)[0].update(category_id=2),
    )
    told(r"segments_info: does not name all ids that .*found/a\.png holds", lambda data: infos(data).pop())
    told(r"segments_info\[5\]: id 77 is nowhere in", lambda data: infos(data).append({"id": 77, "category_id": 1}))
    told(r"has no annotation of image_id 'a'", lambda data: data["annotations"][0].update(image_id="b"))
    told(r"annotations\[0\]: has no 'file_name'", lambda data: data["annotations"][0].pop("file_name"))
    with pytest.raises(DataError, match=r"found/a\.png: is \(1, 3\) pixels, its truth \(1, 16\)"):
        PanopticScored(*written(tmp_path, masks=(TRUTH, copy.copy(FOUND[:, :3]))), None)
