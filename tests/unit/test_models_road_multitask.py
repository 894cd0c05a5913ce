"""``road_multitask``: any subset of tasks, what each head learns from, partial labels; nothing waits for the device."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from drivetrain import IGNORE, Batch, ModelContext, UserError, normalise_images, total_loss
from drivetrain.plugins.models.road.heads import Maps
from drivetrain.plugins.models.road.lanes import LaneHead, Rows, crossings
from drivetrain.plugins.models.road.multitask import RoadMultitask, build
from drivetrain.plugins.models.road.multitask_config import RoadMultitaskConfig
from drivetrain.testing import check_model, host_syncs, make_batch, on_meta

CLASSES = {
    "object_detection": ("car", "sign"),
    "semantic_segmentation": ("ground", "car", "sign"),
    "drivable_area": ("not", "drivable"),
    "lane_detection": ("ego_left", "ego_right"),
    "depth_estimation": (),
}
EVERY = tuple(CLASSES)
SAYS_ALL = {"object_detection": {"score_threshold": 0}, "lane_detection": {"threshold": 0}}


def model_of(tasks: tuple[str, ...] = EVERY, **config) -> RoadMultitask:
    torch.manual_seed(0)
    settings = RoadMultitaskConfig.model_validate({**SAYS_ALL, **config})
    return build(settings, ModelContext(tasks, {task: CLASSES[task] for task in tasks}))


def batch_of(tasks: tuple[str, ...] = EVERY, **how):
    return make_batch(tasks, {task: CLASSES[task] for task in tasks}, size=(64, 96), **how)


@pytest.mark.parametrize("tasks", [*combinations(EVERY, 1), EVERY, EVERY[2:], EVERY[::2]], ids="+".join)
def test_conforms_with_any_tasks(tasks):
    check_model(lambda context: build(RoadMultitaskConfig.model_validate(SAYS_ALL), context), tasks, CLASSES, (64, 96))


def test_conforms_with_learnt_weights_of_tasks():
    config = RoadMultitaskConfig.model_validate({**SAYS_ALL, "balance": "uncertainty"})
    check_model(lambda context: build(config, context), EVERY, CLASSES, (64, 96))


def test_nothing_in_forward_and_loss_waits_for_the_device():
    masks = {"lovasz": 1.0, "dice": 1.0, "hardest": 0.5, "focal": 2.0}
    model, batch = model_of(semantic_segmentation=masks, balance="uncertainty"), batch_of()
    assert host_syncs(lambda: total_loss(model.losses(batch)).backward()) == []
    on_meta(model).losses(on_meta(batch))


def test_a_task_that_it_has_not_is_refused():
    with pytest.raises(UserError, match="no task 'lanes'"):
        model_of(task_weights={"lanes": 2.0})


def test_weights_of_tasks():
    batch = batch_of()
    plain, weighed = model_of().eval(), model_of(task_weights={"depth_estimation": 3.0}).eval()
    one, two = plain.losses(batch), weighed.losses(batch)
    assert two["depth_estimation/depth"][0].item() == pytest.approx(3 * one["depth_estimation/depth"][0].item())
    assert two["drivable_area/cross_entropy"][0].item() == pytest.approx(one["drivable_area/cross_entropy"][0].item())


def test_learnt_weights_rest_at_what_the_losses_say():
    """exp(-s) L + s / 2 is least at exp(s) = 2 L, for a distance, of which half counts, at L (Kendall et al. 2018)."""
    model, batch = model_of(("depth_estimation",), balance="uncertainty").eval(), batch_of(("depth_estimation",))
    total, weight = model.losses(batch)["depth_estimation/depth"]
    parameter = model.log_variance["depth_estimation"]
    parameter.data.fill_((2 * total / weight).log().item())
    total_loss(model.losses(batch)).backward()
    assert parameter.grad.item() == pytest.approx(0, abs=1e-5)


# ---------------------------------------------------------------- masks


def test_classes_that_nobody_looked_for_are_neither_learnt_nor_unlearnt():
    tasks = ("semantic_segmentation",)
    model, batch = model_of(tasks), batch_of(tasks, batch=2)
    camera, head = batch.camera, model.heads["semantic_segmentation"]
    camera.labelled_classes[tasks[0]][:, 2] = False
    said = torch.randn(2, 3, 32, 48, requires_grad=True)
    total, weight = head.losses(said, camera)["cross_entropy"]
    mask = camera.targets[tasks[0]]["mask"]
    assert weight == ((mask != IGNORE) & (mask != 2)).sum()
    total.backward()
    assert not said.grad[:, 2].any() and said.grad[:, :2].any()


# ---------------------------------------------------------------- lanes


def lane_head(**config) -> LaneHead:
    return model_of(("lane_detection",), lane_detection={"top": 0.25, "rows": 12, "columns": 24, **config}).heads[
        "lane_detection"
    ]


def said_of(head: LaneHead, batch) -> Rows:
    height, width = batch.camera.images.shape[1:3]
    middle = torch.randn(len(batch), 64, height // 8, width // 8)
    return head(Maps([], middle, None))


def test_crossings_are_where_numpy_interpolates_them():
    rng = np.random.default_rng(0)
    ys = torch.linspace(5, 95, 13)
    lines = [np.stack([rng.uniform(0, 100, k), np.sort(rng.uniform(0, 100, k))[::-1]], 1) for k in (2, 5, 8)]
    points, valid = torch.zeros(1, 3, 8, 2), torch.zeros(1, 3, 8, dtype=torch.bool)
    for i, line in enumerate(lines):
        points[0, i, : len(line)], valid[0, i, : len(line)] = torch.from_numpy(line).float(), True
    xs, there = crossings(points, valid, ys)
    for i, line in enumerate(lines):
        expected = np.interp(ys, line[::-1, 1], line[::-1, 0])
        inside = (ys.numpy() >= line[-1, 1]) & (ys.numpy() <= line[0, 1])
        assert there[0, i].tolist() == inside.tolist()
        assert np.allclose(xs[0, i].numpy()[inside], expected[inside], atol=1e-2)


def test_the_truth_said_with_certainty_is_predicted_and_costs_nothing_more():
    """Targets put back through `decode` are the labelled points, in original pixels, to a fraction of one."""
    head, batch = lane_head(threshold=0.5), batch_of(("lane_detection",))
    camera = batch.camera
    said = said_of(head, batch)
    xs, there = head.targets(camera, said)
    place = (xs / said.width - 0.5).clamp(0, 23)
    columns = torch.arange(24)
    share = (1 - (columns - place[..., None]).abs()).clamp(min=1e-9)
    perfect = said._replace(columns=share.log(), present=torch.where(there, 20.0, -20.0))
    for i, lanes in enumerate(head.predict(perfect, camera)):
        fields = {name: value[i] for name, value in camera.targets["lane_detection"].items()}
        near, ids = fields["points"][:, 0, 0].tolist(), fields["classes"].masked_fill(~fields["valid"], -1).tolist()
        leftmost = {name: min(x for x, c in zip(near, ids) if c == k) for k, name in enumerate(head.classes) if k in ids}
        assert sorted(lanes.names) == sorted(leftmost)
        for line, name in zip(lanes.points, lanes.names):
            assert np.abs(line[:, 0] - 3 * leftmost[name]).max() < 0.5
            assert (np.diff(line[:, 1]) < 0).all(), "from near to far"
    least = head.losses(perfect, camera)
    assert least["lane_presence"][0] < 1e-3
    assert least["lane_rows"][0] < head.losses(said, camera)["lane_rows"][0]


def test_lanes_of_one_class_are_told_apart_from_left_to_right():
    head, batch = lane_head(lanes_per_class=2), batch_of(("lane_detection",), batch=1)
    fields = batch.camera.targets["lane_detection"]
    fields["classes"].zero_()
    fields["valid"][:] = torch.tensor([True, True, False, False])
    fields["points"][0, :2, :4, 0] = torch.tensor([[60.0], [20.0]])
    xs, there = head.targets(batch.camera, said_of(head, batch))
    assert there.any(2)[0].tolist() == [True, True, False, False]
    assert xs[0, 0][there[0, 0]].unique().tolist() == [20.0] and xs[0, 1][there[0, 1]].unique().tolist() == [60.0]


def test_pictures_without_lanes_and_boxes_at_all():
    """The loader pads to the most of a batch, which may be none."""
    tasks = ("lane_detection", "object_detection")
    model, batch = model_of(tasks), batch_of(tasks)
    for fields in batch.camera.targets.values():
        fields.update({name: values[:, :0] for name, values in fields.items()})
    fields = batch.camera.targets["lane_detection"]
    fields.update({"points": fields["points"][:, :, :0], "points_valid": fields["points_valid"][:, :, :0]})
    losses = model.losses(batch)
    total_loss(losses).backward()
    assert losses["lane_detection/lane_rows"][1] == 0 and losses["lane_detection/lane_presence"][0] > 0
    assert all(parameter.grad is not None for parameter in model.parameters())


# ---------------------------------------------------------------- depth


def test_depth_is_the_scale_invariant_error_of_known_pixels():
    model, batch = model_of(("depth_estimation",)), batch_of(("depth_estimation",))
    camera, head = batch.camera, model.heads["depth_estimation"]
    camera.targets["depth_estimation"]["depth"][0, :10] = 0
    said = torch.zeros(2, 1, 16, 24)
    total, weight = head.losses(said, camera)["depth"]
    expected, pixels = 0.0, 0
    for depth in camera.targets["depth_estimation"]["depth"].numpy():
        error = -np.log(depth[depth > 0])
        expected += error.size * ((error**2).mean() - 0.5 * error.mean() ** 2)
        pixels += error.size
    assert weight == pixels and total.item() == pytest.approx(expected, rel=1e-4)


# ---------------------------------------------------------------- all


def test_learns_a_batch_by_heart_in_all_tasks():
    model, batch = model_of(lane_detection={"threshold": 0.5}, object_detection={"score_threshold": 0.1}), batch_of(batch=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        terms = {name: total / weight for name, (total, weight) in model.losses(batch).items()}
        sum(terms.values()).backward()
        optimizer.step()
        losses.append({name: value.item() for name, value in terms.items()})
    assert all(losses[-1][name] < 0.6 * losses[0][name] for name in losses[0]), (losses[0], losses[-1])
    _check_export_predicts_the_same(model.eval(), batch)


def _check_export_predicts_the_same(model: RoadMultitask, batch: Batch) -> None:
    """But for masks and depth, whose maps the export has at the pixels of its input already."""
    with torch.inference_mode():
        outputs = model.export_module()(normalise_images(batch.camera.images))
        pairs = zip(model.predict(batch), model.predict_from(outputs, batch), strict=True)
    for one, other in ([prediction.cameras["camera"] for prediction in pair] for pair in pairs):
        assert np.array_equal(one.boxes.xyxy, other.boxes.xyxy) and one.boxes.names == other.boxes.names != []
        assert all(np.array_equal(*two) for two in zip(one.lanes.points, other.lanes.points, strict=True))
        assert (one.semantic == other.semantic).mean() > 0.98 and (one.drivable == other.drivable).mean() > 0.98
        assert np.abs(np.log(one.depth / other.depth)).mean() < 0.02
