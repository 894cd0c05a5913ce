"""Streams: the same batches whatever the threads and ranks, damage replaced and told, evaluation exactly once."""

import errno
import json
import os
import sys
import threading
import time
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch

from drivetrain import IGNORE, Boxes, ClassInfo, DataError, RecipeError, Transform
from drivetrain.plugins.loaders.webdataset.shards import Table

sys.path.append(str(Path(__file__).parent))
from loader_toy import RECIPE_CLASSES, Resize, Toy, convert, loader, png, spec


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return Path(convert(Toy(37), tmp_path_factory.mktemp("loader") / "set").path)


def training(data, batch=(8, 2), rank=0, world=1, threads=2, **config):
    return loader(**{"window": 2, **config}).training(
        data, batch_global=batch[0], batch_micro=batch[1], rank=rank, world=world, threads=threads, pin=False
    )


def evaluation(data, micro=4, rank=0, world=1, threads=2):
    return loader().evaluation(data, batch_micro=micro, rank=rank, world=world, threads=threads, pin=False)


def first(stream, count, step=0):
    """Copies of ``count`` batches; the stream is closed."""
    try:
        batches = []
        for batch in islice(stream.batches(step), count):
            batches.append(batch.keep())
            batch.release()
        return batches
    finally:
        stream.close()


def flat(batch) -> list[torch.Tensor]:
    tensors = []
    batch.map(lambda t: tensors.append(t) or t)
    return [batch.positions, *tensors]


def assert_equal(a, b):
    assert len(a) == len(b)
    for one, two in zip(a, b):
        assert (one.keys, one.step, one.slot) == (two.keys, two.step, two.slot)
        assert all(x.dtype == y.dtype and torch.equal(x, y) for x, y in zip(flat(one), flat(two), strict=True))


