"""CamVid in its official layout, the real frames and made ones."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivetrain import DataError
from drivetrain.datasets.camvid.config import CamvidConfig
from drivetrain.datasets.camvid.dataset import CLASSES, build
from drivetrain.testing.datasets import check_dataset

SHARED = Path(os.environ.get("DRIVETRAIN_SHARED", Path(__file__).resolve().parents[2].parent / "shared"))
CAMVID = SHARED / "data" / "camvid" / "CamVid"


@pytest.fixture
def dataset():
    return build(CamvidConfig())


@pytest.fixture
def made(tmp_path):
    """Two frames in the official layout."""
    lines = []
    for stem in ("0001TP_006690", "Seq05VD_f00000"):
        for folder, picture in (("train", np.full((6, 8, 3), 90, np.uint8)), ("trainannot", np.full((6, 8), 3, np.uint8))):
            (tmp_path / folder).mkdir(exist_ok=True)
            cv2.imwrite(str(tmp_path / folder / f"{stem}.png"), picture)
        lines.append(f"/SegNet/CamVid/train/{stem}.png /SegNet/CamVid/trainannot/{stem}.png")
    (tmp_path / "train.txt").write_text("\n".join(lines) + "\n")
    return tmp_path


@pytest.mark.parametrize("split, frames, scenes", [("train", 260, {"0001TP", "0006R0", "0016E5"}), ("val", 60, {"0016E5"})])
def test_the_real_frames(dataset, split, frames, scenes):
    if not CAMVID.exists():
        pytest.skip(f"{CAMVID} is not there")
    refs = dataset.index(CAMVID, split)
    assert len(refs) == frames and {dataset.load(ref).scene for ref in refs} == scenes
    first = check_dataset(dataset, CAMVID, split, limit=20)[0]
    camera = first.cameras["cam_front"]
    assert (camera.width, camera.height) == (480, 360) and camera.boxes is None
    assert camera.semantic.data == (CAMVID / f"{split}annot" / f"{first.key}.png").read_bytes()


def test_a_made_set_is_read_like_the_real_one(dataset, made):
    frames = check_dataset(dataset, made, "train")
    assert [(f.key, f.scene, f.tags) for f in frames] == [
        ("0001TP_006690", "0001TP", {"time_of_day": "dusk"}), ("Seq05VD_f00000", "Seq05VD", {"time_of_day": "day"}),
    ]  # fmt: skip


def test_the_void_is_the_only_ignored_class():
    assert [c.name for c in CLASSES if c.ignore] == ["unlabelled"] and CLASSES[11].name == "unlabelled"
    assert len({c.color for c in CLASSES}) == 12


def test_missing_pieces_of_the_layout_are_named(dataset, made):
    with pytest.raises(DataError, match=r"missing val.txt, val/, valannot/\n  found: train.txt, train/, trainannot/") as caught:
        dataset.index(made, "val")
    assert caught.value.where == str(made)
    with pytest.raises(DataError, match="did you mean 'train'"):
        dataset.index(made, "trian")
    shutil.copytree(made, made / "CamVid")
    (made / "train.txt").unlink()
    with pytest.raises(DataError, match=rf"give {made}/CamVid"):
        dataset.index(made, "train")


def test_frames_that_are_named_but_not_there_are_listed(dataset, made):
    (made / "train" / "0001TP_006690.png").unlink()
    with pytest.raises(DataError, match=r"names 4 files, 1 of them are not there(.|\n)*train/0001TP_006690.png"):
        dataset.index(made, "train")


def test_broken_files_are_named(dataset, made):
    ref = dataset.index(made, "train")[0]
    cv2.imwrite(str(ref.mask), np.zeros((3, 4), np.uint8))
    with pytest.raises(DataError, match=r"trainannot/0001TP_006690.png: mask is \(4, 3\), its picture \(8, 6\)"):
        dataset.load(ref)
    ref.mask.write_bytes(b"")
    with pytest.raises(DataError, match="is not a PNG file"):
        dataset.load(ref)
    (made / "train.txt").write_text("only_one_column.png\n")
    with pytest.raises(DataError, match=r"train.txt:1: expected two columns"):
        dataset.index(made, "train")


def test_the_kit_catches_what_a_dataset_does_wrong(dataset, made):
    load = dataset.load
    dataset.load = lambda ref: dataclasses.replace(load(ref), key="same")
    with pytest.raises(AssertionError, match="keys are not unique"):
        check_dataset(dataset, made, "train")
    dataset.load = load
    cv2.imwrite(str(made / "trainannot" / "Seq05VD_f00000.png"), np.full((6, 8), 40, np.uint8))
    with pytest.raises(AssertionError, match=r"frame 'Seq05VD_f00000', cam_front: mask holds ids \[40\]"):
        check_dataset(dataset, made, "train")
