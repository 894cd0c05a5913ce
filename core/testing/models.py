"""Checks of a model on fabricated batches: coloured rectangles, one colour a class."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from ..batch import Batch, CameraBatch, normalise_images
from ..model import Model, ModelContext, total_loss
from ..prediction import Prediction
from ..tasks import IGNORE

Losses = dict[str, tuple[Tensor, Tensor]]


def make_batch(task: str, classes: Sequence[str], size: tuple[int, int] = (96, 128), batch: int = 2, seed: int = 0,
               objects: bool = True, labelled: bool = True) -> Batch:  # fmt: skip
    """A batch of ``batch`` pictures of ``size`` (height, width), whose content follows from ``seed``.

    Each has up to three rectangles, each of its class's colour, on grey noise (none without ``objects``). The last picture
    fills only part of its place, the rest is padding; the originals were twice as high and three times as wide. Targets
    are those of ``task``; a batch that is not ``labelled`` has none. Raises ValueError for a task that cannot be drawn.
    """
    if task not in _TARGETS:
        raise ValueError(f"task {task!r} cannot be drawn, only {sorted(_TARGETS)}")
    rng, (height, width) = np.random.default_rng(seed), size
    images = rng.integers(96, 128, (batch, height, width, 3), dtype=np.uint8)
    sizes = np.array([size] * batch)
    sizes[-1] = sizes[-1] * 3 // 4
    drawn = [_rectangles(rng, sizes[i], len(classes)) if objects else [] for i in range(batch)]
    for image, filled, rectangles in zip(images, sizes, drawn):
        image[filled[0] :], image[:, filled[1] :] = 0, 0
        for (x1, y1, x2, y2), label in rectangles:
            image[y1:y2, x1:x2] = class_colour(label, len(classes))
    targets = _TARGETS[task](drawn if labelled else [[]] * batch, sizes, size, labelled)
    camera = CameraBatch(
        torch.from_numpy(images), torch.from_numpy(sizes), torch.from_numpy(sizes * [2, 3]),
        torch.diag(torch.tensor([3.0, 2.0, 1.0])).expand(batch, 3, 3).clone(), {task: targets},
        {task: torch.full((batch,), labelled)}, {task: torch.full((batch, len(classes)), labelled)},
    )  # fmt: skip
    return Batch([f"picture-{i}" for i in range(batch)], torch.arange(batch), {"camera": camera})


def check_model(build: Callable[[ModelContext], Model], task: str, classes: Sequence[str],
                size: tuple[int, int] = (96, 128), batch: int = 2) -> None:  # fmt: skip
    """Raise AssertionError, in words, where the model that ``build`` returns breaks the contract of `drivetrain.Model`.

    Looked at: losses are pairs (sum, weight) whose weights grow with the batch; they are finite and reach every trainable
    parameter with and without objects and on a batch without labels, where the weight is 0; `predict` leaves the state as
    it was and gives one Prediction a frame, in original pixels; `export_module`, where there is one, gives tensors.
    A detector must predict boxes before it is trained: build it with a score threshold of 0.
    """
    torch.manual_seed(0)
    model = build(ModelContext((task,), {task: tuple(classes)}))
    assert isinstance(model, Model), f"built a {type(model).__name__}, which is no drivetrain.Model"
    whole = make_batch(task, classes, size, batch)
    model.train()
    _check_gradients(model, whole, "a labelled batch")
    _check_gradients(model, make_batch(task, classes, size, batch, objects=False), "a batch without objects")
    _check_gradients(model, make_batch(task, classes, size, batch, labelled=False), "an unlabelled batch", weight_is_0=True)
    _check_weights_add_up(model, whole)
    _check_predictions(model, task, classes, whole)
    _check_export(model, whole)


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


def _mask_targets(drawn, sizes, size, labelled) -> dict[str, Tensor]:
    """Rectangles over class 0; padding and unlabelled pictures are `IGNORE`."""
    mask = np.full((len(drawn), *size), IGNORE, np.uint8)
    for row, filled, rectangles in zip(mask, sizes, drawn):
        if labelled:
            row[: filled[0], : filled[1]] = 0
        for (x1, y1, x2, y2), label in rectangles:
            row[y1:y2, x1:x2] = label
    return {"mask": torch.from_numpy(mask)}


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


_TARGETS = {"semantic_segmentation": _mask_targets, "object_detection": _box_targets}


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


def _check_predictions(model: Model, task: str, classes: Sequence[str], batch: Batch) -> None:
    model.eval()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    further = _with_originals(batch, 2)
    with torch.inference_mode():
        predictions, doubled = model.predict(batch), model.predict(further)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), f"predict changed {name!r}"
    for given, said in ((batch, predictions), (further, doubled)):
        assert [p.key for p in said] == given.keys, f"predictions of {[p.key for p in said]} for frames {given.keys}"
    sizes = batch.camera.original_sizes.tolist()
    for one, two, size in zip(predictions, doubled, sizes):
        _LOOK_AT[task](one, two, batch.camera_name, size, classes)
    assert task != "object_detection" or any(len(p.cameras[batch.camera_name].boxes) for p in predictions), (  # type: ignore[arg-type]
        "no box was predicted, so that their pixels cannot be seen: build the model with a score threshold of 0"
    )


def _look_at_mask(one: Prediction, two: Prediction, camera: str, size: list[int], classes: Sequence[str]) -> None:
    for prediction, factor in ((one, 1), (two, 2)):
        mask = prediction.cameras[camera].semantic
        assert isinstance(mask, np.ndarray) and mask.dtype == np.uint8, f"{one.key}: semantic is no uint8 array"
        wanted = (size[0] * factor, size[1] * factor)
        assert mask.shape == wanted, f"{one.key}: a mask of {mask.shape} for an original of {wanted}: use original_sizes"
        assert mask.max() < len(classes), f"{one.key}: class id {mask.max()} of {len(classes)} classes"


def _look_at_boxes(one: Prediction, two: Prediction, camera: str, size: list[int], classes: Sequence[str]) -> None:
    boxes, doubled = one.cameras[camera].boxes, two.cameras[camera].boxes
    assert boxes is not None and doubled is not None, f"{one.key}: no boxes; none found is an empty Boxes"
    assert boxes.scores is not None, f"{one.key}: boxes without scores"
    assert ((boxes.scores >= 0) & (boxes.scores <= 1)).all(), f"{one.key}: scores outside 0..1"
    assert set(boxes.names) <= set(classes), f"{one.key}: names {sorted(set(boxes.names) - set(classes))} are no classes"
    limit = np.array([size[1], size[0]] * 2)
    assert ((boxes.xyxy >= 0) & (boxes.xyxy <= limit)).all(), f"{one.key}: boxes outside the original of {size}"
    assert (boxes.xyxy[:, :2] <= boxes.xyxy[:, 2:]).all(), f"{one.key}: boxes whose corners are exchanged"
    assert len(boxes) == len(doubled) and np.allclose(2 * boxes.xyxy, doubled.xyxy, atol=0.1), (
        f"{one.key}: boxes do not follow to_original: an original of twice the size must have boxes of twice the size"
    )


_LOOK_AT = {"semantic_segmentation": _look_at_mask, "object_detection": _look_at_boxes}


def _check_export(model: Model, batch: Batch) -> None:
    try:
        module = model.export_module()
    except NotImplementedError:
        return
    with torch.inference_mode():
        out = module(normalise_images(batch.camera.images))
    values = list(out.values()) if isinstance(out, dict) else [out] if isinstance(out, Tensor) else list(out)
    assert values and all(isinstance(v, Tensor) for v in values), f"export_module gives {type(out).__name__}, not tensors"


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
