"""Boxes that go out as COCO or KITTI come back as they were, to the format's precision."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import drivetrain
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from drivetrain import Boxes, ClassInfo, DataError, open_shards
from drivetrain.exchange import export_frames, import_labels
from drivetrain.looking import sheet_of_shards

sys.path.append(str(Path(__file__).parent))
from loader_toy import Toy, convert, loader

number = st.floats(0, 2000, width=32)
box = st.tuples(number, number, number, number, st.sampled_from(["car", "person"]), st.booleans())


def corners(box) -> list[float]:
    (x1, x2), (y1, y2) = sorted(box[0:4:2]), sorted(box[1:4:2])
    return [x1, y1, x2, y2]


@settings(max_examples=15)
@given(st.lists(st.lists(box, max_size=4), min_size=1, max_size=3), st.sampled_from(["coco", "kitti"]))
def test_round_trip(tmp_path_factory, frames, format):
    folder = tmp_path_factory.mktemp("exchange")
    planted = [Boxes([corners(b) for b in f], [b[4] for b in f], np.array([b[5] for b in f], bool)) for f in frames]
    changes = {place: {"boxes": boxes} for place, boxes in enumerate(planted)}
    shards = convert(Toy(len(frames), changes=changes), folder / "shards")
    export_frames(format, shards, folder / "out", None)
    import_labels(format, folder / "out", folder / "overlay", shards)
    over = open_shards(shards.path, overlays=[str(folder / "overlay")])
    for place in range(len(shards)):
        before, after = (s.frame(place).cameras["cam_front"] for s in (shards, over))
        if format == "coco":
            assert np.array_equal(after.boxes.xyxy, before.boxes.xyxy) and after.boxes.names == before.boxes.names
            assert np.array_equal(after.boxes.ignore, before.boxes.ignore)
        else:
            kept = before.boxes.select(~before.boxes.ignore)
            assert after.boxes.names == kept.names
            assert np.allclose(after.boxes.xyxy, kept.xyxy, rtol=0, atol=0.0051)
            assert np.allclose(after.ignore_regions[: before.boxes.ignore.sum()], before.boxes.xyxy[before.boxes.ignore],
                               rtol=0, atol=0.0051)  # fmt: skip


def test_the_commands(tmp_path):
    shards = convert(Toy(3), tmp_path / "shards")
    for format in ("coco", "kitti"):
        assert drivetrain("data", "export", format, shards.path, tmp_path / format).returncode == 0
        done = drivetrain("data", "import", format, tmp_path / format, tmp_path / f"o-{format}", "--base", shards.path)
        assert done.returncode == 0, done.stderr
    image = shards.frame(0).cameras["cam_front"].image
    assert any(file.read_bytes() == image.data for file in (tmp_path / "coco" / "images").iterdir())
    coco = COCO(tmp_path / "coco" / "annotations.json")
    assert len(coco.getImgIds()) == 3 and coco.getAnnIds()
    lines = [line for file in (tmp_path / "kitti" / "label_2").iterdir() for line in file.read_text().splitlines()]
    assert lines and all(len(line.split()) == 15 for line in lines)


def test_what_is_unknown_is_told(tmp_path):
    shards = convert(Toy(2), tmp_path / "shards")
    with pytest.raises(DataError, match="key 'nowhere'"):
        export_frames("coco", shards, tmp_path / "none", ["nowhere"])
    export_frames("coco", shards, tmp_path / "out", None)
    path = tmp_path / "out" / "annotations.json"
    said = json.loads(path.read_text())
    said["categories"][0]["name"] = "spaceship"
    path.write_text(json.dumps(said))
    with pytest.raises(DataError, match="class 'spaceship'"):
        import_labels("coco", path, tmp_path / "overlay", shards)
    assert not (tmp_path / "overlay").exists() and not (tmp_path / "none").exists()


def test_withdrawn_frames_are_not_handed_out(tmp_path):
    shards = convert(Toy(3), tmp_path / "shards")
    shards.withdraw(["frame/00001"])
    shards = loader().open(shards.path)
    assert shards.readable().tolist() == [0, 2]
    assert export_frames("kitti", shards, tmp_path / "out", None) == 2
    assert not any("00001" in file.name for file in (tmp_path / "out" / "image_2").iterdir())
    for ask in (lambda: shards.frame(1), lambda: export_frames("coco", shards, tmp_path / "more", ["frame/00001"])):
        with pytest.raises(DataError, match=r"'frame/00001'.* was withdrawn"):
            ask()
    sheet_of_shards(shards, 3, 3, tmp_path / "view.png")


def test_a_box_of_an_undeclared_class_is_told(tmp_path):
    shards = convert(Toy(1), tmp_path / "shards")
    shards.classes = {**shards.classes, "object_detection": [ClassInfo("cart", 0)]}
    with pytest.raises(DataError, match=r"class in .*'car'"):
        export_frames("coco", shards, tmp_path / "out", None)
