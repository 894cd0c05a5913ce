"""Transformers' models: the contract, RT-DETR's losses against transformers' own, what is not labelled, folders, errors."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch

from drivetrain import Batch, ModelContext, UserError, normalise_images, total_loss
from drivetrain.activations import checkpoint_blocks
from drivetrain.norms import set_norms
from drivetrain.testing import check_model, make_batch
from drivetrain.weights import initialise

transformers = pytest.importorskip("transformers")

from drivetrain.plugins.models.transformers import rt_detr, segformer  # noqa: E402
from drivetrain.plugins.models.transformers.config import RTDetrConfig, SegformerConfig  # noqa: E402

BOXES, MASKS = "object_detection", "semantic_segmentation"
CLASSES = ("car", "person", "sign")
TINY = {
    "backbone_config": {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "embedding_size": 8},
    "encoder_in_channels": [16, 24, 32], "encoder_hidden_dim": 32, "d_model": 32, "decoder_in_channels": [32, 32, 32],
    "encoder_ffn_dim": 32, "decoder_ffn_dim": 32, "decoder_layers": 2, "num_queries": 20, "num_denoising": 12,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2,
}  # fmt: skip
TINY_MASKS = {"depths": [1, 1, 1, 1], "hidden_sizes": [8, 16, 24, 32], "num_attention_heads": [1, 1, 2, 2],
              "decoder_hidden_size": 16}  # fmt: skip


def detector(seed: int = 0, settings: dict | None = None, **config) -> rt_detr.RTDetr:
    torch.manual_seed(seed)
    given = RTDetrConfig(config={**TINY, **(settings or {})}, **config)
    return rt_detr.build(given, ModelContext((BOXES,), {BOXES: CLASSES}))


def segmenter(seed: int = 0, settings: dict | None = None, **config) -> segformer.Segformer:
    torch.manual_seed(seed)
    given = SegformerConfig(config={**TINY_MASKS, **(settings or {})}, **config)
    return segformer.build(given, ModelContext((MASKS,), {MASKS: CLASSES}))


def seeded(model: torch.nn.Module, batch: Batch) -> dict:
    torch.manual_seed(3)
    return model.losses(batch)


def test_rt_detr_conforms():
    check_model(lambda _: detector(score_threshold=0.0, detections_per_image=20), BOXES, CLASSES, size=(64, 96))


def test_segformer_conforms():
    check_model(lambda _: segmenter(), MASKS, CLASSES, size=(64, 90))


def test_losses_are_transformers_own_where_all_is_labelled():
    """Of pictures that all have objects; with its normalisation by the boxes of the batch."""
    model = detector().train()
    batch = make_batch(BOXES, CLASSES, (64, 96), batch=3)
    fields = batch.camera.targets[BOXES]
    fields["valid"][0, :2] = False  # the pictures have 1, 3 and 3 objects, the first one's after padding
    losses = seeded(model, batch)
    scale = torch.tensor([96.0, 64, 96, 64])
    labels = []
    for boxes, classes, valid in zip(fields["boxes"], fields["classes"], fields["valid"]):
        low, high = (boxes[valid] / scale).split(2, 1)
        labels.append({"class_labels": classes[valid], "boxes": torch.cat([(low + high) / 2, high - low], 1)})
    torch.manual_seed(3)
    theirs = model.net(normalise_images(batch.camera.images, *model.normalisation()), labels=labels).loss_dict
    for ours, name in {"classes": "vfl", "boxes": "bbox", "giou": "giou"}.items():
        for prefix, is_denoised in (("", False), ("denoised_", True)):
            expected = sum(v for key, v in theirs.items() if key.startswith(f"loss_{name}") and ("_dn_" in key) == is_denoised)
            total, weight = losses[prefix + ours]
            assert weight == 7
            assert (total / weight).item() == pytest.approx(expected.item(), rel=1e-4), prefix + ours


def test_a_batch_without_objects_learns_background_and_denoises_nothing():
    batch = make_batch(BOXES, CLASSES, (64, 96), objects=False)
    batch.camera.targets[BOXES] = {name: value[:, :0] for name, value in batch.camera.targets[BOXES].items()}
    model = detector().train()
    losses = seeded(model, batch)
    assert losses["classes"][0] > 0 and losses["classes"][1] == 2
    assert all(losses[name] == (0, 0) for name in losses if name != "classes") and len(losses) == 6
    total_loss(losses).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def logit_gradients(model: rt_detr.RTDetr, batch: Batch) -> torch.Tensor:
    """[C]: how much the losses of classes pull on each class's score, of the last layer."""
    model.zero_grad()
    total_loss({"classes": seeded(model, batch)["classes"]}).backward()
    return model.net.model.decoder.class_embed[-1].weight.grad.abs().sum(1)


