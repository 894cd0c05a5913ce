"""Backbones of timm under our neck and heads: the contract, weights, what is refused; norms that activate."""

from __future__ import annotations

import sys

import pytest
import torch

from drivetrain import ModelContext, UserError
from drivetrain.norms import set_norms
from drivetrain.plugins.models.road.config import RoadDetectorConfig, TimmConfig
from drivetrain.plugins.models.road.detector import RoadDetector
from drivetrain.plugins.models.road.detector import build as build_detector
from drivetrain.plugins.models.road.multitask import build as build_multitask
from drivetrain.plugins.models.road.multitask_config import RoadMultitaskConfig
from drivetrain.plugins.models.road.timm_backbone import TimmBackbone
from drivetrain.testing import check_model
from drivetrain.weights import initialise, read_weights

timm = pytest.importorskip("timm")

TASK, CLASSES = "object_detection", ("car", "person")
STRIDES = (4, 8, 16, 32)
NETWORKS = {  # one of each way in which timm gives maps
    "resnet10t": {},
    "mobilenetv3_small_050": {},
    "convnext_atto": {},
    "swin_tiny_patch4_window7_224": {
        "embed_dim": 8, "depths": [1, 1, 1, 1], "num_heads": [1, 1, 1, 1], "img_size": [64, 96], "window_size": 2,
    },
}  # fmt: skip


def detector(name: str, options: dict | None = None, **config) -> RoadDetector:
    torch.manual_seed(0)
    backbone = {"timm": name, "options": options or {}}
    return build_detector(RoadDetectorConfig(backbone=backbone, **config), ModelContext((TASK,), {TASK: CLASSES}))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_detector_on_it_conforms(name):
    check_model(lambda _: detector(name, NETWORKS[name], score_threshold=0.0), TASK, CLASSES, size=(64, 96))


def test_a_multitask_model_on_it_conforms():
    tasks = {TASK: CLASSES, "semantic_segmentation": CLASSES}
    config = RoadMultitaskConfig(backbone={"timm": "resnet10t"}, object_detection={"score_threshold": 0.0})
    check_model(lambda context: build_multitask(config, context), tuple(tasks), tasks, size=(64, 96))


@pytest.mark.parametrize("name", NETWORKS)
def test_maps_have_the_strides_and_channels_that_it_tells(name):
    backbone = TimmBackbone(TimmConfig(timm=name, options=NETWORKS[name]), STRIDES)
    maps = backbone(torch.rand(1, 3, 64, 96))
    wanted = [(1, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, STRIDES)]
    assert [tuple(x.shape) for x in maps] == wanted


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "convnext_atto"])
def test_weights_of_the_network_as_timm_saves_them_fill_the_backbone(name, tmp_path):
    """Of all of the network: the classifier and what lies behind the last map are not looked at."""
    file = tmp_path / "weights.pth"
    torch.manual_seed(5)
    torch.save(timm.create_model(name).state_dict(), file)
    model = detector(name)
    loaded = initialise(model, model.own_names(read_weights(str(file))))
    assert not loaded.mismatched and not [n for n in loaded.missing if n.startswith("backbone.")]
    saved, first = torch.load(file), next(iter(model.backbone.net.state_dict()))
    assert torch.equal(model.state_dict()[f"backbone.net.{first}"], saved[next(iter(saved))])


def test_weights_of_a_whole_model_keep_their_names():
    """Of a run, for one."""
    model = detector("resnet10t")
    assert model.own_names(model.state_dict()).keys() == model.state_dict().keys()


def test_pictures_are_normalised_as_the_network_was_trained():
    own = timm.get_pretrained_cfg("mobilevit_xxs")
    assert detector("mobilevit_xxs").normalisation() == (tuple(own.mean), tuple(own.std)) == ((0.0,) * 3, (1.0,) * 3)


@pytest.mark.parametrize(
    "name, options, said",
    [
        ("resnet10", {}, r"timm has no network 'resnet10'\n  did you mean 'resnet10t'"),
        ("vit_tiny_patch16_224", {}, r"has maps at the strides \[16\], none at 8 and 32"),
        ("resnet10t", {"pretrained": True}, "model.backbone.options.pretrained: pretrained cannot be set"),
        ("resnet10t", {"colour": "red"}, "timm cannot build maps of resnet10t: .*'colour'"),
    ],
)
def test_what_cannot_be_built_is_told(name, options, said):
    with pytest.raises(UserError, match=said):
        detector(name, options)


def test_without_timm_its_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(UserError, match=r"pip install 'drivetrain\[timm\]'"):
        detector("resnet10t")


@pytest.mark.parametrize("norm", ["sync", "frozen", "group"])
def test_other_norms_keep_the_activation_that_timm_puts_into_its_own(norm):
    """Its BatchNormAct2d is a batch norm and a ReLU."""
    from timm.layers import BatchNormAct2d

    torch.manual_seed(0)
    plain = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), BatchNormAct2d(8))
    other = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 1), BatchNormAct2d(8))
    other.load_state_dict(plain.state_dict())
    set_norms(other, norm)
    assert set(other.state_dict()) <= set(plain.state_dict())
    x = torch.randn(4, 3, 5, 5)
    if norm != "group":
        assert torch.allclose(other.eval()(x), plain.eval()(x), atol=1e-6)
    assert (other.train()(x) >= 0).all() and (other(x) > 0).any()
