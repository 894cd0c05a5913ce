"""Every kind of label: stored and read again, drawn as the view sees it, in the recipe's classes, through a batch."""

from __future__ import annotations

import dataclasses
import io
import json
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from drivetrain import (
    IGNORE,
    TASKS,
    Boxes,
    Camera,
    ClassInfo,
    DataError,
    DataSpec,
    Encoded,
    Frame,
    Lanes,
    OverlayWriter,
    Source,
    View,
    clip_line,
    decode_pixels,
    encode_pixels,
    frame_from_parts,
    frame_to_parts,
    mirrored_classes,
    open_shards,
)
from drivetrain.testing import check_model

sys.path.append(str(Path(__file__).parent))
sys.path.append(str(Path(__file__).parents[1] / "plugins"))
import five_tasks
from loader_toy import Resize, ResizedFlip, Toy, convert, jpg, loader, png

LANE_CLASSES = tuple(ClassInfo(name, i) for i, name in enumerate(("ego_left", "ego_right", "kerb left", "crossing")))
CLASSES = {
    "semantic_segmentation": (ClassInfo("road", 0), ClassInfo("car", 3), ClassInfo("arrow_left", 4)),
    "object_detection": (ClassInfo("car", 0), ClassInfo("keep_left", 1), ClassInfo("keep_right", 2)),
    "drivable_area": (ClassInfo("direct", 0), ClassInfo("alternative", 1), ClassInfo("background", 2)),
    "lane_detection": LANE_CLASSES,
    "depth_estimation": (),
}
NAMES = {task: tuple(info.name for info in infos) for task, infos in CLASSES.items()}