def damage(shards: Path, number: int, per_shard: int = 4) -> None:
    """Spoil one byte of sample ``number``."""
    name = f"shard-{number // per_shard:06d}"
    [sample] = Table.read(shards / f"{name}.idx").pieces(number % per_shard)
    data = bytearray((shards / f"{name}.tar").read_bytes())
    data[sample.offset + sample.length // 2] ^= 0xFF
    (shards / f"{name}.tar").write_bytes(data)


# ---------------------------------------------------------------- the same batches


def test_what_a_batch_holds(shards):
    [batch] = first(training(spec(shards)), 1)
    camera = batch.camera
    assert batch.camera_name == "cam_front" and len(batch) == 2 and batch.frames is None
    assert camera.images.shape == (2, 24, 32, 3) and camera.images.dtype == torch.uint8
    assert camera.sizes.tolist() == [[24, 32]] * 2 and camera.original_sizes.tolist() == [[48, 64]] * 2
    boxes = camera.targets["object_detection"]
    assert boxes["boxes"].shape == (2, 1, 4) and boxes["boxes"].dtype == torch.float32
    assert boxes["classes"].tolist() == [[1], [1]] and boxes["classes"].dtype == torch.int64
    assert boxes["valid"].all() and boxes["ignore_boxes"].shape == (2, 0, 4)
    mask = camera.targets["semantic_segmentation"]["mask"]
    assert mask.shape == (2, 24, 32) and set(mask.unique().tolist()) <= {0, 1, IGNORE}
    assert camera.labelled["object_detection"].tolist() == [True, True]
    assert camera.labelled_classes["object_detection"].tolist() == [[True, True]] * 2
    assert batch.positions.tolist() == [0, 4], "slot 0 of 4 slots"


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("prefetch", [1, 7])
def test_neither_threads_nor_read_ahead_change_a_bit(shards, threads, prefetch):
    assert_equal(
        first(training(spec(shards), threads=0), 30), first(training(spec(shards), threads=threads, prefetch=prefetch), 30)
    )


@pytest.mark.parametrize("world", [2, 4])
def test_the_world_size_changes_no_micro_batch(shards, world):
    whole = {(b.step, b.slot): b for b in first(training(spec(shards)), 24)}
    for rank in range(world):
        for batch in first(training(spec(shards), rank=rank, world=world), 24 // world):
            assert_equal([batch], [whole.pop((batch.step, batch.slot))])
    assert not whole


def test_a_stream_goes_on_at_any_step(shards):
    whole = first(training(spec(shards)), 40)
    for step in (1, 4, 9):
        assert_equal(first(training(spec(shards)), 4, step), whole[4 * step : 4 * step + 4])
    stream = training(spec(shards))
    assert_equal([b.keep() for b in islice(stream.batches(3), 2)], whole[12:14])
    assert_equal([b.keep() for b in islice(stream.batches(1), 2)], whole[4:6])
    stream.close()


def test_an_epoch_has_every_sample_once_and_a_step_may_span_two(shards):
    batches = first(training(spec(shards)), 40)
    drawn = sorted((p, key) for b in batches for p, key in zip(b.positions.tolist(), b.keys))[:74]
    assert [p for p, _ in drawn] == list(range(74))
    assert {key for _, key in drawn[:37]} == {key for _, key in drawn[37:]} and len({key for _, key in drawn}) == 37


def test_keys_foretell_the_batches(shards):
    stream = training(spec(shards), rank=1, world=2)
    keys = [stream.keys(step) for step in range(3)]
    for batch in first(stream, 6):
        assert batch.keys == keys[batch.step][batch.slot]


def test_a_transform_more_leaves_the_draws_of_the_others(shards):
    class Nothing(Transform):
        def view(self, view, rng):
            rng.uniform()
            return view

    few = spec(shards)
    more = spec(shards, transforms={"nothing": Nothing(), **few.transforms})
    assert_equal(first(training(few), 8), first(training(more), 8))


def test_epochs_augment_anew(shards):
    images = {}
    for batch in first(training(spec(shards)), 40):
        for key, image in zip(batch.keys, batch.camera.images):
            images.setdefault(key, []).append(image)
    assert sum(not torch.equal(*pair[:2]) for pair in images.values()) > 30


@pytest.mark.parametrize(("samples", "batch", "world"), [(1, (4, 2), 2), (3, (8, 2), 4), (2, (3, 3), 1)])
def test_sets_smaller_than_a_batch_train(tmp_path, samples, batch, world):
    convert(Toy(samples), tmp_path / "set")
    for rank in range(world):
        for made in first(training(spec(tmp_path / "set"), batch=batch, rank=rank, world=world), 5):
            assert len(made) == batch[1]


def test_several_sources_are_one_order(shards, tmp_path):
    convert(Toy(6, keys=[f"other{i}" for i in range(6)]), tmp_path / "other")
    stream = training(spec(shards, tmp_path / "other"))
    assert stream.order_id not in (training(spec(shards)).order_id, training(spec(tmp_path / "other")).order_id)
    positions = {p: key for b in first(stream, 24) for p, key in zip(b.positions.tolist(), b.keys)}
    assert len({positions[p] for p in range(43)}) == 43


def test_state_tells_what_differs(shards, tmp_path):
    stream = training(spec(shards))
    state = json.loads(json.dumps(stream.state(7)))
    assert state["position"] == 56 and len(json.dumps(state)) < 1000
    assert stream.resume(state) == [] == training(spec(shards), rank=1, world=2).resume(state)
    convert(Toy(36), tmp_path / "other")
    changed = [training(spec(shards, seed=6)), training(spec(shards), batch=(8, 4)), training(spec(shards), window=3)]
    told = [" ".join(other.resume(state)) for other in [*changed, training(spec(tmp_path / "other"))]]
    for words, expected in zip(told, ["the seed: 5 when it was saved, 6 now", "batch.micro", "loader.window: 2", "10 shards"]):
        assert expected in words
    assert training(spec(shards)).resume({})


# ---------------------------------------------------------------- buffers


def test_a_released_batch_is_spoilt_and_a_kept_one_is_not(shards, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_POISON", "1")
    stream = training(spec(shards), threads=0)  # nobody else takes what is given back
    [truth] = first(training(spec(shards)), 1)
    batch = next(stream.batches(0))
    kept = batch.keep()
    images, mask = batch.camera.images, batch.camera.targets["semantic_segmentation"]["mask"]
    moved = batch.to("cpu")
    moved.release()
    batch.release()
    stream.close()
    assert (images == 0xA5).all() and (mask == 0xA5).all()
    assert_equal([kept], [truth])


def test_buffers_are_used_again_and_never_waited_for(shards):
    stream = training(spec(shards, transforms={"resize": Resize(24, 32)}), threads=1, prefetch=2)
    places = set()
    for batch in islice(stream.batches(0), 40):
        places.add(batch.camera.images.data_ptr())
        batch.release()
    assert len(places) <= 4
    held = list(islice(stream.batches(0), 20))
    assert len({batch.camera.images.data_ptr() for batch in held}) == 20
    stream.close()


@pytest.mark.parametrize("threads", [0, 2])
def test_an_abandoned_run_gives_its_buffers_back(shards, threads):
    stream = training(spec(shards), threads=threads, prefetch=6)
    for _ in range(3):
        run = stream.batches(0)
        next(run).release()
        run.close()
    deadline = time.monotonic() + 5
    while stream._pipeline._ring._leased and time.monotonic() < deadline:
        time.sleep(0.01)
    assert stream._pipeline._ring._leased == 0
    stream.close()


def test_pictures_of_unequal_sizes_are_padded(tmp_path):
    class Vary(Transform):
        def view(self, view, rng):
            return view.scaled(20 + rng.integer(0, 3) * 20, 50)

    convert(Toy(8), tmp_path / "set")
    data = spec(tmp_path / "set", transforms={"vary": Vary()})
    seen = set()
    for batch in first(training(data, batch=(4, 4), threads=3), 12):
        camera, mask = batch.camera, batch.camera.targets["semantic_segmentation"]["mask"]
        heights = set(camera.sizes[:, 0].tolist())
        seen.add(len(heights))
        expected = (max(heights), 50) if len(heights) == 1 else (-(-max(heights) // 32) * 32, 64)
        assert camera.images.shape[1:3] == mask.shape[1:] == expected
        for image, ids, (height, width) in zip(camera.images, mask, camera.sizes.tolist()):
            assert not image[height:].any() and not image[:, width:].any() and image[:height, :width].any()
            assert (ids[height:] == IGNORE).all() and (ids[:, width:] == IGNORE).all() and (ids[1:height, :width] < 2).any()
    assert seen >= {1, 2} or seen >= {2, 3}


# ---------------------------------------------------------------- damage


def test_a_damaged_sample_is_replaced_the_same_way_always(shards, tmp_path):
    convert(Toy(37), tmp_path / "set")
    damage(tmp_path / "set", 11)
    runs = []
    for threads in (0, 3):
        stream = training(spec(tmp_path / "set"), threads=threads, max_damaged_share=0.5)
        stream.quarantine_path = tmp_path / f"quarantine{threads}.jsonl"
        runs.append(first(stream, 40))
        assert stream.counters()["replaced"] == len(stream.quarantine.records) == 3, (
            "80 draws of 37 samples, the third time by chance"
        )
        assert stream.quarantine.records[0]["key"] == "frame/00011" and "checksum" in stream.quarantine.records[0]["why"]
        lines = stream.quarantine_path.read_text().splitlines()
        assert [json.loads(line) for line in lines] == stream.quarantine.records
    assert_equal(*runs)
    sound = first(training(spec(shards)), 40)
    differing = [(a, b) for one, two in zip(runs[0], sound) for a, b in zip(one.keys, two.keys) if a != b]
    assert [b for _, b in differing] == ["frame/00011"] * 3 and "frame/00011" not in [a for a, _ in differing]


def test_bytes_that_no_decoder_takes_are_damage_too(tmp_path):
    data = bytearray(Toy(1).load(0).cameras["cam_front"].image.data)
    broken = Toy(1).load(0).cameras["cam_front"].image.__class__(bytes(data[: len(data) // 2]), "jpg")
    convert(Toy(20, changes={3: {"image": broken}}), tmp_path / "set")
    stream = training(spec(tmp_path / "set"), max_damaged_share=1)
    first(stream, 20)
    assert {record["key"] for record in stream.quarantine.records} == {"frame/00003"}


@pytest.mark.parametrize("samples", [12, 150])
def test_too_much_damage_stops_training(tmp_path, samples):
    convert(Toy(samples), tmp_path / "set")
    for number in range(0, samples, 4):
        damage(tmp_path / "set", number)
    with pytest.raises(DataError, match=r"max_damaged_share = 0.01[\s\S]*drivetrain data verify"):
        first(training(spec(tmp_path / "set")), 100)
    assert first(training(spec(tmp_path / "set"), max_damaged_share=0.5), 100)


def test_one_damaged_sample_in_a_thousand_draws_is_borne(tmp_path):
    convert(Toy(150), tmp_path / "set", samples_per_shard=50)
    damage(tmp_path / "set", 60, per_shard=50)
    stream = training(spec(tmp_path / "set"), batch=(10, 10))
    first(stream, 40)
    assert stream.counters()["replaced"] in (2, 3)


def test_nothing_but_damage_is_an_error_and_no_hang(tmp_path):
    convert(Toy(1), tmp_path / "set")
    damage(tmp_path / "set", 0)
    with pytest.raises(DataError, match="in a row are damaged"):
        first(training(spec(tmp_path / "set"), max_damaged_share=1), 1)
    with pytest.raises(DataError, match="not one sample"):
        list(evaluation(spec(tmp_path / "set")))


def test_an_io_failure_is_retried_then_raised(tmp_path, monkeypatch):
    convert(Toy(8), tmp_path / "set")
    tar = tmp_path / "set/shard-000001.tar"
    tar.rename(tmp_path / "away")
    with pytest.raises(OSError, match="shard-000001"):
        first(training(spec(tmp_path / "set")), 10)
    (tmp_path / "away").rename(tar)
    pread, failures = os.pread, iter([OSError(errno.EIO, "Input/output error")] * 3)

    def failing(*args):
        if error := next(failures, None):
            raise error
        return pread(*args)

    monkeypatch.setattr(os, "pread", failing)
    stream = training(spec(tmp_path / "set"))
    assert len(first(stream, 10)) == 10 and stream.counters()["replaced"] == 0


def test_a_wrong_label_is_no_damage(tmp_path):
    """Such a set cannot be written by us: the declared classes are changed behind its back."""
    convert(Toy(8), tmp_path / "set")
    info = json.loads((tmp_path / "set/dataset.json").read_text())
    whole = info["classes"]["semantic_segmentation"]
    info["classes"]["semantic_segmentation"] = [info for info in whole if info["name"] != "car"]
    (tmp_path / "set/dataset.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"frame 'frame/0000\d' in shard-00000\d.*\[3\]"):
        first(training(spec(tmp_path / "set")), 10)
    info["classes"] = {"semantic_segmentation": whole, "object_detection": [{"name": "person", "id": 1}]}
    (tmp_path / "set/dataset.json").write_text(json.dumps(info))
    with pytest.raises(DataError, match=r"box classes \['car'\]"):
        first(training(spec(tmp_path / "set")), 10)


@pytest.mark.parametrize("threads", [0, 2])
def test_an_error_in_a_transform_reaches_the_consumer(shards, threads):
    class Broken(Transform):
        def pixels(self, sample, rng):
            raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        first(training(spec(shards, transforms={"broken": Broken()}), threads=threads), 1)


def test_closing_wakes_a_waiting_consumer(shards):
    class Slow(Transform):
        def view(self, view, rng):
            time.sleep(0.2)
            return view

    stream = training(spec(shards, transforms={"slow": Slow()}), threads=1)
    ended = []

    def consume():
        try:
            list(stream.batches(0))
        except RuntimeError as error:
            ended.append(error)

    consumer = threading.Thread(target=consume)
    consumer.start()
    time.sleep(0.1)
    stream.close()
    consumer.join(5)
    assert not consumer.is_alive() and len(ended) == 1


# ---------------------------------------------------------------- evaluation


@pytest.mark.parametrize("samples", [0, 1, 5, 37])
@pytest.mark.parametrize("world", [1, 2, 3, 4, 5])
def test_evaluation_sees_each_frame_once_in_equal_numbers_of_batches(tmp_path, samples, world):
    convert(Toy(samples), tmp_path / "set")
    keys, lengths = [], set()
    for rank in range(world):
        stream = evaluation(spec(tmp_path / "set"), rank=rank, world=world)
        batches = list(stream)
        assert len(batches) == len(stream)
        lengths.add(len(stream))
        keys += [key for batch in batches if not batch.filler for key in batch.keys]
        assert stream.missing == []
        stream.close()
    assert keys == [f"frame/{i:05d}" for i in range(samples)] and len(lengths) == 1


def test_evaluation_is_without_chance_and_carries_the_truth(shards):
    stream = evaluation(spec(shards), threads=3)
    [batch, again] = [next(iter(stream)) for _ in range(2)]
    assert_equal([batch.keep()], [again.keep()])
    assert len(list(stream)) == 10, "a stream can be run through again"
    toy = Toy(37).load(2).cameras["cam_front"]
    [name, frame] = ["cam_front", batch.frames[2]]
    truth = frame.cameras[name]
    assert frame.key == batch.keys[2] and truth.image == toy.image and isinstance(truth.image.data, bytes)
    assert truth.semantic.shape == (48, 64) and truth.semantic.dtype == np.uint8
    x1, y1, x2, y2 = toy.boxes.xyxy[0].astype(int)
    expected = np.zeros((48, 64), np.uint8)
    expected[y1:y2, x1:x2] = RECIPE_CLASSES["semantic_segmentation"].index("car")
    expected[0] = IGNORE
    assert (truth.semantic == expected).all()
    assert truth.boxes.names == ["car"] and (truth.boxes.xyxy == toy.boxes.xyxy).all()


def test_evaluation_lists_what_is_missing_and_replaces_nothing(tmp_path):
    convert(Toy(12), tmp_path / "set")
    for number in (2, 4, 5, 6, 7):
        damage(tmp_path / "set", number)
    stream = evaluation(spec(tmp_path / "set"))
    batches = list(stream)
    assert stream.missing == [f"frame/{i:05d}" for i in (2, 4, 5, 6, 7)]
    assert [batch.filler for batch in batches] == [False, True, False], "a batch with nothing left is made up for"
    assert batches[0].keys == [f"frame/{i:05d}" for i in (0, 1, 3)] and batches[0].camera.images.shape[0] == 3
    sound = list(evaluation(spec(convert(Toy(12), tmp_path / "sound").path)))
    assert torch.equal(batches[0].camera.images, sound[0].camera.images[[0, 1, 3]])
    assert len(batches[0].frames) == 3
    list(stream)
    assert len(stream.missing) == 5, "of one pass"
    evened = evaluation(spec(tmp_path / "set"), rank=0, world=2)
    assert [batch.filler for batch in evened] == [False, True] and evened.missing == ["frame/00002"]


# ---------------------------------------------------------------- recipes that cannot be


def test_recipes_that_cannot_be_are_refused_with_a_remedy(shards, tmp_path):
    def refused(words, data=None, error=RecipeError, **more):
        with pytest.raises(error) as found:
            training(data or spec(shards), **more)
        assert words in str(found.value), str(found.value)

    refused("1, 2, 4", world=3)
    refused("does not divide", batch=(8, 3))
    refused("does not divide", batch=(2, 4))
    refused("no camera 'cam_frnt'", spec(shards, cameras=("cam_frnt",)))
    refused("'cam_front'", spec(shards, cameras=("cam_frnt",)))
    only_boxes = convert(Toy(2, classes={"object_detection": (ClassInfo("car", 0),)}, changes={
        i: {"semantic": None} for i in range(2)}), tmp_path / "boxes")  # fmt: skip
    refused("boxes has object_detection", spec(only_boxes.path))
    refused("'person'", spec(shards, taxonomy={"object_detection": {"person": "persn"}}))
    convert(Toy(0), tmp_path / "empty")
    refused("nothing to train on", spec(tmp_path / "empty"), error=DataError)
    refused("no shard set", spec(tmp_path / "none"), error=DataError)


def test_cameras_are_named_where_there_are_several(tmp_path):
    class Pair(Toy):
        def load(self, ref):
            frame = super().load(ref)
            frame.cameras["cam_rear"] = Toy(9, size=(40, 40)).load(ref).cameras["cam_front"]
            return frame

    convert(Pair(5), tmp_path / "set")
    with pytest.raises(RecipeError, match="cam_front, cam_rear"):
        training(spec(tmp_path / "set"))
    [batch] = first(training(spec(tmp_path / "set", cameras=("cam_rear", "cam_front"))), 1)
    assert list(batch.cameras) == ["cam_rear", "cam_front"]
    assert batch.cameras["cam_rear"].original_sizes.tolist() == [[40, 40]] * 2
    [batch] = first(training(spec(tmp_path / "set", cameras=("cam_rear",), transforms={})), 1)
    assert batch.camera.images.shape == (2, 40, 40, 3)


def test_what_is_not_labelled_is_marked_so(tmp_path):
    changes = {
        0: {"boxes": None, "semantic": None},
        1: {"boxes": Boxes(np.zeros((0, 4)), [])},
        2: {"labelled_classes": {"object_detection": ("car",)}},
        3: {"semantic": png(np.full((48, 64), IGNORE, np.uint8))},
    }
    convert(Toy(4, changes=changes), tmp_path / "set")
    [batch] = list(evaluation(spec(tmp_path / "set")))
    camera = batch.camera
    assert camera.labelled["object_detection"].tolist() == [False, True, True, True]
    assert camera.labelled["semantic_segmentation"].tolist() == [False, True, True, True]
    assert camera.labelled_classes["object_detection"].tolist() == [[False] * 2, [True] * 2, [False, True], [True] * 2]
    assert camera.targets["object_detection"]["valid"].tolist() == [[False], [False], [True], [True]]
    assert (camera.targets["semantic_segmentation"]["mask"][[0, 3]] == IGNORE).all()
    assert batch.frames[0].cameras["cam_front"].boxes is None and batch.frames[0].cameras["cam_front"].semantic is None
    assert batch.frames[2].cameras["cam_front"].labelled_classes == {
        "object_detection": ("car",), "semantic_segmentation": ("road", "car"),
    }  # fmt: skip


def test_counters_count(shards):
    stream = training(spec(shards))
    first(stream, 10)
    counters = stream.counters()
    assert counters["samples"] == 20 and counters["bytes"] > 20_000 and counters["replaced"] == 0
    assert all(counters[name] > 0 for name in ("seconds_waiting", "seconds_reading", "seconds_decoding"))
