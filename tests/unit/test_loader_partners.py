"""Transforms that take partners: who they are follows from the position alone, and what is drawn agrees with its labels."""

from __future__ import annotations

import dataclasses
import sys
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest

from drivetrain import IGNORE, RecipeError, Transform
from drivetrain.plugins.loaders.webdataset.draws import Draws
from drivetrain.plugins.loaders.webdataset.making import Samples
from drivetrain.plugins.loaders.webdataset.order import Order
from drivetrain.plugins.transforms.config import CopyPasteConfig, FlipConfig, MosaicConfig, RandomScaleCropConfig
from drivetrain.plugins.transforms.copy_paste import CopyPaste
from drivetrain.plugins.transforms.geometry import Flip, RandomScaleCrop
from drivetrain.plugins.transforms.mosaic import Mosaic

sys.path.append(str(Path(__file__).parent))
import test_labels
from loader_toy import Brighten, Resize, Rig, Toy, convert, jpg, png, spec
from test_loader_stream import assert_equal, damage, evaluation, first, flat, training


def mixing(p: float = 1.0) -> dict[str, Transform]:
    return {
        "paste": CopyPaste(CopyPasteConfig(p=min(p, 0.7))),
        "mosaic": Mosaic(MosaicConfig(size=(96, 128), p=p)),
        "crop": RandomScaleCrop(RandomScaleCropConfig(size=(64, 80), scale=(0.7, 1.2))),
        "flip": Flip(FlipConfig()),
        "brighten": Brighten(),
    }


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    return Path(convert(Toy(37, size=(96, 128)), tmp_path_factory.mktemp("partners") / "set").path)


@pytest.fixture(scope="module")
def whole(shards):
    return first(training(spec(shards, transforms=mixing()), threads=0), 24)


def test_neither_threads_nor_workers_nor_ranks_change_a_bit(shards, whole):
    data = spec(shards, transforms=mixing())
    assert_equal(first(training(data, threads=3, prefetch=5), 12), whole[:12])
    assert_equal(first(training(data, workers=2), 12), whole[:12])
    slots = {(batch.step, batch.slot): batch for batch in whole}
    for rank in range(2):
        for batch in first(training(data, rank=rank, world=2), 6):
            assert_equal([batch], [slots[batch.step, batch.slot]])


def test_a_stream_goes_on_with_the_same_partners(shards, whole):
    data = spec(shards, transforms=mixing())
    stream = training(data)
    state = stream.state(3)
    stream.close()
    later = training(data)
    assert later.resume(state) == []
    assert_equal(first(later, 8, 3), whole[12:20])


def test_partners_leave_the_order_as_it_is(shards, whole):
    plain = first(training(spec(shards)), 24)
    assert [batch.keys for batch in plain] == [batch.keys for batch in whole]


