"""Torchvision's detectors: the contract, losses against torchvision's own, what is not labelled, original pixels."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.models import get_model

from drivetrain import Batch, ModelContext, UserError, total_loss
from drivetrain.export import module_of
from drivetrain.plugins.models.torchvision import _DETECTION, counting
from drivetrain.plugins.models.torchvision import detection as zoo
from drivetrain.plugins.models.torchvision.config import DetectionConfig
from drivetrain.testing import check_model, make_batch

TASK = "object_detection"
CLASSES = ("car", "person")
RCNN, RETINANET, FCOS, SSD = LIGHT = (
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "retinanet_resnet50_fpn",
    "fcos_resnet50_fpn",
    "ssdlite320_mobilenet_v3_large",
)


def build(name: str, seed: int = 0, **config) -> zoo.Detector:
    torch.manual_seed(seed)
    return getattr(zoo, name)(DetectionConfig(**config), ModelContext((TASK,), {TASK: CLASSES}))


def full_batch(**options) -> Batch:
    """All pictures fill their place, so that torchvision pads nothing."""
    batch = make_batch(TASK, CLASSES, **options)
    batch.camera.sizes[:] = torch.tensor(batch.camera.images.shape[1:3])
    return batch


def with_fixed_norms(model: zoo.Detector) -> zoo.Detector:
    """In training mode, but for norms: pictures of a batch do not see each other."""
    model.train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    return model


@pytest.mark.parametrize("name", LIGHT)
def test_conforms(name):
    check_model(lambda context: build(name, score_threshold=0.0, detections_per_image=20), TASK, CLASSES, size=(64, 96))


@pytest.mark.parametrize("name", sorted(set(_DETECTION) - set(LIGHT)))
def test_every_parameter_of_the_others_gets_a_gradient_from_an_unlabelled_batch(name):
    model = build(name)
    total_loss(model.losses(make_batch(TASK, CLASSES, (64, 64), labelled=False))).backward()
    assert [n for n, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
    assert all((p.grad == 0).all() for p in model.parameters() if p.requires_grad)


@pytest.mark.parametrize("name", LIGHT)
@pytest.mark.parametrize("objects", [True, False])
def test_losses_are_torchvisions_where_everything_is_labelled(name, objects):
    model, batch = with_fixed_norms(build(name)), full_batch(size=(64, 96), objects=objects)
    referee = get_model(name, weights=None, weights_backbone=None, num_classes=len(CLASSES) + model.first_label)
    referee.load_state_dict(model.net.state_dict())
    referee = referee.train()
    for module in referee.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.eval()
    referee.transform._skip_resize, referee.transform.fixed_size = True, None
    targets = [{k: t[k] for k in ("boxes", "labels")} for t in model._targets(batch.camera)]
    torch.manual_seed(1)
    expected = referee(list(batch.camera.images.permute(0, 3, 1, 2) / 255), targets)
    torch.manual_seed(1)
    losses = model.losses(batch)
    assert losses.keys() == expected.keys()
    for key, (total, weight) in losses.items():
        assert torch.allclose(total / weight.clamp(min=1), expected[key], rtol=1e-3, atol=1e-5), key
        assert weight > 0 or (name == SSD and not objects)


@pytest.mark.parametrize("name", LIGHT)
def test_an_unlabelled_picture_changes_no_loss(name):
    model = with_fixed_norms(build(name))
    alone, both = full_batch(size=(64, 96), batch=1), full_batch(size=(64, 96), batch=2)
    for field, value in alone.camera.targets[TASK].items():
        both.camera.targets[TASK][field][:1] = value
    both.camera.images[:1] = alone.camera.images
    both.camera.labelled[TASK][1] = False
    torch.manual_seed(1)
    expected = model.losses(alone)
    torch.manual_seed(1)
    for key, (total, weight) in model.losses(both).items():
        assert weight == expected[key][1], key
        assert torch.allclose(total, expected[key][0], rtol=1e-3, atol=1e-5), key


@pytest.mark.parametrize("name", LIGHT)
def test_background_in_an_ignore_region_teaches_nothing(name):
    model = with_fixed_norms(build(name))
    batch = full_batch(size=(64, 96), objects=False)
    before = model.losses(batch)
    batch.camera.targets[TASK]["ignore_boxes"][:, 0] = torch.tensor([-500.0, -500, 600, 600])
    batch.camera.targets[TASK]["ignore_valid"][:] = True
    after = model.losses(batch)
    for key in before:
        assert after[key][0] == 0, key
    seen = [key for key in before if "class" in key or "objectness" in key]
    assert name == SSD or all(before[key][0] > 0 for key in seen)


@pytest.mark.parametrize("name", [RETINANET, FCOS])
def test_classes_that_were_not_looked_for_get_no_gradient(name):
    model, batch = with_fixed_norms(build(name)), full_batch(size=(64, 96))
    batch.camera.targets[TASK]["classes"][:] = 0
    batch.camera.labelled_classes[TASK][:, 1] = False
    model.losses(batch)["classification"][0].backward()
    by_class = model.net.head.classification_head.cls_logits.bias.grad.reshape(-1, len(CLASSES)).abs().sum(0)
    assert by_class[0] > 0 and by_class[1] == 0


@given(st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_unknown_classes_join_the_background(seed):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(5, 4, generator=generator)
    known = torch.rand(5, 3, generator=generator) > 0.5
    before, after = logits.softmax(-1), counting.unknown_as_background(logits, known).softmax(-1)
    assert torch.allclose(after[:, 1:], before[:, 1:] * known, atol=1e-6)
    assert torch.allclose(after[:, 0], before[:, 0] + (before[:, 1:] * ~known).sum(-1), atol=1e-6)


@given(st.integers(0, 10_000), st.integers(0, 3))
@settings(max_examples=30, deadline=None)
def test_mostly_inside_counts_pixels(seed, regions):
    """Whole-numbered boxes, so that areas are counts of pixels."""
    rng = np.random.default_rng(seed)
    corners = np.sort(rng.integers(0, 20, (8 + regions, 2, 2)), 1)
    corners[:, 1] += 1
    boxes, zones = (torch.from_numpy(part.reshape(-1, 4)).float() for part in (corners[:8], corners[8:]))
    got = counting.mostly_inside(boxes, zones)
    for box, inside in zip(boxes.int().tolist(), got.tolist()):
        own = np.zeros((22, 22), bool)
        own[box[1] : box[3], box[0] : box[2]] = True
        shares = [own[y1:y2, x1:x2].sum() / own.sum() for x1, y1, x2, y2 in zones.int().tolist()]
        assert inside == any(share > 0.5 for share in shares)


@pytest.mark.parametrize(
    "name, size, lr, steps", [(RCNN, (128, 160), 3e-4, 35), (FCOS, (64, 96), 2e-4, 20), (SSD, (128, 160), 1e-3, 50)]
)
def test_overfits_one_batch_and_then_names_its_objects_in_original_pixels(name, size, lr, steps):
    model, batch = build(name, score_threshold=0.3), make_batch(TASK, CLASSES, size, seed=4)
    if name == RCNN:
        model.net.roi_heads.fg_bg_sampler.batch_size_per_image = 32  # proposals a picture: for speed
    optimizer = torch.optim.AdamW(model.parameters(), lr=lr, weight_decay=0, fused=True)
    losses = [step(model, batch, optimizer) for _ in range(steps)]
    assert losses[-1] < 0.5 * losses[0]
    predictions = predict_with_norms_of(batch, model)
    targets = batch.camera.targets[TASK]
    for i, prediction in enumerate(predictions):
        found = prediction.cameras["camera"].boxes
        for xyxy, label in zip(targets["boxes"][i][targets["valid"][i]], targets["classes"][i].tolist()):
            overlaps = [iou(xyxy.numpy() * [3, 2, 3, 2], box) for box in found.xyxy]
            assert max(overlaps) > 0.5, f"nothing at {xyxy * 3}: {found}"
            assert found.names[int(np.argmax(overlaps))] == CLASSES[label]


def step(model: zoo.Detector, batch: Batch, optimizer: torch.optim.Optimizer) -> float:
    optimizer.zero_grad()
    loss = total_loss(model.losses(batch))
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 10.0)
    optimizer.step()
    return loss.item()


def predict_with_norms_of(batch: Batch, model: zoo.Detector):
    """Predictions under the statistics of this batch: a few steps are too few for running ones."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.train().losses(batch)
        return model.eval().predict(batch)