@dataclasses.dataclass
class Full(Toy):
    """Toy frames with all labels; of frame 3 nothing is labelled, of frame 4 all but the depth."""

    classes: dict = dataclasses.field(default_factory=lambda: CLASSES)

    def load(self, ref):
        frame = super().load(ref)
        camera = frame.cameras["cam_front"]
        height, width = self.size
        mask = np.zeros(self.size, np.uint8)
        mask[:, width // 2 :] = 3
        mask[-4:, :4] = 4
        drivable = np.full(self.size, 2, np.uint8)
        drivable[height // 2 :, : width // 2], drivable[height // 2 :, width // 2 :] = 0, 1
        xs = np.arange(width)[None].repeat(height, 0)
        instances = np.zeros(self.size, np.uint16)
        instances[2:9, 3:9] = 1
        frame.cameras["cam_front"] = dataclasses.replace(
            camera, semantic=png(mask), drivable=png(drivable), depth=encode_pixels("depth", (xs + 1 + ref / 256)),
            instances=encode_pixels("instances", instances),
            boxes=Boxes([[3, 2, 9, 9], [40, 2, 50, 9]], ["keep_left", "car"]),
            lanes=Lanes([[[10, 60], [10, 20], [20, 4]], [[50, 44], [50, 4]], [[60, 40], [60, 9]]],
                        ["ego_left", "ego_right", "kerb left"]),
        )  # fmt: skip
        camera = frame.cameras["cam_front"]
        gone = {3: [task.prediction for task in TASKS.values()] + ["instances"], 4: ["depth"]}.get(ref, [])
        frame.cameras["cam_front"] = dataclasses.replace(camera, **dict.fromkeys(gone))
        return frame


def spec(path, transforms, tasks=tuple(TASKS), **source):
    return DataSpec((Source("full", str(path), **source),), tasks, NAMES, None, transforms, 5)


def batch_of(data, **config):
    stream = loader(**config).training(data, batch_global=6, batch_micro=6, rank=0, world=1, threads=1, pin=False)
    try:
        batch = next(stream.batches(0))
        kept = batch.keep()
        batch.release()
        return kept, {key: i for i, key in enumerate(kept.keys)}
    finally:
        stream.close()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    return convert(Full(6), tmp_path_factory.mktemp("labels") / "set")


def camera_of(opened, number=0):
    return opened.frame(number).cameras["cam_front"]


# ---------------------------------------------------------------- stored


def test_all_labels_come_back_and_what_is_absent_stays_absent():
    frame = Full(1).load(0)
    parts = frame_to_parts(frame)
    stored = [f"cam_front.{name}" for name in ("jpg", "semantic.png", "drivable.png", "depth.png", "instances.png")]
    assert list(parts) == [*stored, "json"] and frame_to_parts(frame_from_parts(parts)) == parts
    back = frame_from_parts(parts).cameras["cam_front"]
    assert back.lanes.names == ["ego_left", "ego_right", "kerb left"]
    assert [line.tolist() for line in back.lanes.points][1] == [[50, 44], [50, 4]]
    bare = frame_from_parts(frame_to_parts(Full(4).load(3))).cameras["cam_front"]
    assert (bare.lanes, bare.drivable, bare.depth, bare.instances) == (None,) * 4
    empty = dataclasses.replace(bare, lanes=Lanes([], []))
    assert len(frame_from_parts(frame_to_parts(Frame("k", cameras={"c": empty}))).cameras["c"].lanes) == 0
    with pytest.raises(ValueError, match="a stored mask is encoded, depth is an array"):
        frame_to_parts(Frame("k", cameras={"c": dataclasses.replace(bare, depth=np.ones((48, 64), np.float32))}))


def test_a_frame_without_the_newer_labels_has_the_bytes_that_it_always_had():
    camera = Camera(Boxes([[1, 2, 3, 4.5]], ["car"]), Encoded(b"png", "png"), image=Encoded(b"jpeg", "jpg"), width=4, height=3)
    parts = frame_to_parts(Frame("a", "s", {"t": "v"}, {"cam": camera}))
    assert list(parts) == ["cam.jpg", "cam.semantic.png", "json"]
    assert parts["json"] == (
        b'{"cameras":{"cam":{"boxes":{"names":["car"],"xyxy":[[1.0,2.0,3.0,4.5]]},"height":3,"model":"pinhole","width":4}},'
        b'"key":"a","scene":"s","tags":{"t":"v"}}'
    )


coordinate = st.floats(-1e4, 1e4, width=32)


@given(st.lists(st.lists(st.tuples(coordinate, coordinate), max_size=5), max_size=4), st.booleans())
def test_lanes_come_back_bit_by_bit(lines, scored):
    scores = np.linspace(0, 1, len(lines), dtype=np.float32) if scored else None
    lanes = Lanes(lines, ["a"] * len(lines), scores, [{"style": "dashed"}] * len(lines))
    camera = Camera(image=Encoded(b"jpeg", "jpg"), lanes=lanes)
    back = frame_from_parts(frame_to_parts(Frame("k", cameras={"c": camera}))).cameras["c"].lanes
    assert all(np.array_equal(a, b) and a.dtype == np.float32 for a, b in zip(lanes.points, back.points, strict=True))
    assert (back.scores is None) == (scores is None) and back.attributes == lanes.attributes
    assert scores is None or np.array_equal(back.scores, scores)


def test_depth_is_stored_as_kitti_does():
    depth = np.array([[0, 1, 2.5, 0.001, 300, np.nan, np.inf, -1]], np.float32)
    stored = np.asarray(Image.open(io.BytesIO(encode_pixels("depth", depth).data)))
    assert stored.tolist() == [[0, 256, 640, 1, 65535, 0, 0, 0]]
    back = decode_pixels("depth", encode_pixels("depth", depth))
    assert back.dtype == np.float32 and back[0, :3].tolist() == [0, 1, 2.5]
    with pytest.raises(ValueError, match="depth is no 16-bit picture"):
        decode_pixels("depth", png(np.zeros((2, 2), np.uint8)))
    with pytest.raises(ValueError, match="drivable is int64"):
        encode_pixels("drivable", np.zeros((2, 2), np.int64))


def test_the_index_knows_the_tasks_and_their_counts(shards):
    rows = shards.index.to_pylist()
    assert rows[0]["labelled"] == sorted(TASKS) and rows[3]["labelled"] == []
    assert set(rows[4]["labelled"]) == set(TASKS) - {"depth_estimation"}
    counts = {task: dict(found) for task, found in rows[0]["class_counts"]}
    assert counts["lane_detection"] == {"ego_left": 1, "ego_right": 1, "kerb left": 1} and counts["depth_estimation"] == {}
    assert counts["drivable_area"] == {"direct": 768, "alternative": 768, "background": 1536}
    assert shards.verify(full=True) == []
    found = shards.statistics(frames=False)
    assert found["labelled_frames"]["depth_estimation"] == 4 and found["class_counts"]["lane_detection"]["ego_left"] == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"depth": png(np.zeros((48, 64), np.uint8))}, "depth is no 16-bit picture"),
        ({"drivable": png(np.full((48, 64), 9, np.uint8))}, r"class ids \[9\] that are outside"),
        ({"drivable": png(np.zeros((24, 64), np.uint8))}, "drivable is 64 x 24, the image 64 x 48"),
        ({"instances": encode_pixels("instances", np.full((48, 64), 3, np.uint16))}, "instances holds 3, there are 2 boxes"),
        ({"lanes": Lanes([[[1, 2], [3, 4]]], ["ego_lft"])}, r"lane classes \['ego_lft'\]"),
        ({"lanes": Lanes([[[1, np.nan], [3, 4]]], ["ego_left"])}, "not finite"),
    ],
)
def test_wrong_labels_are_refused_when_they_are_written(tmp_path, change, told):
    class Wrong(Full):
        def load(self, ref):
            frame = super().load(ref)
            if ref == 1:
                frame.cameras["cam_front"] = dataclasses.replace(frame.cameras["cam_front"], **change)
            return frame

    with pytest.raises(DataError, match=told):
        convert(Wrong(4), tmp_path / "wrong")  # not one of those whose size is looked at first


