"""Pixels: decoding at a reduced scale, and pictures, masks and boxes that stay on top of each other."""

import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
import simplejpeg
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain import IGNORE, Boxes, Encoded, Transform, View
from drivetrain.plugins.loaders.webdataset.decode import draw_image, draw_mask, grids
from drivetrain.plugins.loaders.webdataset.placement import place

sys.path.append(str(Path(__file__).parent))
from loader_pictures import crop_of, drawn, psnr, textured
from loader_toy import MASK_CLASSES, Toy, convert, jpg, loader, png, spec

SIZE = (720, 1280)
VIEWS = [View.identity(*SIZE).scaled(round(720 * f), round(1280 * f)) for f in (1, 0.9, 0.5, 0.45, 0.3, 0.25, 0.2, 0.125, 0.1)]
SHIFT = np.array([[1, 0, -100], [0, 1, -31], [0, 0, 1.0]])
VIEWS += [VIEWS[2].then(SHIFT, (256, 320)), View.identity(*SIZE).scaled(333, 555).then(SHIFT, (256, 320))]


@pytest.mark.parametrize("view", VIEWS, ids=lambda v: f"{v.size[0]}x{v.size[1]}")
def test_a_reduced_decode_is_as_good_as_a_full_one(view):
    picture = jpg(textured(*SIZE))
    got, moved = drawn(picture, SIZE, view)
    full = simplejpeg.decode_jpeg(picture.data, "RGB")[crop_of(moved)]
    assert psnr(got, cv2.resize(full, view.size[::-1], interpolation=cv2.INTER_AREA)) >= 40


def test_a_half_size_is_decoded_straight_into_place():
    at = place(VIEWS[2], *SIZE, (8, 4, 2))
    assert at.grid == 2 and at.x[:4] == (0, 640, 0, 640) and np.allclose(at.view.matrix, VIEWS[2].matrix)
    assert [place(v, *SIZE, (8, 4, 2)).grid for v in VIEWS] == [1, 1, 2, 1, 1, 4, 2, 8, 4, 2, 1]


def test_png_and_jpg_agree():
    image = cv2.GaussianBlur(textured(120, 160), (0, 0), 3)
    for view in (View.identity(120, 160), View.identity(120, 160).scaled(60, 80), View.identity(120, 160).scaled(200, 300)):
        a, b = (drawn(encoded, (120, 160), view)[0] for encoded in (png(image[..., ::-1]), jpg(image, 98)))
        assert psnr(a, b) > 36


