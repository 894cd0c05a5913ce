"""The recipes that ship: what they say of themselves is true as far as it can be looked up, and their models can be built."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torchvision.models import get_weight

from drivetrain import ModelContext
from drivetrain.recipe import Recipe, load_recipe
from drivetrain.recipe_list import rows, table
from drivetrain.recipe_sources import shipped_parts, shipped_patterns, shipped_recipes
from drivetrain.tasks import TASKS

ROOT = Path(__file__).resolve().parents[2]
FRAMES = {"coco": 118_287, "bdd100k": 69_863, "bdd10k": 7_000, "cityscapes": 2_975, "culane": 88_880, "tusimple": 3_626,
          "nuscenes": 28_130, "waymo": 158_081, "argoverse2": 110_071, "kitti": 3_712}  # fmt: skip


@pytest.fixture(scope="module")
def recipes() -> dict[str, Recipe]:
    return {name: load_recipe(name) for name in shipped_recipes()}


@pytest.mark.parametrize("name", shipped_recipes())
def test_its_model_can_be_built(recipes, name):
    """Without memory, and without weights that would have to be fetched."""
    has_weights = hasattr(recipes[name].plugin("model").config, "weights_backbone")
    recipe = load_recipe(f"{name},scratch") if has_weights else recipes[name]
    model = recipe.plugin("model")
    if model.found.declaration.name in ("rt_detr", "segformer"):
        pytest.importorskip("transformers")
    with torch.device("meta"):
        built = model.found.load_factory()(model.config, ModelContext(recipe.tasks, recipe.classes))
    assert 1e6 < sum(parameter.numel() for parameter in built.parameters()) < 1e8


@pytest.mark.parametrize("name", shipped_recipes())
def test_it_says_what_it_is(recipes, name):
    about = recipes[name].about
    assert about["what"] and about["hardware"]
    aim = about.get("published") or about.get("peer")
    if isinstance(aim, dict):
        assert aim["figure"] in recipes[name].metrics and 0 < aim["value"] < 1 and aim["source"]
        assert recipes[name].evaluation.at_end


@pytest.mark.parametrize("name", ["coco-fcos", "coco-retinanet", "coco-faster-rcnn", "coco-ssdlite"])
def test_published_figures_on_coco_are_torchvisions_own(recipes, name):
    aim = recipes[name].about["published"]
    weights = get_weight(aim["source"].split(", ")[1])
    assert aim["value"] == pytest.approx(weights.meta["_metrics"]["COCO-val2017"]["box_map"] / 100)
    classes = [name for name in weights.meta["categories"] if name not in ("__background__", "N/A")]
    assert list(recipes[name].classes["object_detection"]) == classes


@pytest.mark.parametrize("name", ["cityscapes-deeplabv3", "bdd100k-deeplabv3"])
def test_the_19_classes_are_cityscapes_own(recipes, name):
    from drivetrain.datasets.cityscapes.classes import SEMANTIC

    assert list(recipes[name].classes["semantic_segmentation"]) == [info.name for info in SEMANTIC if not info.ignore]


def test_schedules_are_whole_epochs_of_what_their_comments_say(recipes):
    """Epochs by dataset and model, as the sources have them; those of masks are told in steps."""
    epochs = {"coco-fcos": 26, "coco-retinanet": 26, "coco-faster-rcnn": 26, "coco-ssdlite": 660, "coco-road-detector": 300,
              "coco-rt-detr": 72,
              "bdd100k-fcos": 12, "bdd100k-retinanet": 12, "bdd100k-faster-rcnn": 12, "bdd100k-road-detector": 36,
              "bdd100k-lanes": 30, "bdd100k-multitask": 50, "nuscenes-road-detector": 24, "waymo-road-detector": 12,
              "argoverse2-road-detector": 12, "culane-lanes": 50, "tusimple-lanes": 100}  # fmt: skip
    for name, wanted in epochs.items():
        recipe, [source] = recipes[name], recipes[name].data.train
        assert recipe.train.steps * recipe.batch.global_ / FRAMES[source] == pytest.approx(wanted, rel=0.003), name


def test_patterns_are_of_tasks_and_parts_are_used():
    assert set(shipped_patterns()) == set(TASKS)
    texts = [path.read_text() for path in shipped_recipes().values()]
    for part in shipped_parts().keys() - {"small", "scratch"}:
        used = [text for text in texts if f"{part}," in text or f"{part}]" in text]
        assert used, part
    assert not set(shipped_parts()) & set(shipped_recipes())


def test_the_small_ones_are_small(recipes):
    for name in recipes:
        small = load_recipe(f"{name},small")
        assert small.batch.global_ == 4 and small.train.steps == 200 and not small.gates
        sizes = [one.config.size for one in small.transforms.values() if hasattr(one.config, "size")]
        assert all(math.prod(size) <= 192 * 320 for size in sizes) and sizes, name


def test_the_table_in_the_docs_is_that_of_the_recipes():
    """Write it anew with: drivetrain recipe list --markdown"""
    assert table(list(rows())) in (ROOT / "docs" / "recipes.md").read_text()
