"""Tiles: what is said of pieces is put together as if the picture had been seen whole, each object once."""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from drivetrain import Batch, Boxes, CameraBatch, CameraLabels, Prediction, View, map_boxes
from drivetrain.recipe_schema import TilesSection
from drivetrain.tiles import TiledPredict, best, stretches

HEIGHT, WIDTH = 180, 320


@given(st.integers(1, 5000), st.integers(1, 8), st.floats(0, 0.85))
def test_stretches_cover_a_length_once(length, count, overlap):
    found = stretches(length, count, overlap)
    assert len(found) == count and found[0].start == 0 and found[-1].end == length
    assert len({one.end - one.start for one in found}) == 1
    assert found[0].low == -np.inf and found[-1].high == np.inf
    for one, later in pairwise(found):
        assert one.high == later.low and later.start <= one.end
        assert later.start <= one.high <= one.end, "what is taken from a tile lies in it"


def picture(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Discs of three brightnesses apart from each other, and their boxes with class: x1 y1 x2 y2 class."""
    rng, boxes = np.random.default_rng(seed), []
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    while len(boxes) < 9:
        radius = int(rng.integers(4, 16))
        x, y = int(rng.integers(radius + 1, WIDTH - radius - 1)), int(rng.integers(radius + 1, HEIGHT - radius - 1))
        box = np.array([x - radius, y - radius, x + radius + 1, y + radius + 1])
        if not any((np.minimum(box[2:], b[2:4]) + 3 > np.maximum(box[:2], b[:2])).all() for b in boxes):
            number = int(rng.integers(1, 4))
            cv2.circle(image, (x, y), radius, (80 * number,) * 3, -1)
            boxes.append(np.array([*box, number]))
    return image, np.array(boxes)


class Sight:
    """What anyone sees: each bright patch a box with its class, and every pixel's class, at the original size."""

    def __init__(self):
        self.sizes: list[tuple[int, ...]] = []

    def __call__(self, batch: Batch) -> list[Prediction]:
        camera = batch.camera
        self.sizes.append(tuple(camera.images.shape[1:3]))
        return [Prediction(key, {batch.camera_name: self.one(camera, i)}) for i, key in enumerate(batch.keys)]

    def one(self, camera: CameraBatch, i: int) -> CameraLabels:
        (h, w), (height, width) = camera.sizes[i].tolist(), camera.original_sizes[i].tolist()
        grey = camera.images[i, :h, :w, 0].numpy()
        back = camera.to_original[i].double().numpy()
        found, names, scores = [], [], []
        for level in (1, 2, 3):
            patch = (np.abs(grey.astype(int) - 80 * level) < 35).astype(np.uint8)
            _, _, stats, _ = cv2.connectedComponentsWithStats(patch)
            for x, y, wide, high, area in stats[1:]:
                if area > 12:  # not the soft edge of a disc that was made smaller
                    found.append((x, y, x + wide, y + high))
                    names.append(f"disc{level}")
                    scores.append(0.5 + area / 10_000)
        boxes = Boxes(map_boxes(back, np.array(found).reshape(-1, 4)), names, scores=np.array(scores))
        columns = ((np.arange(width) + 0.5 - back[0, 2]) / back[0, 0]).clip(0, w - 1).astype(int)
        rows = ((np.arange(height) + 0.5 - back[1, 2]) / back[1, 1]).clip(0, h - 1).astype(int)
        mask = (grey[np.ix_(rows, columns)] // 70).astype(np.uint8)
        return CameraLabels(boxes, mask, depth=mask.astype(np.float32)) if DEPTH else CameraLabels(boxes, mask)


DEPTH = "depth" in CameraLabels.__dataclass_fields__


def batch_of(images: list[np.ndarray], views: list[View], sizes: list[tuple[int, int]]) -> Batch:
    height, width = (max(image.shape[axis] for image in images) for axis in (0, 1))
    canvas = np.zeros((len(images), height, width, 3), np.uint8)
    for row, image in zip(canvas, images):
        row[: image.shape[0], : image.shape[1]] = image
    camera = CameraBatch(
        torch.from_numpy(canvas), torch.tensor([image.shape[:2] for image in images]), torch.tensor(sizes),
        torch.from_numpy(np.stack([view.to_original for view in views]).astype(np.float32)),
    )  # fmt: skip
    return Batch([f"frame{i}" for i in range(len(images))], torch.arange(len(images)), {"front": camera})


def matched(boxes: Boxes, truth: np.ndarray, within: float) -> None:
    """Each object is found once, where it is, as what it is."""
    assert len(boxes) == len(truth)
    names = [f"disc{number}" for number in truth[:, 4]]
    for xyxy, name in zip(boxes.xyxy, boxes.names):
        off = np.abs(truth[:, :4] - xyxy).max(1)
        assert off.min() <= within and names[int(off.argmin())] == name


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("grid, overlap", [((2, 3), 0.4), ((1, 2), 0.3), ((3, 4), 0.5)])
def test_tiles_say_what_the_whole_says(seed, grid, overlap):
    """Discs are as wide as 32 pixels, overlaps wider: some tile sees each disc whole."""
    image, truth = picture(seed)
    batch = batch_of([image], [View.identity(HEIGHT, WIDTH)], [(HEIGHT, WIDTH)])
    sight = Sight()
    [said] = TiledPredict(sight, TilesSection(grid=grid, overlap=overlap))(batch)
    [expected] = Sight()(batch)
    assert len(sight.sizes) == grid[0] * grid[1] and len(set(sight.sizes)) == 1
    matched(said.cameras["front"].boxes, truth, 0.01)
    assert np.array_equal(said.cameras["front"].semantic, expected.cameras["front"].semantic)
    if DEPTH:
        assert np.array_equal(said.cameras["front"].depth, expected.cameras["front"].depth)


def test_views_of_several_sizes_go_back_to_their_originals():
    """One enlarged, one cut from the middle and padded by the batch: where the view does not reach, its edge holds."""
    (one, truth), (two, cut) = picture(1), picture(2)
    views = [View.identity(HEIGHT, WIDTH).scaled(360, 640), View.identity(HEIGHT, WIDTH).shifted(-40, -30, (140, 260))]
    images = [cv2.resize(one, (640, 360), interpolation=cv2.INTER_NEAREST), two[30:170, 40:300]]
    batch = batch_of(images, views, [(HEIGHT, WIDTH)] * 2)
    said = [p.cameras["front"] for p in TiledPredict(Sight(), TilesSection(grid=(2, 2), overlap=0.3))(batch)]
    expected = [p.cameras["front"] for p in Sight()(batch)]
    matched(said[0].boxes, truth, 0.51)
    inside = cut[(cut[:, :4] > [41, 31, 41, 31]).all(1) & (cut[:, :4] < [299, 169, 299, 169]).all(1)]
    assert {tuple(box) for box in inside[:, :4].tolist()} <= {tuple(box) for box in said[1].boxes.xyxy.astype(int).tolist()}
    for a, b in zip(said, expected):
        assert a.semantic.shape == (HEIGHT, WIDTH) and np.array_equal(a.semantic, b.semantic)


def test_what_is_larger_than_a_tile_is_found_in_the_whole():
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    cv2.circle(image, (160, 90), 70, (160, 160, 160), -1)
    cv2.circle(image, (20, 20), 8, (240, 240, 240), -1)
    batch = batch_of([image], [View.identity(HEIGHT, WIDTH)], [(HEIGHT, WIDTH)])
    pieces, whole = (
        TiledPredict(Sight(), TilesSection(grid=(2, 3), overlap=0.2, whole=chosen))(batch)[0].cameras["front"].boxes
        for chosen in (False, True)
    )
    assert len(pieces) > 2, "in pieces"
    matched(whole, np.array([[90, 20, 231, 161, 2], [12, 12, 29, 29, 3]]), 3)


def test_the_best_box_of_one_object_stays():
    xyxy = np.array([[0, 0, 10, 10], [1, 0, 11, 10], [6, 0, 11, 10], [0, 0, 10, 10], [0, 0, 9, 10]], float)
    scores = np.array([0.5, 0.6, 0.9, 0.4, 0.3])
    classes, tiles = np.array([0, 0, 0, 1, 0]), np.array([0, 1, 2, 1, 0])
    cut = np.array([False, False, True, False, False])
    kept = best(xyxy, scores, classes, tiles, cut).tolist()
    assert kept == [1, 3], "the surest whole one, of which the cut one is a part, and that of another class"


@pytest.mark.parametrize("kind", ["boxes", "none"])
def test_empty_and_absent_stay_apart(kind):
    def nothing(batch: Batch) -> list[Prediction]:
        boxes = Boxes(np.zeros((0, 4)), [], scores=np.zeros(0)) if kind == "boxes" else None
        return [Prediction(key, {"front": CameraLabels(boxes)}) for key in batch.keys]

    batch = batch_of([np.zeros((HEIGHT, WIDTH, 3), np.uint8)], [View.identity(HEIGHT, WIDTH)], [(HEIGHT, WIDTH)])
    [said] = TiledPredict(nothing, TilesSection(grid=(2, 2)))(batch)
    found = said.cameras["front"]
    assert found.semantic is None and (len(found.boxes) == 0 if kind == "boxes" else found.boxes is None)
