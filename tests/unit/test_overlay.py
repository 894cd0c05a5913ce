"""Overlays: what lies over shards takes their place, nothing else changes, and damage is told."""

from __future__ import annotations

import json
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain import (
    Boxes,
    Camera,
    CameraLabels,
    ClassInfo,
    DataError,
    Overlay,
    OverlayWriter,
    Source,
    UserError,
    frame_to_parts,
    open_shards,
)
from drivetrain.overlay import PartWriter, finish_overlay, prepare_aside

sys.path.append(str(Path(__file__).parent))
import loader_toy
from loader_toy import RECIPE_CLASSES, Toy, convert, loader, png

CLASSES = {"object_detection": loader_toy.BOX_CLASSES}
names = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=80)


def boxes(*classes: str) -> Boxes:
    return Boxes(np.array([[1, 2, 30, 40]] * len(classes), np.float32), list(classes))


def write(path, labels, classes=CLASSES, **more) -> str:
    with OverlayWriter(path) as writer:
        for key, camera in labels.items():
            writer.add(key, {"cam_front": camera})
        writer.finish("labels", classes, {"annotators": "a test"}, **more)
    return str(path)


@pytest.fixture
def shards(tmp_path):
    return convert(Toy(10), tmp_path / "shards")


@settings(max_examples=30)
@given(st.dictionaries(names, st.lists(st.sampled_from(["car", "person"]), max_size=3), max_size=12), st.integers(1, 3))
def test_what_is_written_by_any_number_of_ranks_is_found_by_key(tmp_path_factory, found, ranks):
    folder = tmp_path_factory.mktemp("o") / "overlay"
    aside = prepare_aside(folder)
    parts = [PartWriter(aside, rank) for rank in range(ranks)]
    for number, (key, classes) in enumerate(found.items()):
        parts[number % ranks].add(key, {"cam_front": CameraLabels(boxes(*classes), np.full((2, 3), number, np.uint8))})
    finish_overlay(aside, folder, [part.close() for part in parts], "labels", CLASSES, {})
    overlay = Overlay(folder)
    assert overlay.keys() == sorted(found) and overlay.labels("no such key" * 20) is None
    for key, classes in found.items():
        camera = overlay.labels(key)["cam_front"]
        assert camera.boxes.names == classes and camera.semantic.data[:4] == b"\x89PNG"
    members = 0
    for part in overlay.info["parts"]:  # any reader of tars opens them
        with tarfile.open(folder / part) as tar:
            members += len(tar.getnames())
    assert members == 2 * len(found)


def test_labels_take_the_place_of_the_shards_and_absent_is_not_empty(shards, tmp_path):
    keys = shards.index.column("key").to_pylist()
    mask = np.full((48, 64), 3, np.uint8)
    labels = {
        keys[1]: Camera(boxes=boxes("person"), labelled_classes={"object_detection": ("person",)}),
        keys[2]: Camera(boxes=boxes()),
        keys[3]: Camera(semantic=png(mask), ignore_regions=np.array([[0, 0, 5, 5]])),
    }
    overlay = write(tmp_path / "overlay", labels, {**shards.classes, **CLASSES}, base=shards.info)
    laid, plain = open_shards(shards.path, [overlay]), open_shards(shards.path)
    assert laid.info["order_id"] == plain.info["order_id"] and laid.classes == plain.classes
    before, after = ([frame.cameras["cam_front"] for frame in map(opened.frame, range(10))] for opened in (plain, laid))
    for number in (0, *range(4, 10)):
        assert frame_to_parts(laid.frame(number)) == frame_to_parts(plain.frame(number))
    assert after[1].boxes.names == ["person"] and after[1].labelled_classes == {"object_detection": ("person",)}
    assert after[1].semantic == before[1].semantic and after[3].boxes.names == before[3].boxes.names
    assert len(after[2].boxes) == 0 and after[3].semantic.data == png(mask).data
    assert after[3].ignore_regions.tolist() == [[0, 0, 5, 5]]


def test_later_overlays_win_per_task(shards, tmp_path):
    key = shards.index.column("key")[0].as_py()
    both = Camera(boxes=boxes("car"), semantic=png(np.zeros((48, 64), np.uint8)))
    first = write(tmp_path / "first", {key: both}, shards.classes)
    second = write(tmp_path / "second", {key: Camera(boxes=boxes("person", "car"))})
    camera = open_shards(shards.path, [first, second]).frame(0).cameras["cam_front"]
    assert camera.boxes.names == ["person", "car"] and camera.semantic.data == both.semantic.data


