"""Recipes: what is resolved, where it is from, and how a wrong one answers."""

from __future__ import annotations

import json
import sys
import textwrap

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivetrain import RecipeError, Source
from drivetrain.manager import Controls, PluginManager
from drivetrain.recipe import Recipe, compare, load_recipe
from drivetrain.recipe_sources import shipped_recipes, write_yaml

STRANGER = """
from pydantic import BaseModel, Field
from drivetrain import MetricPlugin, ModelPlugin, PluginConfig, TransformPlugin, hookimpl

class Inner(BaseModel):
    model_config = {"extra": "forbid"}
    depth: int = 2
    name: str

class TwoConfig(PluginConfig):
    neck: Inner = Field(Inner(name="fpn"), description="of the heads")
    scale: float | tuple[float, float] = 1.0
    drop: float | None = 0.1
    width_: int = Field(64, alias="width", gt=0)

class Broken(PluginConfig):
    x: int = 1

@hookimpl
def drivetrain_models():
    return [ModelPlugin(name="two_heads", about="", factory="stranger:make", config="stranger:TwoConfig",
                        tasks={"semantic_segmentation", "object_detection"}),
            ModelPlugin(name="gone", about="", factory="stranger:make", config="stranger:Missing", tasks={"object_detection"})]

@hookimpl
def drivetrain_transforms():
    return [TransformPlugin(name="plain", about="", factory="stranger:make"),
            TransformPlugin(name="flip", about="", factory="stranger:make")]
"""

BASE = """\
about: {what: "a test", figures: {miou: "not reproduced here"}}
seed: 3
data:
  train: {city: {shards: ./city/train}}
  val: {city: {shards: ./city/val}}
  classes: [road, car]
transforms:
  resize: {size: [64, 96]}
  colour:
model: {plugin: lraspp_mobilenet_v3_large, task: semantic_segmentation}
batch: {global: 16, micro: 4}
optimizer: {plugin: adamw, lr: 2e-3}
train: {steps: 20}
metrics: {miou: {}}
"""


@pytest.fixture(scope="session")
def ours():
    return PluginManager(Controls(allowed=()))


@pytest.fixture(scope="session")
def with_stranger(tmp_path_factory):
    path = tmp_path_factory.mktemp("plugins") / "stranger.py"
    path.write_text(STRANGER)
    yield PluginManager(Controls(files=(str(path),), allowed=()))
    del sys.modules["stranger"]


@pytest.fixture
def load(tmp_path, monkeypatch, ours):
    """A recipe from text (`BASE` where it is silent), read as ./a.yaml."""
    monkeypatch.chdir(tmp_path)

    def read(text=BASE, *overrides, manager=ours):
        (tmp_path / "a.yaml").write_text(textwrap.dedent(text))
        return load_recipe("a.yaml", overrides, manager)

    return read


@pytest.fixture
def refused(load):
    """The text of the error of a recipe that is refused."""

    def read(*arguments, **options):
        with pytest.raises(RecipeError) as caught:
            load(*arguments, **options)
        return str(caught.value)

    return read


# ---------------------------------------------------------------- what is right


def test_sections_are_typed_and_defaults_filled_in(load):
    recipe = load()
    assert (recipe.train.steps, recipe.batch.slots, recipe.batch.global_, recipe.seed) == (20, 4, 16, 3)
    assert (recipe.precision, recipe.evaluation.every, recipe.checkpoint.keep) == ("fp32", None, 3)
    assert recipe.tasks == ("semantic_segmentation",) and recipe.classes == {"semantic_segmentation": ("road", "car")}
    assert recipe.plugin("optimizer").config.lr == 2e-3 and recipe.plugin("optimizer").found.full_name == "drivetrain:adamw"
    assert recipe.plugin("loader").found.declaration.default and recipe.plugin("lr_schedule").found.declaration.default
    assert list(recipe.transforms) == ["resize", "colour"] and recipe.transforms["resize"].config.size == (64, 96)
    assert recipe.transforms["colour"].config.strength == 0.2  # an entry without a value has its defaults
    assert recipe.written == BASE and recipe.model.init_from is None and recipe.trackers == {}


