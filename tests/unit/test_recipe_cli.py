"""``drivetrain recipe``: what a user reads, and what an editor gets."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from drivetrain.cli.recipe import app
from drivetrain.errors import DataError, PluginError, UserError
from drivetrain.manager import Controls, PluginManager
from drivetrain.recipe import load_recipe
from drivetrain.recipe_json_schema import json_schema
from drivetrain.recipe_new import sensible_size
from drivetrain.recipe_sources import shipped_recipes
from drivetrain.tasks import TASKS

HEAVY = ("torch", "torchvision", "deepspeed", "wandb", "numpy", "cv2", "pyarrow")


def run(*arguments: str):
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


@pytest.fixture(scope="module")
def manager():
    return PluginManager(Controls(allowed=()))


@pytest.fixture(scope="module")
def editor(manager):
    jsonschema = pytest.importorskip("jsonschema", reason="jsonschema is not installed")
    schema = json_schema(manager)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", shipped_recipes())
@pytest.mark.parametrize("over", ["", ",small"])
def test_checking_a_shipped_recipe_is_a_line(tmp_path, monkeypatch, name, over):
    monkeypatch.chdir(tmp_path)
    checked = run("check", name + over)
    assert checked.exit_code == 0 and f"{name}{over or '.yaml'} is right: " in checked.stdout and " steps; " in checked.stdout
    assert checked.stderr.count("warning: ") == 2 and "no folder ./shards/" in checked.stderr


@pytest.mark.parametrize("name", ["demo", "coco-fcos"])
def test_checking_a_recipe_imports_nothing_heavy(tmp_path, name):
    code = f"""
import sys, time
start = time.perf_counter()
from drivetrain.__main__ import main
assert main(["recipe", "check", {name!r}]) == 0
print(time.perf_counter() - start)
assert not set({HEAVY!r}) & set(sys.modules), set({HEAVY!r}) & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    line, seconds = done.stdout.splitlines()
    assert f"{name}.yaml is right: " in line and float(seconds) < 5


def test_what_ships_is_listed():
    lines = run("list").stdout.splitlines()
    assert {line.split()[0] for line in lines[:-1]} == set(shipped_recipes()) and "small" in lines[-1]


def test_a_wrong_recipe_ends_with_2_and_no_traceback(tmp_path):
    (tmp_path / "a.yaml").write_text("extends: [demo]\ntrain: {step: 3}\n")
    command = [sys.executable, "-m", "drivetrain", "recipe", "check", "a.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: a.yaml:2: train.step: no such key\n  did you mean 'steps'?\n")


@pytest.mark.parametrize(
    ("loader", "warning"),
    [
        ("{window: 63}", "a.yaml:3: loader.window: 63 shards mix a micro-batch of 8 poorly"),
        ("{window: 64}", ""),
        ("{}", ""),
    ],
)
def test_a_window_that_mixes_poorly_is_warned_of(tmp_path, monkeypatch, loader, warning):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text(f"extends: [demo]\nbatch: {{global: 16, micro: 8}}\nloader: {loader}\n")
    checked = run("check", "a.yaml")
    assert checked.exit_code == 0 and "a.yaml is right: " in checked.stdout
    assert warning in checked.stderr and ("loader" in checked.stderr) == bool(warning)


