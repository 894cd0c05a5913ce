"""What becomes of predictions: pseudo-labels by score, COCO's results, and pictures that are read without labels."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivetrain import Boxes, CameraLabels, ClassInfo, DataError, Overlay, UserError, open_shards
from drivetrain.comm import Comm
from drivetrain.evaluate import PredictionWriter
from drivetrain.footage import Pictures, is_shard_set, write_frames
from drivetrain.predicted import coco_rows, write_forms
from drivetrain.prediction import Prediction
from drivetrain.pseudo import Scores, pseudo_labels, write_pseudo_labels

sys.path.append(str(Path(__file__).parent))
from loader_toy import Toy, convert

NAMES = ("car", "person")


def boxes(names, scores) -> Boxes:
    return Boxes(np.array([[1, 2, 30, 40]] * len(names), np.float32), list(names), scores=np.array(scores))


def test_of_a_class_that_is_named_sure_boxes_count_and_doubtful_ones_are_ignored():
    found = boxes(["car", "car", "car", "person", "car"], [0.6, 0.59, 0.3, 0.99, 0.29])
    labels = pseudo_labels(found, Scores.of(["car=.6"], [], NAMES))
    assert labels.boxes.names == ["car"] * 3 and labels.boxes.ignore.tolist() == [False, True, True]
    assert labels.labelled_classes == {"object_detection": ("car",)}  # nobody looked for persons
    all_of_them = pseudo_labels(found, Scores.of([".5", "car=.6"], ["car=.6", "person=.2"], NAMES))
    assert all_of_them.boxes.names == ["car", "person"] and not all_of_them.boxes.ignore.any()
    assert set(all_of_them.labelled_classes["object_detection"]) == set(NAMES)


@pytest.mark.parametrize(("least", "doubted", "said"), [
    (["cars=.6"], [], "did you mean 'car'"), (["car=60"], [], "a number from 0 to 1"), (["car"], [], "CLASS=SCORE"),
    ([], [], "--min-score car=.6"), (["car=.6"], ["car=.7"], "above its --min-score 0.6"),
    (["car=.6"], ["person=.1"], "no class 'person'"),
])  # fmt: skip
def test_wrong_scores_are_told(least, doubted, said):
    with pytest.raises(UserError, match=said):
        Scores.of(least, doubted, NAMES)


def test_a_run_without_boxes_is_told_what_its_predictions_are():
    with pytest.raises(UserError, match="an overlay itself"):
        Scores.of([".5"], [], ())


@pytest.fixture
def predictions(tmp_path):
    """A toy set, and a prediction set of some of its frames."""
    shards = convert(Toy(5), tmp_path / "shards")
    keys = shards.index.column("key").to_pylist()
    about = {"run": "r1", "step": 7, "classes": {"object_detection": NAMES, "semantic_segmentation": ("road", "car")}}
    comm = Comm.start()
    with PredictionWriter(tmp_path / "predictions", comm) as writer:
        for number in (4, 0, 2):
            said = CameraLabels(boxes(NAMES, [0.9, 0.4]), np.full((48, 64), number % 2, np.uint8))
            writer.add(Prediction(keys[number], {"cam_front": said}))
        writer.finish(about)
    comm.close()
    return shards, Overlay(tmp_path / "predictions")


def test_pseudo_labels_lie_over_the_set_and_name_their_run(predictions, tmp_path):
    shards, overlay = predictions
    write_pseudo_labels(shards, overlay, tmp_path / "pseudo", Scores.of([".5"], [], NAMES), print)
    made = Overlay(tmp_path / "pseudo")
    assert made.info["made_from"]["run"] == "r1" and made.info["base"]["content_id"] == shards.info["content_id"]
    laid = open_shards(shards.path, [str(tmp_path / "pseudo")])
    mine, plain = (opened.frame(2).cameras["cam_front"] for opened in (laid, shards))
    assert mine.boxes.names == list(NAMES) and mine.boxes.ignore.tolist() == [False, True]
    assert mine.semantic.data == plain.semantic.data and laid.frame(1).cameras["cam_front"].boxes.scores is None


def test_forms_for_others_are_in_stored_order(predictions, tmp_path):
    import json

    shards, overlay = predictions
    colors = {task: [ClassInfo(c.name, c.id) for c in infos] for task, infos in overlay.classes.items()}
    write_forms(shards, overlay, tmp_path / "out", colors, panels=0)
    assert not (tmp_path / "out" / "pictures").exists() and len(list((tmp_path / "out" / "semantic").glob("*.png"))) == 3
    write_forms(shards, overlay, tmp_path / "out", colors, panels=None)
    assert len(list((tmp_path / "out" / "pictures").glob("*.png"))) == 3
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    about = json.loads((tmp_path / "out" / "images.json").read_text())
    named = {one["id"]: one["name"] for one in about["categories"]}
    keys = shards.index.column("key").to_pylist()
    assert [image["key"] for image in about["images"]] == [keys[number] for number in (0, 2, 4)]
    assert [named[row["category_id"]] for row in rows] == list(NAMES) * 3 and rows[0]["bbox"] == [1, 2, 29, 38]
    assert [row["image_id"] for row in rows[::2]] == [image["id"] for image in about["images"]]


def test_coco_reads_the_results(tmp_path):
    from pycocotools.coco import COCO

    truth = COCO()
    truth.dataset = {"images": [{"id": 3}], "annotations": [], "categories": [{"id": 1, "name": "car"}], "info": {}}
    truth.createIndex()
    read = truth.loadRes(list(coco_rows(boxes(["car"], [0.5]), 3, {"car": 1})))
    assert [one["area"] for one in read.anns.values()] == [29 * 38]


def test_what_is_no_picture_is_told(tmp_path):
    pictures = Pictures({})
    with pytest.raises(DataError, match=r"no \.jpg or \.png"):
        pictures.index(tmp_path, "predict")
    for name in ("a.png", "a.jpg"):
        (tmp_path / name).write_bytes(b"no picture")
    with pytest.raises(DataError, match="but for the suffix"):
        pictures.index(tmp_path, "predict")
    with pytest.raises(DataError, match="mend it"):
        pictures.load(("a", tmp_path / "a.png"))
    assert pictures.index(tmp_path / "a.png", "predict") == [("a", tmp_path / "a.png")]
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="no frame can be read"):
        write_frames(tmp_path / "a.mp4", tmp_path / "frames")
    assert is_shard_set("s3://bucket/set") and not is_shard_set(str(tmp_path))


def test_a_video_becomes_numbered_pictures(tmp_path):
    video = tmp_path / "drive.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10, (64, 48))
    for number in range(3):
        writer.write(np.full((48, 64, 3), 80 * number, np.uint8))
    writer.release()
    assert write_frames(video, tmp_path / "frames") == 3
    means = [cv2.imread(str(path)).mean() for path in sorted((tmp_path / "frames").glob("*.jpg"))]
    assert np.allclose(means, [0, 80, 160], atol=2)