def test_what_is_resolved_is_json_whole_and_comes_back_equal(load, ours, with_stranger):
    for recipe, manager in ((load(), ours), (load(TWO_TASKS, manager=with_stranger), with_stranger)):
        frozen = json.loads(json.dumps(recipe.resolved()))
        again = Recipe.from_resolved(frozen, manager)
        assert again == recipe and again.resolved() == frozen
        assert again.plugin("model").config == recipe.plugin("model").config and again.classes == recipe.classes
    assert frozen["model"]["plugin"] == "stranger:two_heads" and frozen["model"]["width"] == 8


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_right_and_what_is_shown_of_them_is_a_recipe(load, ours, name):
    recipe = load_recipe(name, (), ours)
    assert load(write_yaml(recipe.resolved())) == recipe


def test_origins_name_file_command_line_or_default(load, tmp_path):
    (tmp_path / "cluster.yaml").write_text("parallelism: {plugin: single}\ntrain: {threads: 4, log_every: 3}\n")
    recipe = load("extends: [cluster.yaml]\n" + BASE, "train.steps=5", "train.log_every=null", "transforms.flip={}")
    expected = {
        "seed": "a.yaml:3", "train.steps": "command line", "train.threads": "cluster.yaml:2", "train.clip": "default",
        "train.log_every": "default", "transforms.resize.size": "a.yaml:9", "transforms.resize.plugin": "a.yaml:9",
        "transforms.colour.plugin": "a.yaml:10", "transforms.colour.strength": "default", "transforms.flip.p": "default",
        "transforms.flip.plugin": "command line", "model.plugin": "a.yaml:11", "model.tasks": "a.yaml:11",
        "data.classes.semantic_segmentation": "a.yaml:7", "parallelism.plugin": "cluster.yaml:1", "loader.plugin": "default",
        "about.figures.miou": "a.yaml:2", "data.val.city.shards": "a.yaml:6",
    }  # fmt: skip
    assert {key: recipe.origins[key] for key in expected} == expected
    assert recipe.train.log_every == 10
    assert recipe.where("model.plugin") == "a.yaml:11: model.plugin"
    assert recipe.where("train.steps") == "command line: train.steps=5"


def test_null_restores_a_default_and_enabled_false_removes(load):
    recipe = load(
        BASE, "data.cameras=null", "optimizer.lr=null", "transforms.resize.enabled=false", "transforms.colour.strength=null",
        "data.train.more={shards: s, enabled: false}", "transforms.not_installed={enabled: false, x: 1}",
    )  # fmt: skip
    assert recipe.plugin("optimizer").config.lr == 1e-3 and list(recipe.transforms) == ["colour"]
    assert [source.name for source in recipe.data_spec_sources("train")] == ["city"]
    resolved = recipe.resolved()
    assert list(resolved["transforms"]) == ["colour"] and list(resolved["data"]["train"]) == ["city"]
    assert "enabled" not in resolved["transforms"]["colour"]


def test_null_means_none_where_none_is_admitted(load, with_stranger):
    config = load(TWO_TASKS, "model.drop=null", "model.neck.depth=null", manager=with_stranger).plugin("model").config
    assert config.drop is None and (config.neck.depth, config.neck.name) == (2, "pan")


def test_entries_keep_their_order_and_may_name_another_plugin(load, with_stranger):
    text = BASE.replace(
        "  colour:\n", "  twice: {plugin: 'drivetrain:flip', p: 1}\n  plain: {}\n  flip: {plugin: 'stranger:flip'}\n"
    )
    recipe = load(text, manager=with_stranger)
    assert [(name, one.found.full_name) for name, one in recipe.transforms.items()] == [
        ("resize", "drivetrain:resize"), ("twice", "drivetrain:flip"), ("plain", "stranger:plain"), ("flip", "stranger:flip")
    ]  # fmt: skip
    assert recipe.transforms["twice"].config.p == 1 and recipe.transforms["plain"].config is None


def test_a_models_only_task_need_not_be_said(load):
    recipe = load(BASE, "model.plugin=deeplabv3_resnet50")
    assert recipe.tasks == ("semantic_segmentation",) and "task" in recipe.notes[0]