def test_the_default_window_is_warned_of_where_the_micro_batch_is_large(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert "take at least 128, 8 x batch.micro" in run("check", "demo", "batch.global=16", "batch.micro=16").stderr


def test_what_is_shown_is_the_resolved_recipe_with_its_origins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("extends: [demo]\noptimizer: {plugin: sgd}\n")
    shown = run("show", "a.yaml", "train.steps=5", "about.odd='a # b'").stdout
    resolved = load_recipe("a.yaml", ["train.steps=5", "about.odd='a # b'"]).resolved()
    assert YAML(typ="safe", pure=True).load(shown) == resolved
    assert json.loads(run("show", "a.yaml", "train.steps=5", "about.odd='a # b'", "--json").stdout) == resolved
    lines = [line.strip() for line in shown.splitlines()]
    assert lines[0].startswith("# a.yaml:2: optimizer.plugin: 'adamw' becomes 'sgd'")
    assert {"steps: 5  # command line", "plugin: drivetrain:sgd  # a.yaml:2", "momentum: 0.9  # default"} <= set(lines)
    assert 'odd: "a # b"  # command line' in lines


def test_a_difference_is_a_table_and_none_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.yaml").write_text("extends: [demo]\ntrain: {steps: 7}\ngates: {miou: {min: 0.5}}\n")
    steps = str(load_recipe("demo").train.steps)
    rows = [line.split() for line in run("diff", "demo", "a.yaml").stdout.splitlines()]
    assert rows[:3] == [["key", "demo", "a.yaml"], ["train.steps", steps, "7"], ["gates.miou.min", "-", "0.5"]]
    assert rows[3:] == [["gates.miou.min_n", "-", "1"]]
    assert run("diff", "demo", "demo").stdout == "no difference\n"


# ---------------------------------------------------------------- schema


@pytest.mark.parametrize("name", shipped_recipes())
def test_the_schema_takes_shipped_recipes_as_written_and_as_resolved(editor, manager, name):
    editor.validate(YAML(typ="safe", pure=True).load(shipped_recipes()[name].read_text()))
    editor.validate(load_recipe(name, (), manager).resolved())


@pytest.mark.parametrize(
    ("recipe", "is_right"),
    [
        ({"extends": ["demo"], "train": {"clip": None}}, True),
        ({"transforms": {"flip": {"p": 0.3}}}, True),
        ({"transforms": {"flip": None}}, True),
        ({"transforms": {"twice": {"plugin": "flip", "p": 0.3, "enabled": False}}}, True),
        ({"transforms": {"flip": {"plugin": "colour", "hue": 0.1}}}, True),
        ({"optimizer": {"lr": 1}}, True),
        ({"optimizer": {"plugin": "drivetrain:sgd", "momentum": 0.5}}, True),
        ({"model": {"plugin": "lraspp_mobilenet_v3_large", "init_from": {"path": "x"}, "weights": "DEFAULT"}}, True),
        ({"data": {"classes": {"object_detection": ["car"]}}}, True),
        ({"trian": {}}, False),
        ({"train": {"step": 5}}, False),
        ({"train": {"steps": "5"}}, False),
        ({"transforms": {"flip": {"strength": 1}}}, False),
        ({"transforms": {"flip": {"plugin": "colour", "p": 0.1}}}, False),
        ({"transforms": {"flipp": {"plugin": "flap"}}}, False),
        ({"optimizer": {"momentum": 0.5}}, False),
        ({"optimizer": {"plugin": "adam"}}, False),
        ({"optimizer": {"plugin": "adamw", "enabled": True}}, False),
        ({"model": {"plugin": "lraspp_mobilenet_v3_large", "task": 5}}, False),
        ({"precision": "fp16"}, False),
    ],
)
def test_the_schema_knows_sections_and_plugins(editor, recipe, is_right):
    assert editor.is_valid(recipe) is is_right


def test_the_schema_is_printed():
    assert json.loads(run("schema").stdout)["title"] == "drivetrain recipe"


# ---------------------------------------------------------------- new


def shard_set(folder: Path, samples: int = 240, width: int = 480, height: int = 360, cameras=("cam_front",)) -> str:
    """A set's ``dataset.json``, which is all that is read of it."""
    names = [("road", False), ("no", False), ("a, b: c", False), ("void", True)]
    classes = [{"name": n, "id": i, "color": [0, i, 0], "ignore": ignore} for i, (n, ignore) in enumerate(names)]
    info = {
        "dataset": "my city", "split": folder.name, "samples": samples,
        "classes": {"semantic_segmentation": classes, "object_detection": classes[:2], "drivable_area": classes,
                    "lane_detection": classes, "depth_estimation": []},
        "cameras": {name: [[width, height]] for name in cameras},
    }  # fmt: skip
    folder.mkdir(parents=True)
    (folder / "dataset.json").write_text(json.dumps(info))
    return str(folder)


@pytest.mark.parametrize("task", TASKS)
def test_a_new_recipe_is_right_as_it_stands(tmp_path, task):
    shard_set(tmp_path / "set" / "train")
    shard_set(tmp_path / "set" / "val", 20)
    out = tmp_path / "new.yaml"
    assert run("new", "--data", str(tmp_path / "set"), "--task", task, "--out", str(out)).exit_code == 0
    checked = run("check", str(out))
    assert checked.exit_code == 0 and "warning" not in checked.output
    recipe = load_recipe(out)
    assert recipe.classes == {task: ("road", "no", "a, b: c")[: {"object_detection": 2, "depth_estimation": 0}.get(task, 3)]}
    assert recipe.transforms["resize"].config.size == (288, 384) and recipe.metrics and recipe.evaluation.every
    assert [s.shards for split in ("train", "val") for s in recipe.data_spec_sources(split)] == [
        str(tmp_path / "set" / "train"), str(tmp_path / "set" / "val")
    ]  # fmt: skip
    assert 20 <= recipe.train.steps * recipe.batch.global_ / 240 <= 40
    with pytest.raises(UserError, match="is there already"):
        run("new", "--data", str(tmp_path / "set"), "--task", task, "--out", str(out))


def test_a_new_recipe_for_one_small_set_of_several_cameras_does_not_evaluate(tmp_path):
    data = shard_set(tmp_path / "train", 3, cameras=("cam_left", "cam_right"))
    printed = run("new", "--data", data, "--task", "semantic_segmentation", "--model", "deeplabv3_resnet50").stdout
    (tmp_path / "new.yaml").write_text(printed)
    recipe = load_recipe(tmp_path / "new.yaml")
    assert recipe.plugin("model").found.declaration.name == "deeplabv3_resnet50"
    assert recipe.data.cameras == ["cam_left"] and recipe.batch.global_ == 2 and not recipe.metrics
    assert "to evaluate, add data.val" in printed


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (
            ["--data", "train", "--task", "detection"],
            UserError,
            "no labels for 'detection'\n  did you mean 'lane_detection' or ",
        ),
        (["--data", ".", "--task", "x", "--model", "m"], UserError, "no labels for 'x'"),
        (["--data", "train", "--task", "object_detection", "--model", "fcos"], PluginError, "did you mean 'fcos_resnet50_fpn'"),
        (
            ["--data", "train", "--task", "object_detection", "--model", "fcn_resnet50"],
            UserError,
            "does semantic_segmentation, not",
        ),
        (["--data", "nothing", "--task", "object_detection"], DataError, "nothing is no shard set"),
    ],
)
def test_what_cannot_be_begun_is_told(tmp_path, monkeypatch, arguments, error, told):
    monkeypatch.chdir(tmp_path)
    shard_set(Path("train"))
    with pytest.raises(error) as caught:
        run("new", *arguments)
    assert told in str(caught.value)


@pytest.mark.parametrize("height, width", [(360, 480), (375, 1242), (1080, 1920), (1208, 1920), (1920, 1080), (720, 1280)])
def test_sizes_are_multiples_of_32_and_keep_the_aspect(height, width):
    h, w = sensible_size(height, width)
    assert h % 32 == w % 32 == 0 and 256 <= max(h, w) <= 640
    assert abs(h / w * width / height - 1) < 0.02
