"""CULane and TuSimple, made, and TuSimple's lanes in real pictures."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pytest
from unit import lanes_made as made

from drivetrain import DataError
from drivetrain.data import build_with, open_dataset
from drivetrain.manager import get_manager
from drivetrain.testing.datasets import check_dataset


def scored(name, truth, predictions, ids=None, **options):
    scorer = build_with(get_manager().resolve("scorer", name), options)(truth, predictions, ids)
    return scorer.figures(np.ones(len(scorer.keys), np.int64))


@pytest.fixture
def culane(tmp_path, synthetic_frames):
    made.write_culane(tmp_path, synthetic_frames)
    return tmp_path


@pytest.fixture
def tusimple(tmp_path, synthetic_frames):
    made.write_tusimple(tmp_path, synthetic_frames)
    return tmp_path


def test_culane_is_read_as_it_was_written(culane):
    frames = check_dataset(open_dataset("culane", {})[1], culane, "train")
    assert [frame.scene for frame in frames] == [video for video in made.VIDEOS for _ in range(2)]
    assert frames[1].key == f"{made.VIDEOS[0]}/00030" and [frame.tags.get("category") for frame in frames[2:]] == [
        "night",
        "curve",
    ]
    lanes = frames[0].cameras["cam_front"].lanes
    for points, bottom in zip(lanes.points, made.LEFT_AT_THE_BOTTOM):
        np.testing.assert_allclose(points, made.lane(bottom)[::-1], atol=1e-3)
    assert lanes.names == ["lane"] * 3 and lanes.points[0][0, 0] < 0
    none = frames[3].cameras["cam_front"].lanes
    assert none is not None and len(none) == 0  # somebody looked


def test_culanes_lists_are_its_splits(culane):
    dataset = open_dataset("culane", {})[1]
    sizes = {split: len(dataset.index(culane, split)) for split in ("train", "test", "test8_night", "test6_curve")}
    assert sizes == {"train": 4, "test": 2, "test8_night": 1, "test6_curve": 1}


def test_what_is_read_of_culane_is_right_by_its_metric(culane, tmp_path):
    dataset = open_dataset("culane", {})[1]
    for frame in map(dataset.load, dataset.index(culane, "train")):
        lines = (" ".join(f"{v:.3f}" for v in points.ravel()) for points in frame.cameras["cam_front"].lanes.points)
        made.save(tmp_path / "found" / f"{frame.key}.lines.txt", "\n".join(lines))
    ids = [f"/{ref.name}" for ref in dataset.index(culane, "train")]
    figures = scored("culane", culane, tmp_path / "found", ids, width=192, height=128, lane_width=10)["iou"]["0.5"]
    assert (figures["tp"], figures["fp"], figures["fn"]) == (9, 0, 0)


def test_tusimple_is_read_as_it_was_written(tusimple):
    dataset = open_dataset("tusimple", {})[1]
    frames = check_dataset(dataset, tusimple, "train")
    assert [(f.key, f.scene) for f in frames] == [(f"clips/0313-1/{60 * i}/20", f"clips/0313-1/{60 * i}") for i in range(3)]
    lanes = frames[0].cameras["cam_front"].lanes
    assert [len(points) for points in lanes.points] == [len(made.ROWS), 6]  # the third one is nowhere
    np.testing.assert_allclose(lanes.points[1], made.lane(130.75, made.ROWS[:6])[::-1].astype(int))
    assert len(dataset.index(tusimple, "label_data_0531")) == len(dataset.index(tusimple, "test")) == 1
    (tusimple / "test_label.json").rename(tusimple / "test_tasks_0627.json")
    assert check_dataset(dataset, tusimple, "test")[0].cameras["cam_front"].lanes is None


def test_what_is_read_of_tusimple_is_right_by_its_metric(tusimple, tmp_path):
    dataset = open_dataset("tusimple", {})[1]
    lines = []
    for frame in map(dataset.load, dataset.index(tusimple, "label_data_0313")):
        row = json.loads(made.tusimple_row(f"{frame.key}.jpg", frame.cameras["cam_front"].lanes.points))
        lines.append(json.dumps(row | {"run_time": 10}) + "\n")
    made.save(tmp_path / "found.json", "".join(lines))
    truth = (tusimple / "label_data_0313.json").read_text().replace(", [" + ", ".join(["-2"] * len(made.ROWS)) + "]", "")
    made.save(tmp_path / "truth.json", truth)  # in which a lane that is nowhere would have to be found
    figures = scored("tusimple", tmp_path / "truth.json", tmp_path / "found.json")
    assert (figures["accuracy"], figures["fp"], figures["fn"]) == (1, 0, 0)


def test_lanes_lie_on_those_drawn_in_real_pictures(shared, tmp_path):
    """TuSimple's json lines, made of masks that were drawn from it: what is read lies on the masks again."""
    source, masks, lines = shared / "data" / "lanes_tusimple_lanenet", {}, []
    for path in sorted((source / "image").glob("*.png")):
        mask = masks[f"clips/{path.stem}/20"] = cv2.imread(str(source / "gt_instance_image" / path.name), cv2.IMREAD_GRAYSCALE)
        made.save(tmp_path / f"clips/{path.stem}/20.jpg", cv2.imencode(".jpg", cv2.imread(str(path)))[1].tobytes())
        rows = range(240, 720, 10)
        drawn = [[(np.flatnonzero(mask[y] == lane).mean(), y) for y in rows if (mask[y] == lane).any()]
                 for lane in sorted(set(np.unique(mask).tolist()) - {0})]  # fmt: skip
        lines.append(made.tusimple_row(f"clips/{path.stem}/20.jpg", drawn, rows))
    made.save(tmp_path / "label_data_0313.json", "".join(lines))
    frames = check_dataset(open_dataset("tusimple", {})[1], tmp_path, "train")
    assert len(frames) == 4 and {len(frame.cameras["cam_front"].lanes) for frame in frames} == {4, 5}
    for frame in frames:
        for points in frame.cameras["cam_front"].lanes.points:
            x, y = points.astype(int).T
            assert len(points) >= 8 and len(np.unique(masks[frame.key][y, x])) == 1 and masks[frame.key][y[0], x[0]]