def test_a_flat_taxonomy_goes_to_the_tasks_that_have_its_targets(load, with_stranger):
    [source] = load(TWO_TASKS, manager=with_stranger).data_spec_sources("train")
    assert source == Source("city", "./city/train", {
        "semantic_segmentation": {"Street": "road", "ego": "ignore", "lorry": "drop"},
        "object_detection": {"ego": "ignore", "lorry": "drop"},
    }, "a.yaml:3: data.train.city")  # fmt: skip


TWO_TASKS = """\
data:
  train:
    city: {shards: ./city/train, taxonomy: {lorry: drop}}
  classes: {semantic_segmentation: [road, sky], object_detection: [car]}
  taxonomy: {city: {Street: road, ego: ignore, lorry: car}}
model: {plugin: two_heads, tasks: [semantic_segmentation, object_detection], neck: {name: pan}, scale: [0.5, 2], width: 8}
batch: {global: 4, micro: 4}
train: {steps: 1}
"""


# ---------------------------------------------------------------- what is wrong


def test_all_that_is_wrong_is_told_at_once_in_order_of_lines(refused):
    told = refused(
        """\
        about: {what: x}
        seeed: 1
        data:
          train: {camvid: {shards: ./s, tax: 3}}
          val: {camvid: }
          classes: 3
        transforms:
          resize: {size: [180, "240"], keep: 1}
          flipp: {p: 0.5}
          flip: {p: 2}
          colour:
            strength: no
        model: {plugin: lraspp, task: semantic_segmentation}
        batch: {global: 18, micro: 4}
        precision: fp16
        parallelism: single
        optimizer: {plugin: adamw, lr: "1e-3", momentum: .9}
        train: {step: 1200, clip: -1, log_every: 1.5}
        gates: {miou: {}}
        """
    )
    assert [line for line in told.splitlines() if not line.startswith("  ")] == [
        "a.yaml: 20 mistakes",
        "a.yaml:2: seeed: no such key",
        "a.yaml:4: data.train.camvid.tax: no such key",
        "a.yaml:5: data.val.camvid.shards: is needed: the folder or address of a shard set or of WebDataset tars",
        "a.yaml:6: data.classes: expected a list or a mapping, not 3",
        "a.yaml:8: transforms.resize.keep: no such key",
        'a.yaml:8: transforms.resize.size.1: expected an integer, not "240"',
        "a.yaml:9: transforms.flipp.plugin: no transform 'flipp'",
        "a.yaml:10: transforms.flip.p: expected a number less than or equal to 1, not 2",
        'a.yaml:12: transforms.colour.strength: expected a number, not "no"',
        "a.yaml:13: model.plugin: no model 'lraspp'",
        "a.yaml:14: batch.global: 18 is not a multiple of batch.micro, 4; the nearest: 16 and 20",
        "a.yaml:15: precision: expected 'fp32' or 'bf16', not \"fp16\"",
        'a.yaml:16: parallelism: expected a mapping, not "single"',
        "a.yaml:17: optimizer.momentum: no such key",
        'a.yaml:17: optimizer.lr: expected a number, not "1e-3"',
        "a.yaml:18: train.step: no such key",
        "a.yaml:18: train.steps: is needed: optimizer steps of the whole schedule",
        "a.yaml:18: train.clip: expected a number greater than 0, not -1",
        "a.yaml:18: train.log_every: expected an integer, not 1.5",
        "a.yaml:19: gates.miou: expected min, max, max_drop or max_rise",
    ]
    for line, near in (("seeed", "'seed'"), ("'flipp'", "'flip'"), ("train.step:", "'steps'"), ("'lraspp'", "'lraspp_mobile")):
        after = told[told.index(line) :].splitlines()[1]
        assert after.startswith("  did you mean ") and near in after


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("train.step=5", "@: no such key\n  did you mean 'steps'?\n  keys of train: steps, clip, "),
        ("trian.steps=5", "@: no such key\n  did you mean 'train'?\n  sections: "),
        ("train.steps=[1", "@: not YAML"),
        ("train.steps=1.5", "@: expected an integer, not 1.5"),
        ("train.steps=true", "@: expected an integer, not true"),
        ("train=5", "@: expected a mapping, not 5"),
        ("batch=null", "@: is needed"),
        ("batch.global=3", "@: 3 is not a multiple of batch.micro, 4; the nearest: 4"),
        ("batch.micro=0", "@: expected a number greater than or equal to 1, not 0"),
        ("train.clip=.inf", "@: expected a finite number"),
        ("optimizer.betas=[0.9]", "@: is needed"),
        ("optimizer.beta=1", "@: no such key\n  did you mean 'betas'?\n  keys of optimizer: lr, "),
        ("optimizer.plugin=adam", "@: no optimizer 'adam'\n  did you mean 'adamw'?"),
        ("optimizer.plugin=nobody:adamw", "@: no optimizer 'nobody:adamw'"),
        ("optimizer.plugin=5", "@: expected a string, not 5"),
        ("model.plugin=null", "@: is needed: NAME or DISTRIBUTION:NAME"),
        ("model=null", "@: is needed"),
        ("model.task=object_detection", "@: lraspp_mobilenet_v3_large does semantic_segmentation, not object_d"),
        ("model.task=segmentation", "@: no task 'segmentation'\n  did you mean 'semantic_"),
        ("model.tasks=[semantic_segmentation]", "@: expected task or tasks"),
        ("model.init_from={include: [a]}", "@: is needed: a checkpoint, a run or"),
        ("metrics.coco_map={}", "@: coco_map scores object_detection, which the model does not do\n  metrics for "),
        ("gates.mioo.min=1", "@: no metric 'mioo' in metrics\n  did you mean 'miou'?"),
        ("gates.miou.least=1", "@: no such key"),
        ("evaluation.slices={rain: tags.weather = 'rain'}", "@: cannot read '='"),
        ("evaluation.tiles={grid: [2, 0]}", "@: "),
        ("checkpoint.best=mioo", "@: no metric 'mioo' in metrics\n  did you mean 'miou'?"),
        ("data.val=null", "@: is needed, since the recipe evaluates"),
        ("data.train.city.enabled=false", "a.yaml:4: data.train: no source is enabled"),
        ("data.taxonomy.citty.bus=car", "@: no source 'citty' in data\n  did you mean"),
        ("data.taxonomy.city.bus=cr", "@: no class 'cr'\n  did you mean 'car'?"),
        ("data.train.city.taxonomy.bus=igno", "@: no class 'igno'\n  did you mean 'ignore'"),
        ("data.classes=[car, car]", "@: a class is named twice: car"),
        ("data.classes=[car, drop]", "@: ignore and drop are words of the taxonomy"),
        ("data.classes={object_detection: [car]}", "a.yaml: 2 mistakes"),
        ("transforms=[flip]", "@: expected a mapping"),
        ("transforms.flip=0.5", "@: expected a mapping, not 0.5"),
        ("transforms.resize.size=[1, 2, 3]", "@: "),
        ("transforms.resize.enabled=0", "@: expected true or false, not 0"),
        ("precision=bf61", "@: expected 'fp32' or 'bf16', not \"bf61\"\n  did you mean 'bf16'?"),
        ("about=5", "@: expected a mapping, not 5"),
        ("seed=-1", "@: expected a number greater than or equal to 0, not -1"),
        ("extends=[demo]", "@: no such key"),
    ],
)  # fmt: skip
def test_a_wrong_override_answers_like_a_colleague(refused, override, told):
    assert refused(BASE, override).startswith(told.replace("@", f"command line: {override}"))


