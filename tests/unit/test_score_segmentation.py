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


def city(folder, seed=0):
    """Two pictures of Cityscapes' road, sidewalk, person, car and sky, instances among them, and a prediction of each."""
    rng, ids = np.random.default_rng(seed), np.array([7, 8, 24, 26, 23])
    for side in ("gtFine", "masks", "found"):
        (folder / side).mkdir(parents=True, exist_ok=True)
    for name in ("a", "b"):
        truth, instances = np.zeros((60, 80), np.uint8), np.zeros((60, 80), np.uint16)
        truth[:20], truth[30:] = 4, 1
        instances[:] = ids[truth]
        for k in range(8):
            (x, y), (wide, high), label = rng.integers(0, 60, 2), rng.integers(3, 25, 2), rng.integers(2, 4)
            truth[y : y + high, x : x + wide] = label
            instances[y : y + high, x : x + wide] = ids[label] * 1000 + k if k < 7 else ids[label]  # the last one is a group
        truth[:, 76:], instances[:, 76:] = 255, 0
        found = np.where(rng.random(truth.shape) < 0.3, rng.integers(0, 5, truth.shape), truth % 255).astype(np.uint8)
        cv2.imwrite(str(folder / "masks" / f"{name}_gtFine_labelTrainIds.png"), truth)
        cv2.imwrite(str(folder / "gtFine" / f"{name}_gtFine_instanceIds.png"), instances)
        cv2.imwrite(str(folder / "found" / f"{name}_gtFine_labelTrainIds.png"), found)


def test_iiou_is_cityscapes(tmp_path):
    """The numbers are those of cityscapesScripts 2.2.4 on these pictures."""
    city(tmp_path)
    options = ("--option", f"instances={tmp_path / 'gtFine'}", "--json")
    command = ("score", "segmentation", "--truth", tmp_path / "masks", "--predictions", tmp_path / "found")
    done = drivetrain(*command, "--classes", "road,sidewalk,person,car,sky", *options)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["iiou"] == pytest.approx({"person": 0.7600647313050348, "car": 0.7289719089662829}, abs=1e-12)
    assert found["mean_iiou"] == pytest.approx(0.7445183201356589, abs=1e-12)
    assert found["iou"]["car"] == pytest.approx(0.5124124761298536, abs=1e-12)
    (tmp_path / "gtFine" / "b_gtFine_instanceIds.png").unlink()
    refused = drivetrain(*command, "--classes", "road,sidewalk,person,car,sky", *options)
    assert refused.returncode == 2 and "b_gtFine_instanceIds.png: is no PNG of one channel and 16 bits" in refused.stderr
    refused = drivetrain(*command, "--classes", 5, *options)
    assert refused.returncode == 2 and "none of the classes has instances" in refused.stderr


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
