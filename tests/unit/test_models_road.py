"""Our detector: the contract, its assignment against loops, what is not labelled, no wait for the device, export."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torchvision.ops import box_iou, generalized_box_iou

from drivetrain import Batch, ModelContext, box_overlap, normalise_images, total_loss
from drivetrain.norms import set_norms
from drivetrain.plugins.models.road import assign, head
from drivetrain.plugins.models.road.cells import Cells, cells_of, decode, window
from drivetrain.plugins.models.road.config import RoadDetectorConfig
from drivetrain.plugins.models.road.detector import RoadDetector
from drivetrain.plugins.models.road.detector import build as build_model
from drivetrain.testing import check_model, host_syncs, make_batch, on_meta

TASK = "object_detection"
CLASSES = ("car", "person")
STRIDES = (8, 16, 32)


def build(seed: int = 0, **config) -> RoadDetector:
    torch.manual_seed(seed)
    return build_model(RoadDetectorConfig(**config), ModelContext((TASK,), {TASK: CLASSES}))


def with_fixed_norms(model: RoadDetector) -> RoadDetector:
    """In training mode, but for norms: pictures of a batch do not see each other."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return model


def without_objects_at_all(batch: Batch) -> Batch:
    """Not even padding: tensors of no objects and no regions."""
    fields = batch.camera.targets[TASK]
    batch.camera.targets[TASK] = {name: value[:, :0] for name, value in fields.items()}
    return batch


@pytest.mark.parametrize("size", ["n", "m"])
def test_conforms(size):
    check_model(lambda _: build(size=size, score_threshold=0.0, detections_per_image=20), TASK, CLASSES, size=(64, 96))