def test_no_proposal_at_all_is_no_nan():
    """Torchvision's mean over no proposals is not a number."""
    model = build(RCNN).train()
    model.net.rpn.score_thresh = 2.0
    losses = model.losses(make_batch(TASK, CLASSES, (64, 96), objects=False))
    assert losses["loss_classifier"] == (0, 0)
    total_loss(losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def iou(a: np.ndarray, b: np.ndarray) -> float:
    shared = np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None).prod()
    return shared / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - shared)


@pytest.mark.parametrize("name", LIGHT)
def test_under_autocast_boxes_and_losses_are_float32(name):
    model, batch = build(name, score_threshold=0.0), make_batch(TASK, CLASSES, (64, 96))
    batch.camera.to_original[:] = torch.eye(3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(part.dtype == torch.float32 for pair in model.losses(batch).values() for part in pair)
        with torch.inference_mode():
            boxes = model.eval().predict(batch)[0].cameras["camera"].boxes
    inner = boxes.xyxy[(boxes.xyxy > 0) & (boxes.xyxy % 1 != 0)]
    assert (inner.view(np.uint32) & 0xFFFF).any(), "every coordinate has the 8 bits of a bfloat16"


@pytest.mark.parametrize("name", LIGHT)
def test_a_deep_copy_is_independent(name):
    """Averaged weights are kept in one."""
    model, batch = with_fixed_norms(build(name)), make_batch(TASK, CLASSES, (64, 96))
    torch.manual_seed(1)
    expected = total_loss(model.losses(batch))
    other = copy.deepcopy(model)
    for parameter in model.parameters():
        parameter.data.zero_()
    torch.manual_seed(1)
    assert torch.allclose(total_loss(other.losses(batch)), expected, rtol=1e-4)


def test_an_export_is_refused_with_the_reason():
    with pytest.raises(UserError, match=r"suppress overlapping boxes(.|\n)*road_detector"):
        module_of(build(SSD))


def test_pretrained_detectors_keep_their_body_and_start_a_new_head(tmp_path, monkeypatch):
    from torchvision.models import get_model_weights

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    name = RCNN
    donor = get_model(name, weights=None, weights_backbone=None, num_classes=91)
    (tmp_path / "checkpoints").mkdir()
    torch.save(donor.state_dict(), tmp_path / "checkpoints" / get_model_weights(name)["COCO_V1"].url.split("/")[-1])
    model = build(name, weights="COCO_V1", trainable_backbone_layers=2, score_threshold=0.25)
    own = model.net.state_dict()
    for key, value in donor.state_dict().items():
        assert "box_predictor" in key or "num_batches" in key or torch.equal(own[key], value), key
    assert own["roi_heads.box_predictor.cls_score.weight"].shape[0] == len(CLASSES) + 1
    assert model.net.roi_heads.score_thresh == 0.25
    frozen = [n for n, p in model.named_parameters() if not p.requires_grad]
    assert frozen and all("backbone" in n for n in frozen)


def test_one_small_picture_is_refused_with_a_remedy():
    with pytest.raises(UserError, match=r"batch\.micro to 2"):
        build(SSD).losses(full_batch(size=(64, 96), batch=1))


def test_more_layers_than_the_backbone_has_are_refused():
    with pytest.raises(UserError, match="6 of 5 layers"):
        build(RETINANET, weights_backbone="IMAGENET1K_V1", trainable_backbone_layers=6)


def test_config_refuses_to_freeze_what_is_not_trained():
    with pytest.raises(ValueError, match="needs weights"):
        DetectionConfig(trainable_backbone_layers=3)
    with pytest.raises(ValueError, match="leave out weights_backbone"):
        DetectionConfig(weights="COCO_V1", weights_backbone="IMAGENET1K_V1")