def test_what_is_wrong_is_named(culane, tusimple):
    lanes, highways = (open_dataset(name, {})[1] for name in ("culane", "tusimple"))
    with pytest.raises(DataError, match=r"missing list/val.txt(.|\n)*splits here: test6_curve, test8_night, train, test"):
        lanes.index(culane, "val")
    ref = lanes.index(culane, "train")[0]
    ref.file(".lines.txt").write_text("1 2 3 4\n1 2 3\n")
    with pytest.raises(DataError, match=r"00000.lines.txt:2: is no lane of x y x y"):
        lanes.load(ref)
    ref.file(".lines.txt").unlink()
    with pytest.raises(DataError, match=r"names 8 files, 1 of them are not there\n(.|\n)*00000.lines.txt"):
        lanes.index(culane, "train")
    with pytest.raises(DataError, match=r"missing val.json\n(.|\n)*found: clips/"):
        highways.index(tusimple, "val")
    labels = tusimple / "label_data_0531.json"
    text = labels.read_text()
    labels.write_text(text.replace("30, ", "", 1))
    with pytest.raises(DataError, match=r"label_data_0531.json: clips/0313-1/120/20.jpg: is no lanes with an x"):
        highways.load(highways.index(tusimple, "label_data_0531")[0])
    labels.write_text(text + "{}\n")
    with pytest.raises(DataError, match=r"label_data_0531.json:2: is no JSON with a raw_file: KeyError"):
        highways.index(tusimple, "train")
    labels.write_text(text)
    (tusimple / "clips/0313-1/120/20.jpg").unlink()
    with pytest.raises(DataError, match="names 3 files, 1 of them are not there"):
        highways.index(tusimple, "train")
