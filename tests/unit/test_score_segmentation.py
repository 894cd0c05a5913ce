"""``drivetrain score segmentation`` against cityscapesScripts' numbers, a case by hand, and wrong files."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from conftest import drivetrain
from PIL import Image
from unit.score_oracles import agrees, expected_of, ids_of, official, oracle

from drivetrain import DataError
from drivetrain.plugins.metrics.miou.config import SegmentationConfig
from drivetrain.plugins.metrics.miou.counting import confusion
from drivetrain.plugins.metrics.miou.scorer import SegmentationScored, read_mask

CAMVID = ["sky", "building", "pole", "road", "pavement", "tree", "signsymbol", "fence", "car", "pedestrian", "bicyclist"]


def test_official_files_get_the_official_numbers(shared):
    folder = oracle(shared, "semantic_segmentation")
    expected, ids = expected_of(folder), ids_of(folder)
    scored = SegmentationScored(folder / "ground_truth", folder / "predictions", ids, CAMVID, 11)
    for name, times in (("all", np.ones(30, np.int64)), ("first_2_images", np.arange(30) < 2)):
        more = {k: v for k, v in expected[name].pop("numpy_only").items() if k != "confusion_rows_gt_cols_pred"}
        assert agrees(official(scored, times.astype(np.int64)), expected[name] | more, 1e-12) >= 28
    done = drivetrain("score", "segmentation", "--truth", folder / "ground_truth", "--predictions", folder / "predictions",
                      "--classes", 11, "--ignore", 11, "--json")  # fmt: skip
    assert json.loads(done.stdout)["iou"]["3"] == pytest.approx(expected["all"]["iou"]["road"], abs=1e-12)


def written(folder, truth, found):
    for side, mask in (("truth", truth), ("found", found)):
        (folder / side / "city").mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / side / "city" / "a.png"), np.asarray(mask))
    return folder / "truth", folder / "found"


def test_edges_get_the_official_numbers(shared, tmp_path):
    folder = oracle(shared, "semantic_segmentation")
    for name, masks in json.loads((folder / "edge.json").read_text()).items():
        folders = written(tmp_path, np.array(masks["gt"], np.uint8), np.array(masks["pred"], np.uint8))
        agrees(official(SegmentationScored(*folders, None, CAMVID, 11)), expected_of(folder)["edge"][name], 1e-12)


def test_by_hand(tmp_path):
    truth, found = np.array([[1, 1, 2, 0]], np.uint8), np.array([[1, 0, 2, 2]], np.uint8)
    scored = SegmentationScored(*written(tmp_path, truth, found), None, ["void", "a", "b"], 0)  # a void among the ids
    got = official(scored)
    assert scored.keys == ["city/a"] and got["iou"] == {"void": None, "a": 0.5, "b": 1.0}
    assert got["miou"] == 0.75 and got["pixel_accuracy"] == pytest.approx(2 / 3) and got["valid_pixels"] == 3


@pytest.mark.parametrize("shape", [(3, 5), (4100, 4100)])
def test_every_pixel_is_counted_whatever_the_size(shape):
    truth, found = np.zeros(shape, np.uint8), np.ones(shape, np.uint8)
    truth[0, :2] = 1, 255
    assert confusion(truth, found, 2).tolist() == [[0, truth.size - 2, 0], [0, 1, 0]]


def test_pixels_of_a_palette_are_ids(tmp_path):
    mask = np.arange(12, dtype=np.uint8).reshape(3, 4)
    picture = Image.fromarray(mask)
    picture.putpalette([7 * k % 256 for k in range(768)])
    picture.save(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png"), mask)


def test_wrong_files_are_told(tmp_path):
    two = np.zeros((2, 3), np.uint8)

    def told(pattern, truth=two, found=two):
        with pytest.raises(DataError, match=pattern):
            SegmentationScored(*written(tmp_path, truth, found), None, ["a", "b"], 255)

    told(r"found/city/a\.png: is 3 x 1 pixels, its truth 3 x 2\n  masks are scored", found=two[:1])
    told(r"truth/city/a\.png: the truth holds ids \[9\], outside the 2 classes and not 255\n  --classes N", truth=two + 9)
    told(r"found/city/a\.png: is uint8 of shape \(2, 3, 3\), expected a mask", found=np.zeros((2, 3, 3), np.uint8))
    (tmp_path / "found" / "city" / "a.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"found/city/a\.png: is no picture that can be read"):
        SegmentationScored(tmp_path / "truth", tmp_path / "found", None, ["a", "b"], 255)
    assert SegmentationConfig(classes="car, bus").names() == ("car", "bus") and SegmentationConfig(classes=2).names() == (
        "0",
        "1",
    )
    with pytest.raises(ValueError, match="from 1 to 256"):
        SegmentationConfig(classes="0")