def test_a_resized_set_moves_lanes_and_keeps_metres(tmp_path):
    opened = convert(Full(1), tmp_path / "set", resize="32x24")
    camera = camera_of(opened)
    assert camera.lanes.points[1].tolist() == [[25, 22], [25, 2]]
    whole, half = Full(1).load(0).cameras["cam_front"], decode_pixels("depth", camera.depth)
    assert half.shape == (24, 32) and np.array_equal(half, decode_pixels("depth", whole.depth)[1::2, 1::2])
    assert opened.verify(full=True) == []


def test_overlays_lay_every_kind_of_label(shards, tmp_path):
    keys = shards.index.column("key").to_pylist()
    drivable = np.zeros((48, 64), np.uint8)
    said = Camera(
        drivable=drivable, lanes=Lanes([[[1, 9], [2, 3]]], ["crossing"], [0.25]), depth=np.full((48, 64), 7, np.float32)
    )
    classes = {"drivable_area": [ClassInfo("background", 0)], "lane_detection": LANE_CLASSES, "depth_estimation": []}
    with OverlayWriter(tmp_path / "overlay") as writer:
        writer.add(keys[0], {"cam_front": said})
        writer.add(keys[1], {"cam_front": Camera(boxes=Boxes(np.zeros((0, 4)), []))})
        writer.finish("labels", classes, {}, shards.info)
    laid = open_shards(shards.path, [str(tmp_path / "overlay")])
    first, second, third = (camera_of(laid, number) for number in range(3))
    assert (decode_pixels("drivable", first.drivable) == 2).all()  # in the set's own ids
    assert first.lanes.names == ["crossing"] and first.lanes.scores.tolist() == [0.25]
    assert (decode_pixels("depth", first.depth) == 7).all() and first.semantic == camera_of(shards).semantic
    assert second.instances is None and third.instances is not None, "instances go with the boxes that they number"


# ---------------------------------------------------------------- as a batch


def test_a_batch_has_the_targets_of_the_table(shards):
    batch, rows = batch_of(spec(shards.path, {"resize": Resize(24, 32)}))
    camera = batch.camera
    for task in TASKS.values():
        assert set(camera.targets[task.name]) == set(task.targets), task.name
        for name, said in task.targets.items():
            tensor = camera.targets[task.name][name]
            assert said.startswith(str(tensor.dtype).removeprefix("torch.")), (task.name, name, tensor.dtype)
            assert tensor.ndim == said[: said.index("]")].count(",") + 1
    assert batch.camera.targets["depth_estimation"]["depth"].is_contiguous()
    first, none = rows["frame/00000"], rows["frame/00003"]
    lanes = {name: tensor[first] for name, tensor in camera.targets["lane_detection"].items()}
    assert lanes["valid"].tolist() == [True] * 3 and lanes["classes"].tolist() == [0, 1, 2]
    assert lanes["points"][0].tolist() == [[5, 24], [5, 10], [10, 2]], "cut at the lower edge"
    assert lanes["points_valid"].tolist() == [[True] * 3, [True, True, False], [True, True, False]]
    assert camera.targets["drivable_area"]["mask"][first, 12, :20:19].tolist() == [0, 1]
    depth = camera.targets["depth_estimation"]["depth"][first]
    assert depth[0, :3].tolist() == [2, 4, 6], "metres stay metres; each pixel from the centre of what it covers"
    assert {task: labelled[none].item() for task, labelled in camera.labelled.items()} == dict.fromkeys(TASKS, False)
    assert not camera.labelled["depth_estimation"][rows["frame/00004"]] and camera.labelled["drivable_area"][first]
    assert (camera.targets["drivable_area"]["mask"][none] == IGNORE).all()
    assert (
        not camera.targets["depth_estimation"]["depth"][none].any()
        and not camera.targets["lane_detection"]["valid"][none].any()
    )
    moved = batch.to("cpu").map(lambda tensor: tensor + 0)
    assert moved.camera.targets["lane_detection"]["points"].dtype == camera.targets["lane_detection"]["points"].dtype