def test_a_batch_without_a_single_target_learns_background_and_reaches_every_parameter():
    model = build().train()
    losses = model.losses(without_objects_at_all(make_batch(TASK, CLASSES, (64, 96), objects=False)))
    assert losses["boxes"] == (0, 0) and losses["classes"][0] > 0 and losses["classes"][1] == 2
    total_loss(losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def scene(seed: int, objects: int = 12, classes: int = 3):
    """Cells of a picture of 128 x 192, random predictions near random objects, large, thin and tiny, of two pictures."""
    rng = torch.Generator().manual_seed(seed)
    cells = cells_of([torch.zeros(2, 1, 128 // s, 192 // s) for s in STRIDES], STRIDES)
    logits = torch.randn(2, len(cells.centres), classes, generator=rng) * 2
    predicted = decode(cells, torch.rand(2, len(cells.centres), 4, generator=rng) * 4)
    centre = torch.rand(2, objects, 2, generator=rng) * torch.tensor([192.0, 128.0])
    half = torch.exp(torch.rand(2, objects, 2, generator=rng) * 4)
    boxes = torch.cat([centre - half, centre + half], -1).clamp(min=0).minimum(torch.tensor([192.0, 128] * 2))
    boxes[:, 1] = boxes[:, 0]  # two objects at one place
    labels = torch.randint(classes, (2, objects), generator=rng)
    valid = torch.rand(2, objects, generator=rng) > 0.2
    return cells, predicted, logits, boxes, labels, valid


def may_learn(cells: Cells, box: list[float]) -> list[int]:
    """The rule of `window`, cell by cell."""
    x1, y1, x2, y2 = box
    out = []
    for start, height, width, stride in cells.levels:
        middle = int((x1 + x2) / 2 // stride), int((y1 + y2) / 2 // stride)
        for row in range(height):
            for column in range(width):
                near = abs(column - middle[0]) <= assign.RADIUS and abs(row - middle[1]) <= assign.RADIUS
                in_x = x1 < (column + 0.5) * stride < x2 or column == middle[0]
                in_y = y1 < (row + 0.5) * stride < y2 or row == middle[1]
                if near and in_x and in_y:
                    out.append(start + row * width + column)
    return out


def by_loops(cells, predicted, logits, boxes, labels, valid, most: int) -> dict[tuple[int, int], dict[int, float]]:
    """(picture, object) -> cell -> quality."""
    out = {}
    for i in range(len(boxes)):
        iou = box_iou(boxes[i], predicted[i])
        wish = {}
        for n in range(len(boxes[i])):
            able = may_learn(cells, boxes[i, n].tolist()) if valid[i, n] else []
            aligned = {a: float(logits[i, a, labels[i, n]].sigmoid() ** 0.5 * iou[n, a] ** 6) for a in able}
            wish[n] = dict(sorted(aligned.items(), key=lambda pair: -pair[1])[:most])
        for n, mine in wish.items():
            rivals = {a: [m for m in wish if a in wish[m]] for a in mine}
            won = [a for a in mine if n == max(rivals[a], key=lambda m: (float(iou[m, a]), -m))]
            best = max((mine[a] for a in won), default=0.0)
            highest = max((float(iou[n, a]) for a in won), default=0.0)
            out[i, n] = {a: mine[a] / best * highest if best else highest for a in won}
    return out


@pytest.mark.parametrize("seed", range(3))
def test_assignment_of_a_batch_at_once_is_that_of_loops(seed):
    cells, *rest = scene(seed)
    expected = by_loops(cells, *rest, most=10)
    got = assign.task_aligned(cells, *rest, most=10)
    assert sum(len(one) for one in expected.values()) > 80
    for (i, n), mine in expected.items():
        kept = got.kept[i, n]
        found = dict(zip(got.cells[i, n][kept].tolist(), got.quality[i, n][kept].tolist()))
        assert found == pytest.approx(mine, abs=1e-4), (i, n)
    assert (got.quality[~got.kept] == 0).all()


def test_no_cell_learns_two_objects_and_every_tiny_one_has_a_cell():
    cells, predicted, logits, boxes, labels, _ = scene(5)
    boxes = torch.cat([boxes[..., :2], boxes[..., :2] + torch.tensor([2.0, 3.0])], -1).clamp(max=126.0)
    boxes[:, 1] += 16.0
    found = assign.task_aligned(cells, predicted, logits, boxes, labels, torch.ones_like(labels, dtype=torch.bool), 10)
    for index, kept in zip(found.cells, found.kept):
        chosen = index[kept].tolist()
        assert len(chosen) == len(set(chosen))
    _, allowed = window(cells, boxes, assign.RADIUS)
    assert (allowed.sum(2) >= 3).all()


def test_tiny_boxes_can_be_told_by_the_cell_that_holds_their_centre():
    cells = cells_of([torch.zeros(1, 1, 4, 4)], [8])
    wanted = torch.tensor([0.25, 0.5, 1.5, 1.75])
    raw = torch.tensor([[[3.75, 3.5, -2.5, -2.25]]]).expand(1, 16, 4) / 8 - -0.5
    assert torch.allclose(decode(cells, raw.expm1().log())[0, 0], wanted, atol=1e-5)


def test_overlaps_are_torchvisions():
    _, predicted, _, boxes, _, _ = scene(3)
    iou, giou = box_overlap(boxes[0][:, None], predicted[0][None])
    assert torch.allclose(iou, box_iou(boxes[0], predicted[0]), atol=1e-6)
    assert torch.allclose(giou, generalized_box_iou(boxes[0], predicted[0]), atol=1e-5)


def test_an_unlabelled_picture_changes_no_loss():
    model = with_fixed_norms(build())
    both = make_batch(TASK, CLASSES, (64, 96), batch=2)
    alone = both.map(lambda t: t[:1])
    both.camera.labelled[TASK][1] = False
    expected = model.losses(alone)
    for key, (total, weight) in model.losses(both).items():
        assert torch.allclose(weight, expected[key][1]), key
        assert torch.allclose(total, expected[key][0], rtol=1e-4), key


def test_background_in_an_ignore_region_teaches_nothing_and_objects_there_do():
    model = with_fixed_norms(build())
    batch = make_batch(TASK, CLASSES, (64, 96))
    before = model.losses(batch)
    batch.camera.targets[TASK]["ignore_boxes"][:, 0] = torch.tensor([-500.0, -500, 600, 600])
    batch.camera.targets[TASK]["ignore_valid"][:] = True
    within = model.losses(batch)
    assert 0 < within["classes"][0] < before["classes"][0] and within["boxes"] == before["boxes"]
    batch.camera.targets[TASK]["valid"][:] = False
    assert model.losses(batch)["classes"][0] == 0


def test_classes_that_were_not_looked_for_get_no_gradient():
    model, batch = with_fixed_norms(build()), make_batch(TASK, CLASSES, (64, 96))
    batch.camera.targets[TASK]["classes"][:] = 0
    batch.camera.labelled_classes[TASK][:, 1] = False
    model.losses(batch)["classes"][0].backward()
    by_class = model.head.classify.bias.grad
    assert by_class[0] != 0 and by_class[1] == 0


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_losses_and_their_gradient_never_wait_for_the_device(precision):
    model, batch = build().train(), make_batch(TASK, CLASSES, (64, 96))
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
        assert host_syncs(lambda: total_loss(model.losses(batch)).backward()) == []
        losses = on_meta(model).losses(on_meta(batch))
    total_loss(losses).backward()
    assert all(part.dtype == torch.float32 for pair in losses.values() for part in pair)


def test_under_autocast_boxes_are_float32():
    model, batch = build(score_threshold=0.0).eval(), make_batch(TASK, CLASSES, (64, 96))
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        _, logits, boxes = model.forward_cells(normalise_images(batch.camera.images))
    assert logits.dtype == boxes.dtype == torch.float32
    assert (boxes.view(torch.int32) & 0xFFFF).any(), "every coordinate has the 8 bits of a bfloat16"


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float(box_iou(torch.tensor(a)[None], torch.tensor(b)[None]))


def test_overfits_one_batch_and_then_names_its_objects_in_original_pixels():
    model, batch = build(score_threshold=0.3), make_batch(TASK, CLASSES, (96, 128), seed=4)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0, fused=True)
    losses = [step(model, batch, optimizer) for _ in range(60)]
    assert losses[-1] < 0.5 * losses[0]
    model = with_norms_of(batch, model)
    with torch.no_grad():
        predictions = model.eval().predict(batch)
    targets = batch.camera.targets[TASK]
    for i, prediction in enumerate(predictions):
        found = prediction.cameras["camera"].boxes
        assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
        for xyxy, label in zip(targets["boxes"][i][targets["valid"][i]], targets["classes"][i].tolist()):
            overlaps = [iou(xyxy.numpy() * np.float32([3, 2, 3, 2]), box) for box in found.xyxy]
            assert max(overlaps, default=0) > 0.5, f"nothing at {xyxy * 3}: {found}"
            assert found.names[int(np.argmax(overlaps))] == CLASSES[label]


def step(model: RoadDetector, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss = total_loss(model.losses(batch))
    loss.backward()
    optimizer.step()
    return loss.item()


def with_norms_of(batch: Batch, model: RoadDetector) -> RoadDetector:
    """Under the statistics of this batch: a few steps are too few for running ones."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train().losses(batch)
    return model


def test_a_deep_copy_is_independent():
    """Averaged weights are kept in one."""
    model, batch = with_fixed_norms(build()), make_batch(TASK, CLASSES, (64, 96))
    expected = total_loss(model.losses(batch))
    other = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data.zero_()
    assert torch.allclose(total_loss(other.losses(batch)), expected, rtol=1e-5)


def test_export_is_traceable_for_any_batch_and_gives_what_predict_starts_from():
    model = build(size="n").eval()
    module = model.export_module()
    images = normalise_images(make_batch(TASK, CLASSES, (60, 90), batch=3).camera.images)
    traced = torch.export.export(
        module, (images[:2].contiguous(),), dynamic_shapes=({0: torch.export.Dim("pictures", max=64)},)
    )
    with torch.inference_mode():
        boxes, scores = traced.module()(images.contiguous())
        _, logits, expected = model.forward_cells(images)
    cells = sum((64 // s) * (96 // s) for s in STRIDES)
    assert boxes.shape == (3, cells, 4) and scores.shape == (3, cells, len(CLASSES))
    assert torch.allclose(boxes, expected, atol=1e-3) and torch.allclose(scores, logits.sigmoid(), atol=1e-5)


@pytest.mark.parametrize("norm", ["group", "frozen", "sync"])
def test_other_norms_take_the_place_of_batch_norms(norm):
    model = build()
    set_norms(model, norm)
    total_loss(model.train().losses(make_batch(TASK, CLASSES, (64, 96)))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters() if p.requires_grad)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in model.modules())


def test_each_level_has_norms_of_its_own():
    """Statistics of the levels differ; the convolutions are the same."""
    tower = head.Tower(8, 2, 3).train()
    tower(torch.rand(2, 8, 4, 4), 1)
    assert [int(norm.num_batches_tracked) for norm in tower.norms] == [0, 0, 1, 1, 0, 0]
