"""Manifests: every field arrives, and a wrong line is told what is wrong with it."""

from __future__ import annotations

import io
import json
import re
import shutil

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from drivetrain import PIXEL_LABELS, DataError, decode_pixels, frame_to_parts
from drivetrain.datasets.manifest.dataset import build
from drivetrain.testing.datasets import check_dataset

HEADER = {"classes": {"semantic_segmentation": ["road", {"name": "void", "id": 7, "color": [0, 0, 0], "ignore": True}],
                      "object_detection": ["car", "pedestrian"], "drivable_area": ["background", {"name": "direct", "id": 7}],
                      "lane_detection": ["ego_left", "ego_right"], "depth_estimation": []}}  # fmt: skip
FULL = {
    "key": "b", "scene": "drive", "split": "train", "tags": {"weather": "rain"},
    "cameras": {
        "cam_front": {
            "image": "a.jpg", "semantic": "a.png",
            "boxes": [{"xyxy": [1, 2, 9.5, 8], "class": "car", "ignore": True, "track_id": 4, "truncation": 0.5,
                       "attributes": {"brake_lights": True}},
                      {"xyxy": [0, 0, 4, 4], "class": "pedestrian"}],
            "drivable": "a.png", "depth": "deep.png", "instances": "two.png",
            "lanes": [{"points": [[1, 7.5], [5, 2]], "class": "ego_left", "attributes": {"style": "dashed"}},
                      {"points": [[6, 2], [9, 4], [11, 8]], "class": "ego_right"}],
            "ignore_regions": [[0, 0, 3, 2]], "labelled_classes": {"object_detection": ["car"]}, "timestamp": 12,
            "intrinsics": [[9, 0, 6], [0, 9, 4], [0, 0, 1]], "model": "brown_conrady", "distortion": [0.1, 0, 0, 0],
            "sensor_to_ego": np.eye(4).tolist(), "ego_to_world": np.eye(4).tolist(),
        },
        "cam_left": {"image": "a.jpg", "boxes": []},
    },
}  # fmt: skip
SHORT = {"key": "a", "image": "a.jpg", "semantic": "a.png"}


@pytest.fixture
def root(tmp_path):
    """A folder with a picture of 12 x 8, its mask, its depth of 2 m and the instances of two boxes."""
    cv2.imwrite(str(tmp_path / "a.jpg"), np.full((8, 12, 3), 90, np.uint8))
    cv2.imwrite(str(tmp_path / "a.png"), np.full((8, 12), 7, np.uint8))
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((8, 12), 512, np.uint16))
    cv2.imwrite(str(tmp_path / "two.png"), np.arange(96, dtype=np.uint8).reshape(8, 12) % 3)
    return tmp_path


def write(root, *rows, name="train.jsonl", header=HEADER):
    lines = [row if isinstance(row, str) else json.dumps(row) for row in ([header] if header else []) + list(rows)]
    (root / name).write_text("\n".join(lines) + "\n")
    return root


def wrong(root, *rows, split="train", **options):
    """What a wrong manifest is told."""
    write(root, *rows, **options)
    dataset = build(None)
    with pytest.raises(DataError) as caught:
        for ref in dataset.index(root, split):
            dataset.load(ref)
    return str(caught.value)