def test_a_flip_exchanges_left_and_right_and_what_has_no_other_side_counts_for_nothing(shards):
    data = spec(shards.path, {"flip": ResizedFlip(48, 64)})
    batch, rows = batch_of(data)
    row = rows["frame/00000"]
    targets = {task: {name: tensor[row] for name, tensor in fields.items()} for task, fields in batch.camera.targets.items()}
    lanes = targets["lane_detection"]
    found = {lanes["classes"][i].item(): lanes["points"][i][lanes["points_valid"][i]].tolist() for i in range(2)}
    assert found == {1: [[54, 48], [54, 20], [44, 4]], 0: [[14, 44], [14, 4]]} and lanes["valid"].tolist() == [True, True]
    boxes = targets["object_detection"]
    assert boxes["classes"][boxes["valid"]].tolist() == [2, 0], "keep_left is a keep_right now"
    assert boxes["boxes"][0].tolist() == [55, 2, 61, 9]
    mask = targets["semantic_segmentation"]["mask"]
    assert (mask[-4:, -4:] == IGNORE).all() and set(mask[:-4].unique().tolist()) == {0, 1}
    assert targets["depth_estimation"]["depth"][0, :2].tolist() == [64, 63]
    assert mirrored_classes(["turn left", "Left-Lane", "leftover", "RIGHT", "LEFT", "turn right"]) == [5, 255, 2, 4, 3, 0]


def test_worker_processes_draw_the_same(shards):
    data = spec(shards.path, {"flip": ResizedFlip(24, 32)})
    (one, rows), (other, same) = batch_of(data), batch_of(data, workers=1)
    assert rows == same
    for task, fields in one.camera.targets.items():
        for name, tensor in fields.items():
            assert tensor.equal(other.camera.targets[task][name]), (task, name)


def test_pictures_of_unequal_sizes_are_padded(tmp_path, shards):
    big = convert(Full(1, size=(60, 80)), tmp_path / "big")
    data = spec(shards.path, {})
    data = dataclasses.replace(data, sources=(*data.sources, Source("big", big.path)))
    batch, _ = batch_of(data)
    depth, sizes = batch.camera.targets["depth_estimation"]["depth"], batch.camera.sizes.tolist()
    row = sizes.index([48, 64])
    assert depth.shape[1:] == (64, 96) and not depth[row, 48:].any() and not depth[row, :, 64:].any()
    assert (batch.camera.targets["drivable_area"]["mask"][row, 48:] == IGNORE).all()


def test_only_what_the_tasks_need_is_read_and_evaluation_gives_it_in_the_recipes_classes(shards):
    tasks = ("lane_detection", "depth_estimation", "drivable_area")
    taxonomy = {"drivable_area": {"alternative": "direct"}, "lane_detection": {"kerb left": "drop", "crossing": "ignore"}}
    data = spec(shards.path, {}, tasks, taxonomy=taxonomy)
    data = dataclasses.replace(
        data, classes={**NAMES, "drivable_area": ("background", "direct"), "lane_detection": NAMES["lane_detection"][:2]}
    )
    stream = loader().evaluation(data, batch_micro=6, rank=0, world=1, threads=1, pin=False)
    (batch,) = stream
    camera = batch.frames[0].cameras["cam_front"]
    assert (camera.semantic, camera.boxes, camera.instances) == (None, None, None)
    assert camera.lanes.names == ["ego_left", "ego_right"] and camera.drivable[-1].tolist() == [1] * 64
    assert camera.depth.dtype == np.float32 and camera.depth[0, :2].tolist() == [1, 2]
    bare = batch.frames[3].cameras["cam_front"]
    assert bare.depth is None and bare.lanes is None
    files = ("cam_front.jpg", "cam_front.depth.png", "cam_front.semantic.png", "cam_front.instances.png", "json")
    assert [name for name in files if stream._samples._maker.wanted(name)] == ["cam_front.jpg", "cam_front.depth.png", "json"]
    stream.close()