def test_transforms_are_told_of_the_classes_and_say_where_they_do_not_suit(load):
    assert list(load(BASE, "transforms.flip.ignore=[car]").build_transforms()) == ["resize", "colour", "flip"]
    with pytest.raises(RecipeError) as caught:
        load(BASE, "transforms.flip={ignore: [cra]}").build_transforms()
    said = str(caught.value)
    assert said.startswith("command line: transforms.flip") and "no class 'cra'\n  did you mean 'car'" in said


def test_what_cannot_be_put_together_from_tiles_is_refused(refused):
    said = refused(BASE, "evaluation.tiles={grid: [2, 2]}", "data.clip.frames=2", "data.lidars=[lidar_top]")
    assert said.startswith("command line: evaluation.tiles") and "clips, sweeps cannot be put together from tiles" in said


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("model.neck.dept=1", "@: no such key\n  did you mean 'depth'?\n  keys of model.neck: depth"),
        ("model.neck.name=1", "@: expected a string, not 1"),
        ("model.scale=[1, x]", "@: expected a number, not \"x\""),
        ("model.scale=x", "@: expected a number or a list, not \"x\""),
        ("model.width=0", "@: expected a number greater than 0, not 0"),
        ("model.width_=9", "@: no such key\n  did you mean 'width'?"),
        ("model.tasks=null", "a.yaml:6: model: two_heads has several tasks\n  set model.task to one of: object_detection, sem"),
        ("model.tasks=[object_detection, object_detection]", "@: a task is named twice"),
        ("model.tasks=[object_detection]", "a.yaml:4: data.classes.semantic_segmentation: the model has no task"),
        ("data.classes=[car]", "@: expected classes for each task: semantic_segmentation, object"),
        ("data.classes.object_detection=null", "@: is needed"),
        ("transforms.plain.x=1", "@: no such key\n  keys of transforms.plain: plugin, enabled"),
        ("transforms.flip={}", "@: transform 'flip' is offered by drivetrain:flip ("),
        ("model.plugin=gone", "@: model 'stranger:gone'"),
    ],
)  # fmt: skip
def test_a_strangers_plugins_are_checked_alike(refused, with_stranger, override, told):
    expected = told.replace("@", f"command line: {override}")
    assert refused(TWO_TASKS, override, manager=with_stranger).startswith(expected)