def test_every_field_arrives(root):
    frame = check_dataset(build(None), write(root, FULL), "train")[0]
    front, left = frame.cameras["cam_front"], frame.cameras["cam_left"]
    assert (frame.key, frame.scene, frame.tags) == ("b", "drive", {"weather": "rain"})
    assert (front.width, front.height, front.timestamp, front.model) == (12, 8, 12, "brown_conrady")
    assert front.image.data == (root / "a.jpg").read_bytes() and front.semantic.data == (root / "a.png").read_bytes()
    assert front.boxes.names == ["car", "pedestrian"] and front.boxes.ignore.tolist() == [True, False]
    assert front.boxes.xyxy.tolist() == [[1, 2, 9.5, 8], [0, 0, 4, 4]] and front.boxes.track_ids.tolist() == [4, -1]
    assert front.boxes.truncation[0] == 0.5 and np.isnan(front.boxes.truncation[1]) and front.boxes.occlusion is None
    assert front.boxes.attributes == [{"brake_lights": True}, {}]
    assert front.labelled_classes == {"object_detection": ("car",)} and front.ignore_regions.tolist() == [[0, 0, 3, 2]]
    assert front.intrinsics[0, 0] == 9 and front.distortion == (0.1, 0, 0, 0) and front.sensor_to_ego.shape == (4, 4)
    assert front.drivable.data == (root / "a.png").read_bytes() and front.depth.data == (root / "deep.png").read_bytes()
    assert (decode_pixels("instances", front.instances) == np.arange(96).reshape(8, 12) % 3).all()  # 8 bits are stored as 16
    assert front.lanes.names == ["ego_left", "ego_right"] and front.lanes.attributes == [{"style": "dashed"}, {}]
    assert [line.tolist() for line in front.lanes.points] == [[[1, 7.5], [5, 2]], [[11, 8], [9, 4], [6, 2]]]  # from near to far
    assert len(left.boxes) == 0 and left.semantic is left.lanes is left.depth is None


def test_the_example_of_the_documentation_is_read(tmp_path):
    text = (ROOT / "docs" / "datasets.md").read_text()
    lines = text.split("```json\n")[1].split("```")[0].splitlines()
    for name in {name for line in lines for name in re.findall(r'"(\w+/\d+\.(?:jpg|png))"', line)}:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        kind = np.uint16 if name.startswith(("depth", "instances")) else np.uint8
        cv2.imwrite(str(tmp_path / name), np.ones((720, 1280), kind))
    (tmp_path / "train.jsonl").write_text("\n".join([lines[0], lines[2]]))
    [frame] = check_dataset(build(None), tmp_path, "train")
    camera = frame.cameras["cam_front"]
    labels = (camera.boxes, camera.lanes, *(getattr(camera, label) for label in PIXEL_LABELS))
    assert frame.key == "drive7/000121" and all(label is not None for label in labels)
    (tmp_path / "val.jsonl").write_text("\n".join(lines[:2]))
    (tmp_path / "front" / "000120.jpg").write_bytes((tmp_path / "front" / "000121.jpg").read_bytes())
    assert check_dataset(build(None), tmp_path, "val")[0].cameras["cam_front"].boxes.names == ["car"]


def test_absent_is_not_empty_and_null_is_absent(root):
    rows = [{**SHORT, "key": "a"}, {**SHORT, "key": "b", "boxes": []}, {**SHORT, "key": "c", "boxes": None}]
    frames = check_dataset(build(None), write(root, *rows), "train")
    boxes = [frame.cameras["cam_front"].boxes for frame in frames]
    assert boxes[0] is None and len(boxes[1]) == 0 and boxes[2] is None


def test_classes_take_their_place_as_id_from_header_or_sidecar(root):
    dataset = build(None)
    dataset.index(write(root, SHORT), "train")
    infos = dataset.classes["semantic_segmentation"]
    assert [(c.name, c.id, c.ignore) for c in infos] == [("road", 0, False), ("void", 7, True)]
    write(root, SHORT, header=None)
    (root / "classes.json").write_text(json.dumps(HEADER))
    other = build(None)
    ref = other.index(root, "train")[0]
    assert other.classes == dataset.classes and build(None).load(ref).key == "a"  # a worker that never indexed


def test_parquet_gives_the_same_frames(root):
    rows = [FULL, SHORT, {**SHORT, "key": "c", "boxes": []}]
    rows = [{**row, "split": "train"} for row in rows]
    columns = [{name: row.get(name) for name in {**FULL, **rows[2]}} for row in rows]
    dataset = build(None)
    expected = [frame_to_parts(dataset.load(ref)) for ref in dataset.index(write(root, *rows), "train")]
    (root / "train.jsonl").unlink()
    metadata = {"classes": json.dumps(HEADER["classes"])}
    for table in (pa.Table.from_pylist(columns), pa.table({"frame": [json.dumps(row) for row in rows]})):
        pq.write_table(table.replace_schema_metadata(metadata), root / "train.parquet", row_group_size=2)
        frames = check_dataset(build(None), root, "train")
        assert [frame_to_parts(frame) for frame in frames] == expected


