"""Torchvision's segmentation models: the contract, the loss against a plain one, predictions in original pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from drivetrain import Batch, ModelContext, UserError, normalise_images, sample_at_original, total_loss
from drivetrain.plugins.models.torchvision import segmentation as zoo
from drivetrain.plugins.models.torchvision.config import AuxSegmentationConfig, SegmentationConfig
from drivetrain.testing import check_model, make_batch

TASK = "semantic_segmentation"
CLASSES = ("ground", "car", "sign")
CONTEXT = ModelContext((TASK,), {TASK: CLASSES})


def lraspp(**config) -> zoo.Segmenter:
    torch.manual_seed(0)
    return zoo.lraspp_mobilenet_v3_large(SegmentationConfig(**config), CONTEXT)


def batch_of(**options) -> Batch:
    return make_batch(TASK, CLASSES, **options)


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large", "fcn_resnet50"])
def test_conforms(name):
    config = SegmentationConfig() if name.startswith("lraspp") else AuxSegmentationConfig(aux_weight=0.4)
    check_model(lambda context: getattr(zoo, name)(config, context), TASK, CLASSES, size=(64, 96))


def test_loss_is_torchs_weighted_cross_entropy_over_what_is_labelled():
    model, batch = lraspp(class_weights={"car": 3.0}).eval(), batch_of(batch=3)
    camera = batch.camera
    camera.labelled[TASK][1] = False
    total, weight = model.losses(batch)["cross_entropy"]
    logits = model.net(normalise_images(camera.images))["out"]
    kept = torch.tensor([0, 2])
    expected = F.cross_entropy(
        logits[kept], camera.targets[TASK]["mask"][kept].long(), weight=torch.tensor([1.0, 3, 1]), ignore_index=255
    )
    assert torch.allclose(total / weight, expected, rtol=1e-5)


def test_weight_is_the_number_of_counted_pixels():
    batch = batch_of()
    _, weight = lraspp().losses(batch)["cross_entropy"]
    assert weight == (batch.camera.targets[TASK]["mask"] != 255).sum()


def test_overfits_one_batch():
    model, batch = lraspp(), batch_of(size=(64, 96), batch=2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = total_loss(model.losses(batch))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.4 * losses[0]
    for module in model.modules():  # two pictures are too few for running statistics: judge by the batch's own
        if isinstance(module, torch.nn.BatchNorm2d):
            module.reset_running_stats()
            module.momentum = None
    with torch.no_grad():
        model.losses(batch)
        predicted = model.eval().predict(batch)[0].cameras["camera"].semantic
    truth = batch.camera.targets[TASK]["mask"][0].numpy().repeat(2, 0).repeat(3, 1)
    assert predicted.shape == truth.shape == (128, 288)
    assert (predicted == truth).mean() > 0.8
    assert set(np.unique(predicted)) == set(np.unique(truth))


def test_stretched_pictures_are_read_as_interpolate_reads_them():
    camera, maps = batch_of(size=(64, 96), batch=1).camera, torch.randn(1, 3, 8, 12)
    camera.sizes[0] = torch.tensor([64, 96])
    camera.original_sizes[0] = torch.tensor([101, 77])
    camera.to_original[0] = torch.diag(torch.tensor([77 / 96, 101 / 64, 1]))
    expected = F.interpolate(maps, size=(101, 77), mode="bilinear", align_corners=False)
    assert torch.allclose(sample_at_original(maps, camera, 0), expected, atol=1e-4)


def test_padding_shifts_and_flips_are_undone():
    """A ramp over the batch's pixels, read at the original's: value x where the original's centre falls on batch x."""
    camera = batch_of(size=(32, 64), batch=1).camera
    ramp = (torch.arange(64) + 0.5).expand(1, 1, 32, 64).contiguous()
    camera.sizes[0] = torch.tensor([32, 48])
    camera.original_sizes[0] = torch.tensor([64, 80])
    camera.to_original[0] = torch.tensor([[2.0, 0, -16], [0, 2, 0], [0, 0, 1]])  # x_original = 2 x - 16: 8 px cut off
    out = sample_at_original(ramp, camera, 0)
    assert torch.allclose(out[0, 0, 5], (torch.arange(80) + 0.5 + 16) / 2, atol=1e-4)
    camera.to_original[0] = torch.tensor([[-2.0, 0, 80], [0, 2, 0], [0, 0, 1]])
    flipped = sample_at_original(ramp, camera, 0)
    assert torch.allclose(flipped[0, 0, 5, :-1], (80 - torch.arange(79) - 0.5) / 2, atol=1e-4)  # the last: at the edge


def test_autocast_leaves_losses_float32_and_predictions_nearly_the_same():
    model, batch = lraspp(), batch_of()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, weight = model.losses(batch)["cross_entropy"]
        assert model.logits(normalise_images(batch.camera.images))["out"].dtype == torch.float32
    assert total.dtype == weight.dtype == torch.float32
    assert torch.allclose(total, lraspp().losses(batch)["cross_entropy"][0], rtol=2e-2)


def test_one_picture_at_a_time_is_refused_with_a_remedy():
    model = zoo.deeplabv3_mobilenet_v3_large(AuxSegmentationConfig(), CONTEXT)
    with pytest.raises(UserError, match=r"batch\.micro to 2"):
        model.losses(batch_of(batch=1))


def test_class_weights_are_checked():
    assert SegmentationConfig(class_weights=[1, 2, 3]).weights_of(CLASSES, "model") == [1, 2, 3]
    with pytest.raises(UserError, match="2 weights for 3 classes"):
        SegmentationConfig(class_weights=[1, 2]).weights_of(CLASSES, "model")
    with pytest.raises(UserError, match="did you mean 'car'"):
        SegmentationConfig(class_weights={"cars": 2}).weights_of(CLASSES, "model")


def test_pretrained_weights_are_taken_from_the_cache(tmp_path, monkeypatch):
    """Torchvision's own file format and name, in torch's cache: the body is taken over, the head starts anew."""
    from torchvision.models import get_model, get_model_weights

    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    donor = get_model("lraspp_mobilenet_v3_large", weights=None, weights_backbone=None, num_classes=21)
    file = tmp_path / "checkpoints" / get_model_weights("lraspp_mobilenet_v3_large")["DEFAULT"].url.split("/")[-1]
    file.parent.mkdir()
    torch.save(donor.state_dict(), file)
    model = lraspp(weights="DEFAULT")
    assert torch.equal(model.net.backbone["0"][0].weight, donor.backbone["0"][0].weight)
    assert torch.equal(model.net.classifier.cbr[0].weight, donor.classifier.cbr[0].weight)
    assert model.net.classifier.low_classifier.weight.shape[0] == len(CLASSES)
    file.write_bytes(b"cut off")
    with pytest.raises(UserError, match="does not load"):
        lraspp(weights="DEFAULT")


def test_weights_that_cannot_be_had_are_told_with_file_folder_and_remedy(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # a port where nothing listens: no network
    with pytest.raises(UserError) as caught:
        lraspp(weights_backbone="IMAGENET1K_V1")
    text = caught.value.text()
    assert "mobilenet_v3_large-8738ca79.pth" in text and str(tmp_path) in text and "drivetrain weights import" in text
    with pytest.raises(UserError, match="did you mean 'IMAGENET1K_V1'"):
        lraspp(weights_backbone="IMAGENET_V1")


def test_export_gives_logits_at_the_input_size():
    model = lraspp().eval()
    images = torch.randn(2, 3, 64, 96)
    with torch.inference_mode():
        assert torch.allclose(model.export_module()(images), model.net(images)["out"], atol=1e-5)