def test_classes_that_were_not_looked_for_teach_nothing():
    batch = make_batch(BOXES, CLASSES, (64, 96), objects=False)
    batch.camera.labelled_classes[BOXES][:, 1] = False
    pulled = logit_gradients(detector().train(), batch)
    assert pulled[1] == 0 and pulled[0] > 0 and pulled[2] > 0


def test_background_inside_ignore_regions_teaches_nothing():
    batch = make_batch(BOXES, CLASSES, (64, 96), objects=False)
    fields = batch.camera.targets[BOXES]
    fields["ignore_boxes"][:], fields["ignore_valid"][:] = torch.tensor([0.0, 0, 96, 64]), True
    model = detector().train()
    losses = seeded(model, batch)
    assert losses["classes"][0] == 0 and losses["classes"][1] == 2
    fields["ignore_boxes"][0, 0] = torch.tensor([0.0, 0, 1, 1])
    assert seeded(model, batch)["classes"][0] > 0


def test_an_unlabelled_picture_does_not_change_the_losses_of_the_others():
    """It has boxes, of a source without labels of this task."""
    batch = make_batch(BOXES, CLASSES, (64, 96), batch=3)
    batch.camera.labelled[BOXES][1] = False
    model = detector(settings={"label_noise_ratio": 0.0, "box_noise_scale": 0.0}).eval()
    losses = seeded(model.train(), batch)
    batch.camera.targets[BOXES]["boxes"][1] = 7.0
    again = seeded(model, batch)
    assert losses["boxes"][1] == 6 and all(torch.equal(a, b) for n in losses for a, b in zip(losses[n], again[n]))


def test_more_objects_than_queries_are_learnt_as_far_as_queries_go():
    model = detector(settings={"num_queries": 2}).train()
    losses = seeded(model, make_batch(BOXES, CLASSES, (64, 96)))
    assert losses["boxes"][0].isfinite() and losses["boxes"][1] == 6


@pytest.mark.parametrize("build, task", [(detector, BOXES), (segmenter, MASKS)])
def test_losses_and_boxes_are_float32_under_autocast(build, task):
    batch, model = make_batch(task, CLASSES, (64, 96)), build().train()
    plain = seeded(model, batch)
    with torch.autocast("cpu", torch.bfloat16):
        mixed = seeded(model, batch)
        total_loss(mixed).backward()
        model.eval()
        if task == BOXES:
            boxes, scores = model.detect(torch.rand(1, 3, 64, 96))
            assert boxes.dtype == scores.dtype == torch.float32
    for name in plain:
        assert mixed[name][0].dtype == torch.float32
        if task == MASKS:  # which queries are chosen, and what they learn, hangs on the last digits
            assert mixed[name][0].item() == pytest.approx(plain[name][0].item(), rel=0.1), name
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_it_trains_after_it_was_evaluated_in_inference_mode():
    """Transformers keeps anchors and positions between calls."""
    batch, model = make_batch(BOXES, CLASSES, (64, 64)), detector()
    with torch.inference_mode():
        model.eval().predict(batch)
    total_loss(model.train().losses(batch)).backward()


@pytest.mark.parametrize("size, millions", [("r18", 20), ("r50", 43)])
def test_rt_detr_has_the_published_sizes(size, millions):
    with torch.device("meta"):
        model = rt_detr.build(RTDetrConfig(size=size), ModelContext((BOXES,), {BOXES: tuple(map(str, range(80)))}))
    assert round(sum(p.numel() for p in model.parameters()) / 1e6) == millions
    assert not any("Frozen" in type(module).__name__ for module in model.modules())


@pytest.mark.parametrize("size, millions", [("b0", 3.7), ("b2", 27.4)])
def test_segformer_has_the_published_sizes(size, millions):
    with torch.device("meta"):
        model = segformer.build(SegformerConfig(size=size), ModelContext((MASKS,), {MASKS: tuple(map(str, range(19)))}))
    assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("build, kind, task", [(detector, RTDetrConfig, BOXES), (segmenter, SegformerConfig, MASKS)])
def test_a_saved_folder_gives_architecture_and_weights(build, kind, task, tmp_path):
    """Of a model of other classes: what depends on them starts anew. The run keeps what was written in the folder."""
    saved = build(seed=4)
    saved.net.save_pretrained(tmp_path / "saved")
    config = kind(folder=str(tmp_path / "saved"))
    assert config.size is None and config.folder["model_type"] == kind.kind
    again = kind.model_validate(config.model_dump(mode="json"))
    factory = (rt_detr if task == BOXES else segformer).build
    model = factory(again, ModelContext((task,), {task: ("one", "two")}))
    loaded = initialise(model, model.published_weights(str(tmp_path / "saved")))
    assert not loaded.missing or all("class" in name or "score_head" in name for name in loaded.missing)
    assert loaded.mismatched and all("class" in name or "score_head" in name for name in loaded.mismatched)
    theirs = saved.net.state_dict()
    for name in loaded.loaded:
        assert torch.equal(model.state_dict()[name], theirs[name.removeprefix("net.")]), name