def test_splits(root):
    dataset = build(None)
    keys = lambda split, path=root: [dataset.load(ref).key for ref in dataset.index(path, split)]
    write(root, {**SHORT, "split": "train"}, {**SHORT, "key": "b", "split": "val"}, name="manifest.jsonl")
    assert keys("train") == ["a"] and keys("val") == ["b"] and keys("val", root / "manifest.jsonl") == ["b"]
    assert "did you mean 'val'" in wrong(root, {**SHORT, "split": "val"}, split="vall", name="manifest.jsonl")
    mixed = [{**SHORT, "split": "val"}, {**SHORT, "key": "b"}]
    assert "manifest.jsonl:3: states no split, other lines do" in wrong(root, *mixed, split="val", name="manifest.jsonl")
    write(root, *mixed, name="val.jsonl")
    assert keys("val") == ["a", "b"]  # the file is named for the split
    write(root, SHORT, {**SHORT, "key": "b"}, name="manifest.jsonl")
    assert keys("anything") == ["a", "b"]


@pytest.mark.parametrize("row, told", [
    ({"key": "k", "imgae": "a.jpg"}, ["train.jsonl:2: frame 'k': unknown field 'imgae'", "did you mean 'image'"]),
    ({**SHORT, "wether": "rain"}, ["frame 'a': unknown field 'wether'", "known: key, scene, split, tags"]),
    ({"image": "a.jpg"}, ["train.jsonl:2: key: field required"]),
    ({"key": "k"}, ["frame 'k': image: field required"]),
    ({**SHORT, "cameras": {"cam_front": {"image": "a.jpg"}}}, ["states both cameras and 'image', 'semantic'"]),
    ({"key": "k", "cameras": {"Front": {"image": "a.jpg"}}}, ["frame 'k': cameras.Front", "a-z0-9_"]),
    ({**SHORT, "boxes": [{"xyxy": [1, 2, 3, 4], "clas": "car"}]}, ["unknown field 'boxes[0].clas'", "did you mean 'class'"]),
    ({**SHORT, "boxes": [{"xyxy": [1, 2, 3], "class": "car"}]}, ["frame 'a': boxes[0].xyxy[3]: field required"]),
    ({**SHORT, "boxes": [{"xyxy": [1, 2, 3, 4], "class": "cra"}]}, ["class 'cra' is not declared", "did you mean 'car'"]),
    ({**SHORT, "boxes": [{"xyxy": [9, 2, 5, 8], "class": "car"}]}, ["boxes[0] is [9.0, 2.0, 5.0, 8.0]", "picture of 12x8"]),
    ({**SHORT, "labelled_classes": {"object_detection": ["van"]}}, ["labelled_classes.object_detection: class 'van'"]),
    ({**SHORT, "model": "fisheye"}, ["frame 'a': model: input should be 'pinhole'", "found 'fisheye'"]),
    ({**SHORT, "image": "b.jpg"}, ["names 2 files, 1 of them are not there", "line 2: ", "b.jpg"]),
    ({**SHORT, "lanes": [{"points": [[1, 2]], "class": "ego_left"}]}, ["lanes[0].points: tuple should have at least 2"]),
    ({**SHORT, "lanes": [{"pionts": [], "class": "ego_left"}]}, ["unknown field 'lanes[0].pionts'", "did you mean 'points'"]),
    ({**SHORT, "lanes": [{"points": [[1, 2], [3, 4]], "class": "ego"}]}, ["lanes: class 'ego' is not declared"]),
    ({**SHORT, "depth": "a.png"}, ["depth: a.png is PNG L", "one 16-bit channel, in 1/256 m"]),
    ({**SHORT, "instances": "two.png", "boxes": []}, ["instances: two.png holds 2, there are 0 boxes"]),
    ({**SHORT, "drivable": "two.png"}, ["drivable: two.png holds ids [1, 2] of no declared class", "0 background, 7 direct"]),
    ({**SHORT, "semantic": "a.jpg"}, ["a.jpg is JPEG RGB", "a PNG of one 8-bit channel"]),
    ({**SHORT, "image": "train.jsonl"}, ["frame 'a': cam_front: train.jsonl is no picture"]),
    ("[1, 2]", ["train.jsonl:2: expected an object"]),
    ("{'key': 'a'}", ["train.jsonl:2: is not JSON: Expecting property name"]),
])  # fmt: skip
def test_a_wrong_line_is_told(root, row, told):
    message = wrong(root, row)
    for part in told:
        assert part in message, message