def test_new_classes_do_not_claim_that_the_shards_were_searched_for_them(shards, tmp_path):
    key = shards.index.column("key")[0].as_py()
    mask_classes = {"semantic_segmentation": [ClassInfo("cone", 0), ClassInfo("road", 1)]}
    classes = {"object_detection": [ClassInfo("cone", 0)], **mask_classes}
    mask = np.repeat(np.array([[0, 1, 255]], np.uint8), 48, 0).repeat([22, 21, 21], 1)
    overlay = write(tmp_path / "overlay", {key: Camera(boxes=boxes("cone"), semantic=png(mask))}, classes)
    laid = open_shards(shards.path, [overlay])
    assert [(info.name, info.id) for info in laid.classes["semantic_segmentation"]] == [
        ("road", 0), ("car", 3), ("void", 7), ("cone", 1)]  # fmt: skip
    first, second = (laid.frame(number).cameras["cam_front"] for number in (0, 1))
    assert first.labelled_classes == {"object_detection": ("cone",), "semantic_segmentation": ("cone", "road")}
    assert second.labelled_classes == {"object_detection": ("car", "person"), "semantic_segmentation": ("road", "car", "void")}
    assert first.semantic[0, [0, 30, 60]].tolist() == [1, 0, 255]  # in the joined ids


def test_streams_give_the_overlays_labels_in_the_same_order(shards, tmp_path):
    keys = shards.index.column("key").to_pylist()
    overlay = write(tmp_path / "overlay", {key: Camera(boxes=boxes("person", "person")) for key in keys[:5]})
    spec = loader_toy.spec(shards.path, transforms={})

    def read(overlays):
        laid = loader_toy.DataSpec((Source("toy", shards.path, overlays=overlays),), *list(vars(spec).values())[1:])
        stream = loader().training(laid, batch_global=5, batch_micro=5, rank=0, world=1, threads=2, pin=False)
        try:
            return {
                key: (int(n), count)
                for n in range(2)
                for batch in [next(stream.batches(n))]
                for key, count in zip(batch.keys, batch.camera.targets["object_detection"]["valid"].sum(1).tolist())
            }
        finally:
            stream.close()

    plain, laid = read(()), read((overlay,))
    assert list(plain) == list(laid) and set(plain) == set(keys)
    assert {key for key in keys if laid[key][1] == 2} == set(keys[:5])
    assert RECIPE_CLASSES["object_detection"] == ("person", "car")


def test_one_overlay_is_read_by_many_threads(shards, tmp_path):
    keys = [f"k{i}" for i in range(300)]
    overlay = Overlay(write(tmp_path / "overlay", {key: Camera(boxes=boxes(*["car"] * (i % 5))) for i, key in enumerate(keys)}))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda key: len(overlay.labels(key)["cam_front"].boxes), keys * 5))
    assert found == [i % 5 for i in range(300)] * 5


def test_an_overlay_of_another_set_is_refused_and_strange_keys_are_told(shards, tmp_path):
    key = shards.index.column("key")[0].as_py()
    strange = write(tmp_path / "strange", {"elsewhere": Camera(boxes=boxes())})
    with pytest.raises(DataError, match="none of its 1 keys is in this set, toy train: it was made from annotators a test"):
        open_shards(shards.path, [strange])
    some = write(tmp_path / "some", {"elsewhere": Camera(boxes=boxes()), key: Camera(boxes=boxes())})
    with pytest.warns(UserWarning, match="1 of its 2 keys are not in the set"):
        open_shards(shards.path, [some])


def test_damage_and_half_written_overlays_are_told(shards, tmp_path):
    key = shards.index.column("key")[0].as_py()
    overlay = tmp_path / "overlay"
    write(overlay, {key: Camera(boxes=boxes("car"))})
    with pytest.raises(UserError, match="is there already"):
        OverlayWriter(overlay)
    part = overlay / "part-00000.tar"
    whole = part.read_bytes()
    part.write_bytes(whole[:600] + b"#" + whole[601:])
    with pytest.raises(DataError, match="do not match their checksum"):
        open_shards(shards.path, [str(overlay)]).frame(0)
    lookup = overlay / "lookup.bin"
    lookup.write_bytes(lookup.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"lookup\.bin is not the one"):
        Overlay(overlay)
    info = json.loads((overlay / "overlay.json").read_text())
    (overlay / "overlay.json").write_text(json.dumps(info | {"format_version": 9}))
    with pytest.raises(DataError, match="overlay format 9"):
        Overlay(overlay)
    (overlay / "overlay.json").unlink()
    with pytest.raises(DataError, match=r"it has no overlay\.json"):
        Overlay(overlay)