@given(
    height=st.integers(9, 90), width=st.integers(9, 90), sx=st.floats(0.07, 3), sy=st.floats(0.07, 3), tx=st.floats(-60, 60),
    ty=st.floats(-60, 60), rows=st.integers(1, 80), columns=st.integers(1, 80), flip_x=st.booleans(), flip_y=st.booleans(),
)  # fmt: skip
@settings(max_examples=300)
def test_any_view_is_drawn_where_its_matrix_says(height, width, sx, sy, tx, ty, rows, columns, flip_x, flip_y):
    """A picture whose colours are its coordinates is drawn; each output pixel must show where its centre comes from."""
    sx, sy = (-sx if flip_x else sx), (-sy if flip_y else sy)
    view = View(np.array([[sx, 0, tx + width * max(0, -sx)], [0, sy, ty + height * max(0, -sy)], [0, 0, 1]]), (rows, columns))
    ys, xs = np.mgrid[:height, :width]
    image = np.stack([xs * 2, ys * 2, xs + ys], 2).astype(np.uint8)
    mask = (ys * 37 + xs * 11) % 200
    picture = png(image[..., ::-1])
    at = place(view, height, width, ())
    out, ids = np.full((rows, columns, 3), 77, np.uint8), np.full((rows, columns), 77, np.uint8)
    draw_image(picture, (height, width), at, out)
    draw_mask(mask.astype(np.uint8), at, ids)
    assert (out[ids == IGNORE] == 0).all()
    corners = np.array([[at.x.low, at.x.high], [at.y.low, at.y.high], [1, 1]])
    moved = np.abs((at.view.to_original - view.to_original) @ corners).max(1)
    assert moved[0] <= 1 + 0.5 / abs(sx) + 1e-6 and moved[1] <= 1 + 0.5 / abs(sy) + 1e-6, "in original pixels"
    for y, x in np.argwhere(ids != IGNORE)[:: max(1, ids.size // 60)]:
        u, v, _ = at.view.to_original @ (x + 0.5, y + 0.5, 1)
        near = {mask[int(np.clip(v + dv, 0, height - 1)), int(np.clip(u + du, 0, width - 1))]
                for du in (-1e-6, 1e-6) for dv in (-1e-6, 1e-6)}  # fmt: skip
        assert ids[y, x] in near
        reach_x, reach_y = 0.5 + 0.5 / min(1, abs(sx)), 0.5 + 0.5 / min(1, abs(sy))
        assert abs(out[y, x, 0] / 2 + 0.5 - u) <= reach_x and abs(out[y, x, 1] / 2 + 0.5 - v) <= reach_y


@pytest.mark.parametrize("size", [(75, 125), (76, 124), (375, 1242)])
@pytest.mark.parametrize("factor", [1 / 2, 1 / 4, 1 / 8, 0.21])
def test_odd_pictures_are_drawn_where_their_matrix_says(size, factor):
    """The last reduced pixel of an odd picture covers more than there is; picture and matrix must still agree."""
    height, width = size
    ys, xs = np.mgrid[:height, :width]
    image = np.stack([xs * 255 / width, ys * 255 / height, xs * 0 + 9], 2).round().astype(np.uint8)
    view = View.identity(height, width).scaled(-(-int(height * factor) // 1), int(width * factor))
    picture = Encoded(simplejpeg.encode_jpeg(image, 100, "RGB", "444"), "jpg")
    out, moved = drawn(picture, size, view)
    mask, ids = ((ys + xs) % 200).astype(np.uint8), np.empty(view.size, np.uint8)
    draw_mask(mask, place(view, *size, *grids(picture)), ids)
    ys, xs = np.mgrid[: view.size[0], : view.size[1]] + 0.5
    inverse = moved.to_original
    rows, columns = ys * inverse[1, 1] + inverse[1, 2], xs * inverse[0, 0] + inverse[0, 2]
    centres = [mask[(rows + d).astype(int).clip(0, height - 1), (columns + e).astype(int).clip(0, width - 1)]
               for d in (-1e-4, 1e-4) for e in (-1e-4, 1e-4)]  # fmt: skip
    assert (ids == centres).any(0).all()
    error_x = out[..., 0] / 255 - (xs * inverse[0, 0] + inverse[0, 2]) / width
    error_y = out[..., 1] / 255 - (ys * inverse[1, 1] + inverse[1, 2]) / height
    assert np.abs(error_x[:-1, :-1]).max() < 0.4 / view.size[1] + 3 / 255
    assert np.abs(error_y[:-1, :-1]).max() < 0.4 / view.size[0] + 3 / 255


class Crop(Transform):
    """Scale, flip and shift by chance, often over the picture's edge."""

    def view(self, view, rng):
        scale = rng.uniform(0.3, 2.0)
        view = view.scaled(round(view.size[0] * scale), round(view.size[1] * scale))
        if rng.uniform() < 0.5:
            view = view.then(np.array([[-1.0, 0, view.size[1]], [0, 1, 0], [0, 0, 1]]), view.size)
        shift = rng.integer(-40, 30), rng.integer(-40, 30)
        return view.then(np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]]), (96, 128))


def test_picture_mask_and_boxes_stay_together(tmp_path):
    """After any crop, flip and scale the box still bounds the red car, in the picture and in the mask."""
    convert(Toy(40, size=(150, 200)), tmp_path / "set")
    stream = loader(window=2).training(spec(tmp_path / "set", transforms={"crop": Crop()}), batch_global=8, batch_micro=8,
                                       rank=0, world=1, threads=2, pin=False)  # fmt: skip
    checked = 0
    for _, batch in zip(range(20), stream.batches(0)):
        targets = batch.camera.targets
        for i in range(8):
            if not targets["object_detection"]["valid"][i].any():
                continue
            x1, y1, x2, y2 = targets["object_detection"]["boxes"][i, 0].tolist()
            image = batch.camera.images[i].numpy().astype(int)
            mask = targets["semantic_segmentation"]["mask"][i].numpy()
            red = (image[..., 0] > 190) & (image[..., 1] < 70) & (image[..., 2] < 70)
            for found, slack in ((mask == 1, 1.0), (red, 2.5)):
                rows, columns = np.flatnonzero(found.any(1)), np.flatnonzero(found.any(0))
                edges = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
                assert np.abs(edges - (x1, y1, x2, y2)).max() <= slack
            checked += 1
        batch.release()
    stream.close()
    assert checked > 60


def test_to_original_leads_back(tmp_path):
    convert(Toy(4, size=(150, 200)), tmp_path / "set")
    data = spec(tmp_path / "set", transforms={"crop": Crop()})
    stream = loader().training(data, batch_global=4, batch_micro=4, rank=0, world=1, threads=0, pin=False)
    batch = next(stream.batches(3))
    toy, seen = Toy(4, size=(150, 200)), 0
    for i, key in enumerate(batch.keys):
        truth = toy.load(int(key[-5:])).cameras["cam_front"].boxes.xyxy[0]
        box = batch.camera.targets["object_detection"]["boxes"][i]
        if len(box) and (box[0, 0] > 0) and box[0, 2] < 128 and box[0, 1] > 0 and box[0, 3] < 96:
            matrix = batch.camera.to_original[i].numpy()
            corners = box[0].numpy().reshape(2, 2) @ matrix[:2, :2].T + matrix[:2, 2]
            assert np.allclose(np.concatenate([corners.min(0), corners.max(0)]), truth, atol=1e-2)
            seen += 1
    assert seen


def boxes_after(tmp_path, boxes: Boxes, view: Transform | None = None, **changes):
    """The detection and segmentation targets of one frame of 48 x 64 with ``boxes``."""
    convert(Toy(1, changes={0: {"boxes": boxes, **changes}}), tmp_path / "set")
    data = spec(tmp_path / "set", transforms={} if view is None else {"view": view},
                taxonomy={"object_detection": {"person": "ignore"}})  # fmt: skip
    stream = loader().training(data, batch_global=1, batch_micro=1, rank=0, world=1, threads=0, pin=False)
    return next(stream.batches(0)).camera.targets


class Left(Transform):
    """The picture moved 20 pixels to the left."""

    def view(self, view, rng):
        return view.then(np.array([[1, 0, -20], [0, 1, 0], [0, 0, 1.0]]), view.size)


def test_boxes_are_clipped_and_dropped_where_little_is_left(tmp_path):
    boxes = Boxes(np.array([[10, 5, 30, 15], [0, 0, 21.5, 9], [2, 2, 20.5, 30], [0, 0, 5, 5], [30, 10, 60, 40]]), ["car"] * 5)
    targets = boxes_after(tmp_path, boxes, Left())["object_detection"]
    assert targets["boxes"][0].tolist() == [[0, 5, 10, 15], [10, 10, 40, 40]]
    assert targets["classes"].tolist() == [[1, 1]]


def test_ignored_boxes_and_regions_are_ignored(tmp_path):
    boxes = Boxes(np.array([[1, 1, 9, 9], [10, 10, 20, 20], [30, 30, 40, 40]]), ["car", "car", "person"],
                  ignore=np.array([False, True, False]))  # fmt: skip
    regions = np.array([[50.0, 10, 63.2, 20]])
    targets = boxes_after(tmp_path, boxes, ignore_regions=regions)
    detection, mask = targets["object_detection"], targets["semantic_segmentation"]["mask"][0]
    assert detection["boxes"][0].tolist() == [[1, 1, 9, 9]]
    assert detection["ignore_boxes"][0].numpy() == pytest.approx(np.array([[10, 10, 20, 20], [30, 30, 40, 40], regions[0]]))
    assert (mask[10:20, 50:64] == IGNORE).all() and (mask[1:10] != IGNORE).all()
    assert (mask[0] == IGNORE).all(), "void by the dataset's classes"
    assert MASK_CLASSES[2].ignore


def test_a_view_that_shows_nothing_is_padding(tmp_path):
    class Away(Transform):
        def view(self, view, rng):
            return view.then(np.array([[1, 0, 500], [0, 1, 0], [0, 0, 1.0]]), view.size)

    targets = boxes_after(tmp_path, Boxes(np.array([[1, 1, 9, 9]]), ["car"]), Away())
    assert (targets["semantic_segmentation"]["mask"] == IGNORE).all() and not targets["object_detection"]["valid"].any()