def test_a_frozen_recipe_whose_plugin_is_gone_says_so(load, ours, with_stranger):
    frozen = load(TWO_TASKS, manager=with_stranger).resolved()
    with pytest.raises(RecipeError, match=r"run/recipe: model\.plugin: no model 'stranger:two_heads'"):
        Recipe.from_resolved(frozen, ours, "run/recipe")


# ---------------------------------------------------------------- laws

KEYS = st.sampled_from(
    [
        "train.steps", "train.clip", "seed", "batch.global", "batch.micro", "optimizer.lr", "transforms", "transforms.flip.p",
        "data.classes", "model.task", "metrics.miou.size", "gates.miou.min", "nothing",
    ]
)  # fmt: skip
VALUES = st.sampled_from(["1", "0", "-1", "2.5", "no", "null", "[]", "{}", "[1, 2]", "{a: 1}", "1e-4", "8", "'8'", "true"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(KEYS, VALUES), max_size=4))
def test_any_recipe_is_refused_with_a_place_or_comes_back_equal(load, ours, pairs):
    try:
        recipe = load(BASE, *(f"{key}={value}" for key, value in pairs))
    except RecipeError as error:
        assert error.where or " mistakes\n" in str(error)
        return
    assert Recipe.from_resolved(json.loads(json.dumps(recipe.resolved())), ours) == recipe
    assert set(recipe.origins) >= {key for key, _, _ in compare(recipe.resolved(), {})}


def test_what_differs_is_told_by_key(load):
    a = load().resolved()
    b = load(BASE, "train.steps=7", "optimizer.plugin=sgd", "transforms.flip={}", "data.classes=[car, road]").resolved()
    changes = {key: (old, new) for key, old, new in compare(a, b)}
    assert changes["train.steps"] == (20, 7) and changes["optimizer.plugin"] == ("drivetrain:adamw", "drivetrain:sgd")
    assert changes["optimizer.betas"] == ([0.9, 0.999], None) and changes["transforms.flip.p"] == (None, 0.5)
    assert changes["data.classes.semantic_segmentation"] == (["road", "car"], ["car", "road"])
    assert compare(a, a) == [] and len(compare(b, a)) == len(changes)
    swapped = {**a, "transforms": dict(reversed(a["transforms"].items()))}
    assert compare(a, swapped) == [("transforms", ["resize", "colour"], ["colour", "resize"])]