def test_partners_come_from_the_window_that_the_sample_is_drawn_from(shards):
    order = Order([4] * 9 + [1], "set", 5, slots=4, window=2)
    alone = {order.replacement(position, 0, of=n) for position in range(37) for n in (1, 2, 3)}
    assert len(alone) > 20, "they are spread over the set"
    for position in range(37):
        at = order._locate(position % 4, position // 4)
        pool = {tuple(map(int, one)) for one in zip(*order._on_shards(at.epoch, np.arange(at.low, at.high)))}
        assert {order.replacement(position, 0, of=n) for n in (1, 2, 3)} <= pool
    assert order.replacement(7, 0) == Order([4] * 9 + [1], "set", 5, 4, 2).replacement(7, 0), "of the sample itself"


def test_labels_lie_where_the_pictures_show_them(whole):
    """The toy's cars are red, and nothing else is."""
    seen = several = unboxed = 0
    for batch in whole:
        masks = batch.camera.targets["semantic_segmentation"]["mask"].numpy()
        fields = {name: t.numpy() for name, t in batch.camera.targets["object_detection"].items()}
        for i, picture in enumerate(batch.camera.images.numpy().astype(int)):
            red = picture[..., 0] - picture[..., 1:].max(-1) > 130
            car, ground = masks[i] == 1, masks[i] == 0
            seen += car.sum()
            assert (red & ground).sum() + (~red & car).sum() <= 0.12 * car.sum() + 40, "JPEG and soft edges alone"
            boxes = fields["boxes"][i][fields["valid"][i]]
            several += len(boxes) > 1
            learnt = painted(boxes, car.shape)
            known = learnt | painted(fields["ignore_boxes"][i][fields["ignore_valid"][i]], car.shape)
            unboxed += (car & ~known).sum()
            assert (learnt & (masks[i] != IGNORE) & ~car).sum() <= 0.1 * learnt.sum() + 40
    assert seen > 15_000 and several > 10
    assert unboxed < 0.1 * seen, "a car of which less than a tenth is left has no box"


def painted(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    out = np.zeros(size, bool)
    for x1, y1, x2, y2 in np.round(boxes).astype(int):
        out[max(0, y1) : y2, max(0, x1) : x2] = True
    return out


def test_a_mosaic_is_a_picture_of_its_own(whole):
    camera = whole[0].camera
    assert camera.original_sizes.tolist() == [[64, 80]] * 2
    assert (camera.intrinsics == 0).all()
    x = camera.to_original[:, 0, 0].abs()
    assert (x == 1).all() and (camera.to_original[:, 1, 1] == 1).all()


def test_what_is_not_labelled_is_ignored_in_its_quarter(tmp_path):
    changes = {i: {"boxes": None, "semantic": None} for i in range(0, 37, 2)}
    folder = Path(convert(Toy(37, size=(96, 128), changes=changes), tmp_path / "set").path)
    transforms = {"mosaic": Mosaic(MosaicConfig(size=(96, 128), scale=(1, 1)))}
    ignored = 0
    for batch in first(training(spec(folder, transforms=transforms)), 16):
        fields = {name: t.numpy() for name, t in batch.camera.targets["object_detection"].items()}
        masks = batch.camera.targets["semantic_segmentation"]["mask"].numpy()
        for i in np.flatnonzero(batch.camera.labelled["object_detection"].numpy()):
            for box in fields["ignore_boxes"][i][fields["ignore_valid"][i]].round().astype(int):
                x1, y1, x2, y2 = box
                assert (masks[i][y1:y2, x1:x2] == IGNORE).all()
                ignored += 1
    assert ignored > 10


def test_partners_that_are_not_taken_are_not_read(shards):
    def read(transforms):
        stream = training(spec(shards, transforms=transforms))
        batches = [batch.keep() for batch in islice(stream.batches(0), 8)]
        stream.close()
        return batches, stream.counters()["bytes"] / stream.counters()["samples"]

    plain, alone = read({"flip": Flip(FlipConfig())})
    never, bytes_never = read({"paste": CopyPaste(CopyPasteConfig(p=0)), "flip": Flip(FlipConfig())})
    _, bytes_always = read({"mosaic": Mosaic(MosaicConfig(size=(96, 128)))})
    assert all(a.equal(b) for x, y in zip(plain, never) for a, b in zip(flat(x)[:2], flat(y)[:2]))
    assert bytes_never < 1.5 * alone and bytes_always > 3 * alone


def test_a_damaged_partner_is_replaced_and_told_and_a_withdrawn_one_never_seen(tmp_path):
    made = convert(Toy(37, size=(96, 128)), tmp_path / "set")
    folder = Path(made.path)
    damage(folder, 6)
    made.withdraw(["frame/00009", "frame/00010"])
    data = spec(folder, transforms={"mosaic": Mosaic(MosaicConfig(size=(96, 128)))})
    stream = training(data, max_damaged_share=0.9)
    stream.quarantine_path = tmp_path / "quarantine.jsonl"
    places = [at for p in range(80) for at in stream._partners(p)]
    assert not {(2, 1), (2, 2)} & set(places) and (1, 2) in places
    batches = first(stream, 40)
    drawn = {key for batch in batches for key in batch.keys}
    assert {"frame/00006", "frame/00009", "frame/00010"}.isdisjoint(drawn)
    assert {line.split('"key": "')[1].split('"')[0] for line in (tmp_path / "quarantine.jsonl").read_text().splitlines()} == {
        "frame/00006"
    }


def test_all_five_tasks_go_into_the_same_quarters(tmp_path):
    """Of these frames the right half is a car beyond 32 m and has the lane ego_right, the left half is road with ego_left."""
    folder = Path(convert(test_labels.Full(20), tmp_path / "set").path)
    transforms = {"mosaic": Mosaic(MosaicConfig(size=(90, 120)))}
    data = test_labels.spec(folder, transforms)
    lanes = 0
    for batch in first(training(data), 12):
        targets = {task: {n: t.numpy() for n, t in f.items()} for task, f in batch.camera.targets.items()}
        mask, depth = targets["semantic_segmentation"]["mask"], targets["depth_estimation"]["depth"]
        drivable, found = targets["drivable_area"]["mask"], targets["lane_detection"]
        assert ((drivable == IGNORE) == (mask == IGNORE)).all()
        assert (mask[drivable == 1] == 1).all() and (mask[drivable == 0] != 1).all()
        assert (mask[(depth > 34)] == 1).mean() > 0.99 and (mask[(depth > 0) & (depth < 31)] != 1).mean() > 0.99
        for i, row in zip(*np.nonzero(found["valid"] & (found["classes"] < 2))):
            x, y = found["points"][i, row][found["points_valid"][i, row]].mean(0).astype(int)
            assert mask[i, y, x] == found["classes"][i, row], "ego_left on the road (0), ego_right on the car (1)"
            lanes += 1
    assert lanes > 60 and batch.camera.labelled["depth_estimation"].any()


class Discs(Toy):
    """Toy frames whose car is a disc in its box; there are instances of it."""

    def load(self, ref):
        frame = super().load(ref)
        camera = frame.cameras["cam_front"]
        [box] = camera.boxes.xyxy.astype(int).tolist()
        mask = np.zeros(self.size, np.uint16)
        half = (box[2] - box[0]) // 2, (box[3] - box[1]) // 2
        cv2.ellipse(mask, (box[0] + half[0], box[1] + half[1]), half, 0, 0, 360, 1, -1)
        image = np.full((*self.size, 3), 40 + ref, np.uint8)
        image[mask > 0] = (255, 0, 0)
        camera.image, camera.instances = jpg(image, 98), png(mask)
        camera.semantic = png(np.where(mask > 0, 3, 0).astype(np.uint8))
        return frame


def test_objects_with_instances_are_pasted_by_their_outline(tmp_path):
    folder = Path(convert(Discs(16, size=(96, 128)), tmp_path / "set").path)
    transforms = {"paste": CopyPaste(CopyPasteConfig(p=1)), "resize": Resize(80, 128)}
    pasted = 0
    for batch in first(training(spec(folder, transforms=transforms)), 8):
        masks = batch.camera.targets["semantic_segmentation"]["mask"].numpy()
        valid = batch.camera.targets["object_detection"]["valid"].numpy()
        for i, picture in enumerate(batch.camera.images.numpy().astype(int)):
            red = picture[..., 0] - picture[..., 1:].max(-1) > 100
            assert (red != (masks[i] == 1)).sum() < 0.1 * red.sum() + 20
            ground = np.ptp(picture[(masks[i] == 0) & ~cv2.dilate(red.astype(np.uint8), np.ones((7, 7))).astype(bool)], 0)
            assert ground.max() < 12, "nothing of the partner's ground came along"
            pasted += valid[i].sum() > 1
    assert pasted > 4


def test_evaluation_takes_no_partners(shards):
    [batch, *_] = list(evaluation(spec(shards, transforms=mixing())))
    assert batch.camera.images.shape[1:3] == (96, 128)
    samples = Samples(spec(shards, transforms=mixing()), training=False)
    assert samples.partners == 0


def test_sweeps_and_clips_do_not_go_with_partners(tmp_path):
    folder = Path(convert(Rig(8), tmp_path / "set").path)
    data = spec(folder, transforms=mixing(), cameras=("cam_front",))
    for changes in ({"lidars": ("lidar_top",)}, {"clip_frames": 2}):
        with pytest.raises(RecipeError, match="transforms paste, mosaic: pictures of several frames are mixed"):
            training(dataclasses.replace(data, **changes))


def test_a_blend_takes_partners_of_the_same_source(tmp_path):
    one, two = (Path(convert(Toy(20), tmp_path / name).path) for name in ("one", "two"))
    data = spec(one, two)
    sources = tuple(dataclasses.replace(source, weight=0.5) for source in data.sources)
    samples = Samples(dataclasses.replace(data, sources=sources), training=True)
    draws = Draws(samples.sources, dataclasses.replace(data, sources=sources), 4, 2, 2, 4)
    for position in range(40):
        shards, _ = draws.draw(position % 4, position // 4, 1)
        partner, _ = draws.replacement(position, 0, of=1)
        assert (shards[0] < 5) == (partner < 5)
