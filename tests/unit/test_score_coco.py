"""``drivetrain score coco`` against pycocotools' own numbers, a case by hand, and wrong files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from unit.score_oracles import agrees, expected_of, ids_of, official, oracle

from drivetrain import DataError
from drivetrain.plugins.metrics.coco_map.scorer import CocoScored


@pytest.mark.parametrize("main, file", [("main", "detections.json"), ("ties", "detections_ties.json")])
def test_official_files_get_the_official_numbers(shared, main, file):
    folder = oracle(shared, "coco_detection")
    got = official(CocoScored(folder / "ground_truth.json", folder / file, ids_of(folder)))
    expected = expected_of(folder)[main]
    assert agrees(got, expected["stats"]) == 12
    per_category = {n: {k: v for k, v in one.items() if k != "AP_per_iou"} for n, one in expected["per_category"].items()}
    agrees(got["per_category"], per_category)


def test_edges_get_the_official_numbers(shared, tmp_path):
    folder = oracle(shared, "coco_detection")
    cases = json.loads((folder / "edge" / "cases.json").read_text())
    for name, case in cases.items():
        for file in ("ground_truth", "detections"):
            (tmp_path / file).write_text(json.dumps(case[file]))
        got = official(CocoScored(tmp_path / "ground_truth", tmp_path / "detections", None))
        assert agrees(got, expected_of(folder)["edge"][name]) == 12, name


TRUTH = {
    "images": [{"id": 1}, {"id": 2}],
    "categories": [{"id": 3, "name": "car"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0},
        {"id": 2, "image_id": 2, "category_id": 3, "bbox": [0, 0, 50, 50], "area": 2500, "iscrowd": 0},
    ],
}
FOUND = [
    {"image_id": 1, "category_id": 3, "bbox": [0, 0, 50, 50], "score": 0.9},
    {"image_id": 2, "category_id": 3, "bbox": [100, 100, 50, 50], "score": 0.5},
]


@pytest.fixture
def write(tmp_path):
    def write(truth=TRUTH, found=FOUND):
        for name, value in (("truth.json", truth), ("found.json", found)):
            (tmp_path / name).write_text(value if isinstance(value, str) else json.dumps(value, indent=1))
        return tmp_path / "truth.json", tmp_path / "found.json"

    return write


def test_by_hand(write):
    scored = CocoScored(*write(), None)
    both = official(scored)
    assert both["AP"] == pytest.approx(51 / 101)  # recall 0, 0.01 ... 0.50 at precision 1, then nothing
    assert both["AR_100"] == 0.5 and both["AP_small"] == -1 and both["per_category"]["car"]["AP75"] == pytest.approx(51 / 101)
    assert official(scored, np.array([1, 0]))["AP"] == pytest.approx(1) and official(scored, np.array([0, 1]))["AP"] == 0
    assert official(scored, np.array([2, 1]))["AR_100"] == pytest.approx(2 / 3)
    assert official(scored, np.array([0, 0]))["AP"] == -1
    assert official(CocoScored(*write(found=[]), None))["AP"] == 0


def test_a_picture_that_counts_twice_is_two_pictures(write):
    crowd = TRUTH["annotations"][0] | {"id": 3, "iscrowd": 1, "bbox": [90, 90, 80, 80]}
    wrong = {"image_id": 1, "category_id": 3, "bbox": [60, 0, 20, 20], "score": 0.7}
    truth = TRUTH | {"annotations": [*TRUTH["annotations"], crowd]}
    weighed = official(CocoScored(*write(truth, [*FOUND, wrong]), None), np.array([3, 2]))
    copies = [(10 * k + image, image) for image, count in ((1, 3), (2, 2)) for k in range(count)]
    rows = lambda kind: [row | {"image_id": new} for new, old in copies for row in kind if row["image_id"] == old]
    many = truth | {"images": [{"id": new} for new, _ in copies], "annotations": rows(truth["annotations"])}
    agrees(weighed, official(CocoScored(*write(many, rows([*FOUND, wrong])), None)))


def test_wrong_files_are_told_by_line_and_key(write):
    def told(pattern, **files):
        with pytest.raises(DataError, match=pattern):
            CocoScored(*write(**files), None)

    told(r"found\.json:1: no JSON: .*\n  expected COCO's result format", found="[}")
    told(r"found\.json:2: \[0\]: has no 'score'", found=[{k: v for k, v in FOUND[0].items() if k != "score"}])
    short = [FOUND[0], FOUND[1] | {"bbox": [1, 2, 3]}]
    told(r"found\.json:16: \[1\]\.bbox: is \[1, 2, 3\], expected four numbers", found=short)
    told(r"found\.json:\d+: \[0\]\.image_id: '1' is no image of the truth", found=[FOUND[0] | {"image_id": "1"}])
    told(r"truth\.json:1: the whole: has no list 'annotations'", truth={"images": [], "categories": []})
    with pytest.raises(DataError, match="no image of id '7', which --ids names"):
        CocoScored(*write(), ["1", "7"])
