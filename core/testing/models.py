"""Checks of a model on fabricated batches: coloured rectangles, one colour a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..batch import Batch, CameraBatch, normalise_images
from ..frame import Boxes
from ..lanes import Lanes
from ..model import Model, ModelContext, named_outputs, total_loss, values_of
from ..prediction import Prediction
from ..tasks import IGNORE, TASKS

Losses = dict[str, tuple[Tensor, Tensor]]
Tasks = str | Sequence[str]
Classes = Sequence[str] | Mapping[str, Sequence[str]]
_DEPTHS = 3  # distances of things, for tasks without classes


def make_batch(task: Tasks, classes: Classes, size: tuple[int, int] = (96, 128), batch: int = 2, seed: int = 0,
               objects: bool = True, labelled: bool | Collection[str] = True) -> Batch:  # fmt: skip
    """A batch of ``batch`` pictures of ``size`` (height, width), whose content follows from ``seed``.

    Each has up to three rectangles, each of its class's colour, on grey noise (none without ``objects``). The last picture
    fills only part of its place, the rest is padding; the originals were twice as high and three times as wide. A lane runs
    up the middle of a rectangle, and each colour has a distance of its own. Targets are those of ``task``, or of several
    with ``classes`` of each; what is not ``labelled``, all tasks or some, has none. Raises ValueError for a task that cannot
    be drawn.
    """
    of_each = _of_each(task, classes)
    if strange := sorted(set(of_each) - set(_TARGETS)):
        raise ValueError(f"task {strange[0]!r} cannot be drawn, only {sorted(_TARGETS)}")
    rng, (height, width) = np.random.default_rng(seed), size
    images = rng.integers(96, 128, (batch, height, width, 3), dtype=np.uint8)
    sizes = np.array([size] * batch)
    sizes[-1] = sizes[-1] * 3 // 4
    colours = max(len(names) or _DEPTHS for names in of_each.values())
    drawn = [_rectangles(rng, sizes[i], colours) if objects else [] for i in range(batch)]
    for image, filled, rectangles in zip(images, sizes, drawn):
        image[filled[0] :], image[:, filled[1] :] = 0, 0
        for (x1, y1, x2, y2), label in rectangles:
            image[y1:y2, x1:x2] = class_colour(label, colours)
    known = {name: name in labelled if isinstance(labelled, Collection) else labelled for name in of_each}
    targets = {name: _targets(name, drawn, len(of_each[name]), sizes, size, known[name]) for name in of_each}
    camera = CameraBatch(
        torch.from_numpy(images), torch.from_numpy(sizes), torch.from_numpy(sizes * [2, 3]),
        torch.diag(torch.tensor([3.0, 2.0, 1.0])).expand(batch, 3, 3).clone(), targets,
        {name: torch.full((batch,), there) for name, there in known.items()},
        {name: torch.full((batch, len(of_each[name])), there) for name, there in known.items()},
    )  # fmt: skip
    return Batch([f"picture-{i}" for i in range(batch)], torch.arange(batch), {"camera": camera})


def check_model(build: Callable[[ModelContext], Model], task: Tasks, classes: Classes, size: tuple[int, int] = (96, 128),
                batch: int = 2) -> None:  # fmt: skip
    """Raise AssertionError, in words, where the model that ``build`` returns breaks the contract of `drivetrain.Model`.

    ``task`` and ``classes`` as of `make_batch`. Looked at: losses are pairs (sum, weight) whose weights grow with the batch;
    they are finite and reach every trainable parameter with and without objects, on a batch without labels, where the
    weight is 0, and on one that lacks the labels of one task; `predict` leaves the state as it was and gives one Prediction
    a frame, in original pixels; `export_module`, where there is one, gives tensors, and `predict_from` predictions of them.
    A detector of objects or lanes must predict some before it is trained: build it with a score threshold of 0.
    """
    torch.manual_seed(0)
    of_each = _of_each(task, classes)
    model = build(ModelContext(tuple(of_each), of_each))
    assert isinstance(model, Model), f"built a {type(model).__name__}, which is no drivetrain.Model"

    def drawn(**how: Any) -> Batch:
        return make_batch(tuple(of_each), of_each, size, batch, **how)

    whole = drawn()
    model.train()
    _check_gradients(model, whole, "a labelled batch")
    _check_gradients(model, drawn(objects=False), "a batch without objects")
    _check_gradients(model, drawn(labelled=False), "an unlabelled batch", weight_is_0=True)
    for one in of_each if len(of_each) > 1 else ():
        _check_gradients(model, drawn(labelled=of_each.keys() - {one}), f"a batch without labels of {one}")
    _check_weights_add_up(model, whole)
    model.eval()
    _check_predictions(model.predict, model, of_each, whole)
    _check_export(model, of_each, whole)


def _of_each(task: Tasks, classes: Classes) -> dict[str, tuple[str, ...]]:
    """Task -> its classes."""
    tasks = (task,) if isinstance(task, str) else tuple(task)
    return {name: tuple(classes[name] if isinstance(classes, Mapping) else classes) for name in tasks}


def class_colour(label: int, count: int) -> tuple[int, int, int]:
    """Red, green, blue of a class: spread over a circle of hues, all of one lightness."""
    angles = 2 * np.pi * (label / count + np.arange(3) / 3)
    return tuple((127.5 + 110 * np.cos(angles)).astype(int).tolist())


def _rectangles(rng: np.random.Generator, filled: np.ndarray, count: int) -> list[tuple[tuple[int, ...], int]]:
    """Up to three that do not overlap, each in its third of the width, with their classes."""
    height, width = filled.tolist()
    out: list[tuple[tuple[int, ...], int]] = []
    for i in range(3):
        x1 = i * width // 3 + int(rng.integers(1, width // 12))
        y1 = int(rng.integers(1, height // 2))
        x2, y2 = x1 + width // 4 - int(rng.integers(0, width // 24)), y1 + height // 2 - int(rng.integers(1, height // 8))
        out.append(((x1, y1, x2, y2), int(rng.integers(count))))
    return out


def _targets(task: str, drawn, classes: int, sizes, size, labelled: bool) -> dict[str, Tensor]:
    """``drawn`` in as many ``classes`` as the task has."""
    there = [[(box, label % (classes or _DEPTHS)) for box, label in boxes] if labelled else [] for boxes in drawn]
    return _TARGETS[task](there, sizes, size, labelled)


def _mask_targets(drawn, sizes, size, labelled) -> dict[str, Tensor]:
    """Rectangles over class 0; padding and unlabelled pictures are `IGNORE`."""
    return {"mask": torch.from_numpy(_painted(drawn, sizes, size, labelled, lambda label: label, 0, IGNORE))}


def _depth_targets(drawn, sizes, size, labelled) -> dict[str, Tensor]:
    """Rectangles at 10, 20 and 30 m before what is 50 m away; padding and unlabelled pictures are unknown."""
    depth = _painted(drawn, sizes, size, labelled, lambda label: 10 * (label + 1), 50, 0)
    return {"depth": torch.from_numpy(depth.astype(np.float32))}


def _painted(drawn, sizes, size, labelled, value, ground: int, outside: int) -> np.ndarray:
    pixels = np.full((len(drawn), *size), outside, np.uint8)
    for row, filled, rectangles in zip(pixels, sizes, drawn):
        if labelled:
            row[: filled[0], : filled[1]] = ground
        for (x1, y1, x2, y2), label in rectangles:
            row[y1:y2, x1:x2] = value(label)
    return pixels


def _lane_targets(drawn, sizes, size, labelled) -> dict[str, Tensor]:
    """Four points up the middle of each rectangle, padded to four lanes of five points."""
    points, points_valid = torch.zeros(len(drawn), 4, 5, 2), torch.zeros(len(drawn), 4, 5, dtype=torch.bool)
    classes, valid = torch.zeros(len(drawn), 4, dtype=torch.int64), torch.zeros(len(drawn), 4, dtype=torch.bool)
    for i, rectangles in enumerate(drawn):
        for k, ((x1, y1, x2, y2), label) in enumerate(rectangles):
            points[i, k, :4, 0], points[i, k, :4, 1] = (x1 + x2) / 2, torch.linspace(y2, y1, 4)
            points_valid[i, k, :4], classes[i, k], valid[i, k] = True, label, True
    return {"points": points, "points_valid": points_valid, "classes": classes, "valid": valid}


def _box_targets(drawn, sizes, size, labelled) -> dict[str, Tensor]:
    """Padded to four boxes and one ignore region, which is not valid."""
    boxes = torch.zeros(len(drawn), 4, 4)
    classes, valid = torch.zeros(len(drawn), 4, dtype=torch.int64), torch.zeros(len(drawn), 4, dtype=torch.bool)
    for i, rectangles in enumerate(drawn):
        for j, (xyxy, label) in enumerate(rectangles):
            boxes[i, j], classes[i, j], valid[i, j] = torch.tensor(xyxy), label, True
    nowhere = torch.zeros(len(drawn), 1, dtype=torch.bool)
    return {
        "boxes": boxes, "classes": classes, "valid": valid,
        "ignore_boxes": torch.zeros(len(drawn), 1, 4), "ignore_valid": nowhere,
    }  # fmt: skip


_TARGETS = {
    "semantic_segmentation": _mask_targets, "object_detection": _box_targets, "drivable_area": _mask_targets,
    "lane_detection": _lane_targets, "depth_estimation": _depth_targets,
}  # fmt: skip


def _check_losses(losses: object, what: str) -> Losses:
    assert isinstance(losses, dict) and losses, f"losses of {what}: expected a dict of pairs, got {type(losses).__name__}"
    for name, pair in losses.items():
        assert isinstance(pair, tuple) and len(pair) == 2, (
            f"loss {name!r} of {what}: expected a pair (sum, weight), got {pair!r}"
        )
        for part, value in zip(("sum", "weight"), pair):
            told = f"loss {name!r} of {what}: the {part}"
            assert isinstance(value, Tensor), f"{told} is a {type(value).__name__}, not a tensor"
            assert value.shape == () and value.dtype == torch.float32, (
                f"{told} is {value.dtype} {list(value.shape)}, not a float32 scalar"
            )
            assert value.isfinite(), f"{told} is {value.item()}"
        assert pair[1] >= 0, f"loss {name!r} of {what}: the weight is {pair[1].item()}, below 0"
    return losses


def _check_gradients(model: Model, batch: Batch, what: str, weight_is_0: bool = False) -> None:
    model.zero_grad(set_to_none=True)
    losses = _check_losses(model.losses(batch), what)
    if weight_is_0:
        for name, (total, weight) in losses.items():
            assert weight == 0 and total == 0, (
                f"loss {name!r} of {what}: sum {total.item()} and weight {weight.item()}, both must be 0: it was not looked at"
            )
    loss = total_loss(losses)
    assert loss.requires_grad, f"the losses of {what} hang on no parameter: they must be a connected 0"
    loss.backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, (
                f"parameter {name!r} gets no gradient from {what}: ranks would not run the same graph; "
                "let a loss of weight 0 go through it, or freeze it"
            )
            assert parameter.grad.isfinite().all(), f"parameter {name!r} gets a gradient that is not finite from {what}"
    model.zero_grad(set_to_none=True)


def _check_weights_add_up(model: Model, batch: Batch) -> None:
    """Two copies in one batch weigh twice as much; a mean handed out as a sum does not."""
    twice = _concatenated(batch, batch)
    for name, (one, two) in _pairs(model.losses(batch), model.losses(twice)).items():
        assert abs(two.item() / max(one.item(), 1e-12) - 2) < 0.1 or one == two == 0, (
            f"loss {name!r}: the weight is {one.item()} for a batch and {two.item()} for two copies of it: weights must add "
            "up over pictures, the sum is what is divided by them"
        )


def _check_predictions(predict: Callable[[Batch], list[Prediction]], model: Model, classes: Mapping[str, Sequence[str]],
                       batch: Batch) -> None:  # fmt: skip
    state = {name: value.clone() for name, value in model.state_dict().items()}
    further = _with_originals(batch, 2)
    with torch.inference_mode():
        predictions, doubled = predict(batch), predict(further)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), f"predict changed {name!r}"
    for given, said in ((batch, predictions), (further, doubled)):
        assert [p.key for p in said] == given.keys, f"predictions of {[p.key for p in said]} for frames {given.keys}"
    sizes = batch.camera.original_sizes.tolist()
    for task, names in classes.items():
        for one, two, size in zip(predictions, doubled, sizes):
            both = [getattr(said.cameras[batch.camera_name], TASKS[task].prediction) for said in (one, two)]
            what = f"{one.key}: {TASKS[task].prediction}"
            assert all(found is not None for found in both), f"{what} is None; none found is an empty one"
            _LOOK_AT[task](*both, what, size, names)
        if TASKS[task].prediction in ("boxes", "lanes"):
            assert any(len(getattr(p.cameras[batch.camera_name], TASKS[task].prediction)) for p in predictions), (
                f"none of the {TASKS[task].prediction} was predicted, so that their pixels cannot be seen: build the model "
                "with a score threshold of 0"
            )


def _look_at_mask(one: np.ndarray, two: np.ndarray, what: str, size: list[int], classes: Sequence[str]) -> None:
    for mask, factor in ((one, 1), (two, 2)):
        _look_at_pixels(mask, np.uint8, what, size, factor)
        assert mask.max() < len(classes), f"{what}: class id {mask.max()} of {len(classes)} classes"


def _look_at_depth(one: np.ndarray, two: np.ndarray, what: str, size: list[int], classes: Sequence[str]) -> None:
    for depth, factor in ((one, 1), (two, 2)):
        _look_at_pixels(depth, np.float32, what, size, factor)
        assert np.isfinite(depth).all() and (depth > 0).all(), f"{what}: metres that are not finite and above 0"


def _look_at_pixels(pixels: np.ndarray, dtype: type, what: str, size: list[int], factor: int) -> None:
    told = f"{what} is no {np.dtype(dtype)} array"
    assert isinstance(pixels, np.ndarray) and pixels.dtype == dtype, told
    wanted = (size[0] * factor, size[1] * factor)
    assert pixels.shape == wanted, f"{what} of {pixels.shape} for an original of {wanted}: use original_sizes"


def _look_at_lanes(one: Lanes, two: Lanes, what: str, size: list[int], classes: Sequence[str]) -> None:
    _look_at_scores(one, what, classes)
    for line in one.points:
        assert len(line) > 1 and np.isfinite(line).all(), f"{what}: a lane needs two points or more, all finite"
        assert ((line >= 0) & (line <= [size[1], size[0]])).all(), f"{what} outside the original of {size}"
    assert len(one) == len(two) and all(
        a.shape == b.shape and np.allclose(2 * a, b, atol=0.1) for a, b in zip(one.points, two.points)
    ), f"{what} do not follow to_original: an original of twice the size must have lanes of twice the size"


def _look_at_scores(said: Boxes | Lanes, what: str, classes: Sequence[str]) -> None:
    assert said.scores is not None, f"{what} without scores"
    assert ((said.scores >= 0) & (said.scores <= 1)).all(), f"{what}: scores outside 0..1"
    assert set(said.names) <= set(classes), f"{what}: names {sorted(set(said.names) - set(classes))} are no classes"


def _look_at_boxes(one: Boxes, two: Boxes, what: str, size: list[int], classes: Sequence[str]) -> None:
    _look_at_scores(one, what, classes)
    limit = np.array([size[1], size[0]] * 2)
    assert ((one.xyxy >= 0) & (one.xyxy <= limit)).all(), f"{what} outside the original of {size}"
    assert (one.xyxy[:, :2] <= one.xyxy[:, 2:]).all(), f"{what} whose corners are exchanged"
    assert len(one) == len(two) and np.allclose(2 * one.xyxy, two.xyxy, atol=0.1), (
        f"{what} do not follow to_original: an original of twice the size must have boxes of twice the size"
    )


_LOOK_AT: dict[str, Callable[..., None]] = {
    "semantic_segmentation": _look_at_mask, "object_detection": _look_at_boxes, "drivable_area": _look_at_mask,
    "lane_detection": _look_at_lanes, "depth_estimation": _look_at_depth,
}  # fmt: skip


def _check_export(model: Model, classes: Mapping[str, Sequence[str]], batch: Batch) -> None:
    try:
        module = model.export_module()
    except NotImplementedError:
        return
    with torch.inference_mode():
        out = module(normalise_images(batch.camera.images, *model.normalisation()))
    values = values_of(out)
    assert values and all(isinstance(v, Tensor) for v in values), f"export_module gives {type(out).__name__}, not tensors"
    if type(model).predict_from is not Model.predict_from:
        outputs = named_outputs(module, out)
        _check_predictions(lambda one: model.predict_from(outputs, one), model, classes, batch)


def _pairs(one: Losses, two: Losses) -> dict[str, tuple[Tensor, Tensor]]:
    assert one.keys() == two.keys(), f"losses {sorted(one)} became {sorted(two)} with a larger batch"
    return {name: (one[name][1], two[name][1]) for name in one}


def _with_originals(batch: Batch, factor: int) -> Batch:
    """The same pictures, as if their originals had been ``factor`` times as large."""
    scale = torch.diag(torch.tensor([factor, factor, 1.0]))
    camera = dataclasses.replace(
        batch.camera, original_sizes=batch.camera.original_sizes * factor, to_original=scale @ batch.camera.to_original
    )
    return dataclasses.replace(batch, cameras={batch.camera_name: camera})


def _concatenated(one: Batch, two: Batch) -> Batch:
    others: list[Tensor] = []
    two.map(lambda t: others.append(t) or t)  # type: ignore[func-returns-value]
    rest = iter(others)
    both = one.map(lambda t: torch.cat([t, next(rest)]))
    return dataclasses.replace(both, keys=one.keys + two.keys, positions=torch.cat([one.positions, two.positions]))