def test_a_published_folder_has_frozen_norms_in_its_backbone_and_other_norms_replace_them(tmp_path):
    """As transformers does by default; weights of the one load into the other."""
    folder = tmp_path / "saved"
    made = transformers.RTDetrConfig(**detector().net.config.to_dict() | {"freeze_backbone_batch_norms": True})
    transformers.RTDetrForObjectDetection(made).save_pretrained(folder)
    model = rt_detr.build(RTDetrConfig(folder=str(folder)), ModelContext((BOXES,), {BOXES: CLASSES}))
    kinds = {type(m).__name__ for m in model.net.model.backbone.modules()}
    assert "RTDetrFrozenBatchNorm2d" in kinds and "BatchNorm2d" not in kinds
    loaded = initialise(detector(), model.published_weights(str(folder)))
    assert not loaded.mismatched and all(name.endswith("num_batches_tracked") for name in loaded.missing)
    set_norms(model, "sync")
    assert not any("Frozen" in type(m).__name__ for m in model.modules())
    total_loss(model.train().losses(make_batch(BOXES, CLASSES, (64, 96)))).backward()


@pytest.mark.parametrize(
    "settings, said",
    [
        (
            {"num_querys": 10},
            r"config.num_querys: transformers' RTDetrConfig has no field 'num_querys'\n  did you mean 'num_quer",
        ),
        ({"backbone_config": {"depth": [1]}}, "backbone_config.depth: .* has no field 'depth'\n  did you mean 'depths'"),
        ({"num_queries": "many"}, "refuses its fields: .*num_queries"),
        ({"num_labels": 3}, "num_labels follows from the recipe"),
        ({"auxiliary_loss": False}, "auxiliary_loss follows from the recipe"),
        ({"decoder_attention_heads": 5}, "cannot build RTDetrForObjectDetection: .*divisible"),
        ({"backbone_config": {"model_type": "timm_backbone", "use_pretrained_backbone": True}}, "are not fetched"),
    ],
)
def test_fields_that_cannot_be_are_told(settings, said):
    with pytest.raises(UserError, match=said):
        detector(settings=settings)


def test_pictures_with_fewer_cells_than_queries_are_told():
    with pytest.raises(UserError, match=r"150 queries are chosen among 84 cells of a picture of \(64, 64\)"):
        detector(settings={"num_queries": 150}).losses(make_batch(BOXES, CLASSES, (64, 64)))


@pytest.mark.parametrize(
    "given, said",
    [
        ({"size": "r19"}, "Input should be 'r18'"),
        ({"size": "r18", "folder": "there"}, "two architectures"),
        ({"folder": "nowhere"}, "nowhere/config.json is not there: expected a folder written by save_pretrained"),
    ],
)
def test_architectures_that_cannot_be_are_told_without_transformers(given, said):
    with pytest.raises(ValueError, match=said):
        RTDetrConfig(**given)


def test_a_folder_of_another_model_is_refused(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "segformer"}')
    with pytest.raises(ValueError, match="of a model 'segformer', expected 'rt_detr'"):
        RTDetrConfig(folder=str(tmp_path))


def test_without_transformers_the_extra_is_named_and_plugins_are_still_listed():
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from drivetrain.manager import PluginManager; from drivetrain import UserError\n"
        "found = PluginManager().resolve('model', 'rt_detr'); found.load_config()\n"
        "assert 'torch' not in sys.modules\n"
        "try: found.load_factory()\n"
        "except UserError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install 'drivetrain[transformers]'" in done.stdout, done.stderr


@pytest.mark.parametrize("build, task", [(detector, BOXES), (segmenter, MASKS)])
def test_the_export_says_what_the_model_says(build, task, tmp_path):
    """Of pictures whose sides are no multiples of 32."""
    model = build().eval()
    module, images = model.export_module(), torch.rand(1, 3, 60, 90)
    program = torch.export.export(module, (images,)).module()
    other = torch.rand(1, 3, 60, 90)
    with torch.no_grad():
        eager, exported = module(other), program(other)
    pairs = zip(eager, exported) if isinstance(eager, tuple) else [(eager, exported)]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)
    if task == MASKS:
        assert eager.shape == (1, len(CLASSES), 60, 90)


@pytest.mark.parametrize("build, task", [(detector, BOXES), (segmenter, MASKS)])
def test_its_layers_are_told_and_may_be_computed_again(build, task):
    batch, plain, again = make_batch(task, CLASSES, (64, 96)), build().train(), build().train()
    assert len(plain.layer_names()) > 4 and all(plain.get_submodule(name) for name in plain.layer_names())
    checkpoint_blocks(again, True)
    for model in (plain, again):
        total_loss(seeded(model, batch)).backward()
    pairs = zip(plain.named_parameters(), again.named_parameters())
    assert all(torch.allclose(one.grad, other.grad, atol=1e-5) for (_, one), (_, other) in pairs)
