"""Every official layout, written small from synthetic frames: conformance, shards, pictures, and what a wrong folder gets."""

from __future__ import annotations

import pytest
from unit import layouts_made as made
from unit.argoverse_made import write_argoverse2
from unit.lanes_made import write_culane
from unit.nuscenes_made import write_nuscenes
from unit.waymo_made import write_waymo

from drivetrain import DataError
from drivetrain.data import convert, open_dataset
from drivetrain.looking import sheet_of_shards
from drivetrain.testing.datasets import check_dataset

LAYOUTS = {
    "argoverse2": (write_argoverse2, "val", {"boxes": True, "lidar": True}),
    "bdd100k": (made.write_bdd100k, "val", {"labels": ["detection", "drivable"]}),
    "bdd100k semantic": (made.write_bdd100k_semantic, "val", {"labels": ["semantic"]}),
    "cityscapes": (made.write_cityscapes, "train", {"boxes": True}),
    "coco": (made.write_coco, "val2017", {}),
    "culane": (write_culane, "train", {}),
    "waymo": (write_waymo, "training", {"lidar": True}),
    "nuscenes": (write_nuscenes, "v1.0-mini", {"lidar": True}),
    "kitti": (made.write_kitti, "train", {}),
    "kitti_tracking": (made.write_kitti_tracking, "training", {}),
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_layout_becomes_shards_that_can_be_looked_at(name, synthetic_frames, tmp_path):
    write, split, options = LAYOUTS[name]
    write(tmp_path / "data", synthetic_frames)
    _, dataset = open_dataset(name.split()[0], options)
    frames = check_dataset(dataset, tmp_path / "data", split)
    assert len(frames) == len(synthetic_frames)
    shards = convert(name, dataset, tmp_path / "data", tmp_path / "shards", split, workers=1, samples_per_shard=3)
    assert len(shards) == len(frames) and shards.verify(full=True) == []
    sheet_of_shards(shards, 4, 2, tmp_path / "view.png")
    assert (tmp_path / "view.png").stat().st_size > 10_000


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_wrong_folder_is_told_what_is_missing(name, tmp_path):
    _, split, options = LAYOUTS[name]
    (tmp_path / "something").mkdir()
    with pytest.raises(DataError, match=r"missing (.|\n)*found: (something/|no json)") as caught:
        open_dataset(name.split()[0], options)[1].index(tmp_path, split)
    assert caught.value.where.startswith(str(tmp_path))