def test_a_name_that_one_task_has_alone_is_dropped_there_alone(shards):
    """A recipe's taxonomy is flat: ``car: ignore`` is said to all tasks, of which drivable area has no car."""
    everywhere = {task: {"car": "ignore"} for task in TASKS}
    batch, rows = batch_of(spec(shards.path, {}, taxonomy=everywhere))
    row = rows["frame/00000"]
    assert set(batch.camera.targets["semantic_segmentation"]["mask"][row].unique().tolist()) == {0, 2, IGNORE}
    assert set(batch.camera.targets["drivable_area"]["mask"][row].unique().tolist()) == {0, 1, 2}


# ---------------------------------------------------------------- geometry


@given(
    st.lists(st.tuples(st.integers(-30, 60), st.integers(-30, 60)), min_size=2, max_size=6),
    st.integers(5, 40),
    st.integers(5, 40),
)
def test_a_cut_line_is_the_longest_piece_inside(points, height, width):
    """Against a walk along the line in small steps."""
    line = np.array(points, np.float64)
    steps = np.linspace(0, 1, 2001)
    walked = np.concatenate([a + steps[:, None] * (b - a) for a, b in pairwise(line)])
    inside = ((walked >= 0) & (walked <= (width, height))).all(1)
    ends = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(int)))
    pieces = [walked[a:b] for a, b in zip(ends[::2], ends[1::2])]
    lengths = [np.hypot(*np.diff(piece, axis=0).T).sum() for piece in pieces]
    cut = clip_line(line, (height, width))
    length = np.hypot(*np.diff(cut.astype(float), axis=0).T).sum() if len(cut) else 0
    assert abs(length - max(lengths, default=0)) < 0.5
    assert ((cut >= 0) & (cut <= (width, height))).all()
    if length > 1:
        assert all(np.hypot(*(walked - point).T).min() < 0.2 for point in cut)


def test_a_view_moves_points_as_it_moves_boxes():
    view = View.identity(40, 80).scaled(20, 20).then(np.array([[-1.0, 0, 20], [0, 1, 3], [0, 0, 1]]), (30, 20))
    assert view.points(np.array([[8, 4]], np.float32)).tolist() == [[18, 5]] and view.mirrors
    assert view.boxes(np.array([[8, 4, 16, 8]]))[0].tolist() == [16, 5, 18, 7]


# ---------------------------------------------------------------- the kit


def test_the_kit_takes_a_model_of_five_tasks():
    classes = {**NAMES, "depth_estimation": ()}
    check_model(lambda context: five_tasks.Five(context.classes), five_tasks.TASKS, classes)


@pytest.mark.parametrize(
    ("field", "change", "words"),
    [
        ("depth", lambda depth: depth * 0, "not finite and above 0"),
        ("drivable", lambda mask: mask[:-1], "use original_sizes"),
        ("lanes", lambda lanes: Lanes(lanes.points, ["kerb"], lanes.scores), "are no classes"),
        ("lanes", lambda lanes: None, "lanes is None"),
        ("lanes", lambda lanes: Lanes([[[9, 40], [12, 8]]], lanes.names, lanes.scores), "lanes do not follow to_original"),
    ],
)
def test_the_kit_catches_wrong_predictions(field, change, words):
    class Wrong(five_tasks.Five):
        def predict(self, batch):
            said = super().predict(batch)
            for labels in (labels for one in said for labels in one.cameras.values()):
                setattr(labels, field, change(getattr(labels, field)))
            return said

    with pytest.raises(AssertionError, match=words):
        check_model(lambda context: Wrong(context.classes), five_tasks.TASKS, NAMES)


def test_jpg_and_json_are_all_that_a_bare_set_has(tmp_path):
    """An older set, whose json knows none of the newer labels, reads as it did."""
    opened = convert(Toy(2), tmp_path / "old")
    parts = opened.read(0, 0)
    assert set(parts) == {"cam_front.jpg", "cam_front.semantic.png", "json"}
    assert set(json.loads(bytes(parts["json"]))["cameras"]["cam_front"]) == {"boxes", "height", "model", "timestamp", "width"}
    assert jpg(np.zeros((8, 8, 3), np.uint8)).format == "jpg" and camera_of(opened).lanes is None