def test_wrong_masks_are_told(root):
    cv2.imwrite(str(root / "small.png"), np.zeros((4, 6), np.uint8))
    assert "semantic: small.png is 6x4, its picture 12x8" in wrong(root, {**SHORT, "semantic": "small.png"})
    cv2.imwrite(str(root / "strange.png"), np.full((8, 12), 3, np.uint8))
    message = wrong(root, {**SHORT, "semantic": "strange.png"})
    assert "holds ids [3] of no declared class" in message and "declared: 0 road, 7 void" in message
    (root / "cut.png").write_bytes((root / "a.png").read_bytes()[:50])
    assert "cut.png is damaged" in wrong(root, {**SHORT, "semantic": "cut.png"})


def test_a_palette_is_not_mistaken_for_colours(root):
    picture = Image.fromarray(np.full((8, 12), 7, np.uint8), "L").convert("P")
    picture.putdata([7] * 96)
    picture.putpalette([10, 200, 30] * 256)
    picture.save(root / "palette.png")
    frame = check_dataset(build(None), write(root, {**SHORT, "semantic": "palette.png"}), "train")[0]
    assert np.unique(np.asarray(Image.open(io.BytesIO(frame.cameras["cam_front"].semantic.data)))).tolist() == [7]


def test_keys_classes_and_files_that_do_not_agree(root):
    assert "train.jsonl:3: frame 'a' was given before, in line 2" in wrong(root, SHORT, SHORT)
    assert "classes: no task 'segmentation'" in wrong(root, SHORT, header={"classes": {"segmentation": ["road"]}})
    twice = {"classes": {"object_detection": ["car", {"name": "bus", "id": 0}]}}
    assert "classes of object_detection: id 0 is given twice" in wrong(root, SHORT, header=twice)
    assert "declare them in a first line or in classes.json" in wrong(root, {**SHORT, "boxes": []}, header=None)
    assert '{"depth_estimation": []}' in wrong(root, {"key": "a", "image": "a.jpg", "depth": "deep.png"}, header=None)
    shutil.rmtree(root)
    with pytest.raises(DataError, match=r"no manifest here\n  expected one of: train.jsonl, train.parquet, manifest.jsonl"):
        build(None).index(root, "train")


names, numbers = st.text(min_size=1, max_size=6), st.floats(0, 8, width=32)
box = st.builds(
    lambda x, y, name, track: {"xyxy": [x, y / 2, x + 4, y / 2 + 3], "class": name, "track_id": track},
    numbers, numbers, st.sampled_from(["car", "pedestrian"]), st.none() | st.integers(0, 2**40),
)  # fmt: skip
boxes = st.lists(box, max_size=3)


@settings(max_examples=25)
@given(st.dictionaries(names, st.tuples(st.none() | boxes, st.dictionaries(names, names, max_size=2)), min_size=1, max_size=4))
def test_what_is_written_is_what_is_read(tmp_path_factory, frames):
    root = tmp_path_factory.mktemp("manifest")
    cv2.imwrite(str(root / "a.jpg"), np.full((8, 12, 3), 90, np.uint8))
    rows = [{"key": key, "image": "a.jpg", "boxes": boxes, "tags": tags} for key, (boxes, tags) in frames.items()]
    read = check_dataset(build(None), write(root, *rows), "train")
    assert [(f.key, f.tags) for f in read] == [(key, tags) for key, (_, tags) in frames.items()]
    for frame, (written, _) in zip(read, frames.values()):
        got = frame.cameras["cam_front"].boxes
        assert (got is None) == (written is None)
        if written:
            assert np.allclose(got.xyxy, [b["xyxy"] for b in written]) and got.names == [b["class"] for b in written]
