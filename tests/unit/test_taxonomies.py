"""Taxonomies that datasets ship: whole, and named in recipes."""

from __future__ import annotations

import json
import sys

import pytest
from conftest import drivetrain

from drivetrain import ClassInfo, PluginError, RecipeError, Taxonomy
from drivetrain.data import open_dataset
from drivetrain.manager import Controls, PluginManager
from drivetrain.recipe import load_recipe
from drivetrain.taxonomies import find_taxonomy, shipped_taxonomies

ROAD_USERS = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
TARGETS = {
    "road_users": ROAD_USERS,
    "waymo": ("vehicle", "pedestrian", "cyclist"),
    "benchmark": ("car", "pedestrian", "cyclist"),
}
OPTIONS = {"argoverse2": {"boxes": True}, "cityscapes": {"boxes": True}}
RECIPE = """\
data:
  train: {kitti: {shards: ./s}}
  classes: [car, pedestrian, cyclist]
  taxonomy: {kitti: %s}
model: {plugin: fasterrcnn_mobilenet_v3_large_fpn, task: object_detection}
batch: {global: 4, micro: 4}
train: {steps: 1}
"""


@pytest.fixture(scope="module")
def manager():
    return PluginManager(Controls(allowed=()))


SHIPPED = shipped_taxonomies(PluginManager(Controls(allowed=())))


def classes_of(dataset: str, request) -> dict[str, tuple[ClassInfo, ...]]:
    """task -> the source's own, from the plugin, an official table, or who trained on it."""
    if dataset == "nuscenes":
        rows = json.loads((request.getfixturevalue("shared") / "data/nuscenes_keyframe/v1.0-mini/category.json").read_text())
        return {"object_detection": tuple(ClassInfo(row["name"], i) for i, row in enumerate(rows))}
    if dataset == "coco":
        from torchvision.models.detection import FCOS_ResNet50_FPN_Weights

        names = FCOS_ResNet50_FPN_Weights.DEFAULT.meta["categories"]
        return {"object_detection": tuple(ClassInfo(n, i) for i, n in enumerate(names) if n not in ("__background__", "N/A"))}
    return dict(open_dataset(dataset, OPTIONS.get(dataset, {}))[1].classes)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_shipped_taxonomy_maps_every_class_of_its_dataset_and_no_other(name, request):
    dataset, _, own = name.partition(":")
    classes = classes_of(dataset, request)
    if own == "cityscapes":
        infos = open_dataset("cityscapes", {})[1].classes["semantic_segmentation"]
        targets = tuple(info.name for info in infos if not info.ignore)
    else:
        classes.pop("semantic_segmentation", None)  # boxes are meant
        targets = TARGETS.get(own) or tuple(t for t in dict.fromkeys(SHIPPED[name].values()) if t not in ("ignore", "drop"))
    assert set(SHIPPED[name]) <= {info.name for infos in classes.values() for info in infos}
    for task, infos in classes.items():
        mapping = {info.name: SHIPPED[name][info.name] for info in infos if info.name in SHIPPED[name]}
        built = Taxonomy.build(dataset, task, infos, targets, mapping)  # raises for a class that is left out
        assert sum(0 <= number < len(targets) for number in built.to_id.values()) >= 3


def test_nuscenes_detection_has_the_ten_classes():
    targets = set(SHIPPED["nuscenes:detection"].values()) - {"ignore"}
    assert len(targets) == 10 and {"construction_vehicle", "traffic_cone", "barrier"} < targets


@pytest.fixture
def load(tmp_path, monkeypatch, manager):
    monkeypatch.chdir(tmp_path)

    def read(taxonomy, *overrides, manager=manager):
        (tmp_path / "a.yaml").write_text(RECIPE % taxonomy)
        return load_recipe("a.yaml", overrides, manager)

    return read


def test_a_recipe_names_one_and_what_is_frozen_is_what_it_says(load):
    recipe = load("kitti:benchmark")
    assert recipe.data.taxonomy["kitti"] == SHIPPED["kitti:benchmark"] == recipe.resolved()["data"]["taxonomy"]["kitti"]
    assert recipe.data_spec_sources("train")[0].taxonomy["object_detection"]["Van"] == "ignore"
    assert recipe.origins["data.taxonomy.kitti.Van"] == "a.yaml:4"
    assert load("drivetrain:kitti:benchmark") == recipe == load("{}", "data.taxonomy.kitti=kitti:benchmark")
    assert load("{}", "data.train.kitti.taxonomy=kitti:benchmark").data.train["kitti"].taxonomy["Van"] == "ignore"


def test_what_stands_after_it_in_a_list_goes_before_it(load):
    mapping = load("[kitti:benchmark, {Van: car}]").data.taxonomy["kitti"]
    assert mapping == {**SHIPPED["kitti:benchmark"], "Van": "car"}
    assert load("[{Van: car}, kitti:benchmark]").data.taxonomy["kitti"] == SHIPPED["kitti:benchmark"]
    assert load("[kitti:road_users, {Truck: drop, Tram: drop, Cyclist: cyclist}]").data.taxonomy["kitti"]["Van"] == "car"


@pytest.mark.parametrize(
    "taxonomy, told",
    [
        ("kiti:benchmark", r"a.yaml:4: data.taxonomy.kitti: no taxonomy 'kiti:benchmark'\n  did you mean 'kitti:benchmark'"),
        ("kitti:benchmrk", r"no taxonomy 'kitti:benchmrk'\n  did you mean 'kitti:benchmark'"),
        ("benchmark", "no taxonomy 'benchmark'"),
        ("ddp:benchmark", "no taxonomy 'ddp:benchmark'"),
        (
            "kitti:road_users",
            r"a.yaml:4: data.taxonomy.kitti.Truck: no class 'truck'(.|\n)*\[kitti:road_users, \{Truck: ignore\}\]",
        ),
        ("[kitti:benchmark, 3]", "data.taxonomy.kitti"),
        ("3", "data.taxonomy.kitti"),
    ],
)
def test_a_wrong_one_is_told(load, taxonomy, told):
    with pytest.raises(RecipeError, match=told):
        load(taxonomy)


STRANGER = """
from drivetrain import DatasetPlugin, hookimpl

ELSEWHERE = {"benchmark": {"auto": "car"}}

@hookimpl
def drivetrain_datasets():
    return [DatasetPlugin(name="theirs", about="", factory="taxonomy_stranger:make", taxonomies="taxonomy_stranger:ELSEWHERE"),
            DatasetPlugin(name="broken", about="", factory="taxonomy_stranger:make", taxonomies="taxonomy_stranger:MISSING")]
"""


def test_third_parties_ship_theirs_alike_and_one_that_does_not_load_is_only_theirs(load, tmp_path):
    path = tmp_path / "taxonomy_stranger.py"
    path.write_text(STRANGER)
    try:
        manager = PluginManager(Controls(files=(str(path),), allowed=()))
        assert load("theirs:benchmark", manager=manager).data.taxonomy["kitti"] == {"auto": "car"}
        assert find_taxonomy("taxonomy_stranger:theirs:benchmark", manager) == {"auto": "car"}
        with pytest.raises(PluginError, match=r"'taxonomy_stranger:broken'(.|\n)* does not load: taxonomy_stranger:MISSING"):
            find_taxonomy("broken:benchmark", manager)
        with pytest.raises(RecipeError, match=r"taxonomy_stranger:MISSING"):
            load("broken:benchmark", manager=manager)
        assert "kitti:benchmark" in shipped_taxonomies(manager)
    finally:
        sys.modules.pop("taxonomy_stranger", None)


def test_the_command_line_shows_them():
    done = drivetrain("data", "taxonomies")
    listed = [line.split(maxsplit=1) for line in done.stdout.splitlines()]
    assert done.returncode == 0 and ["kitti:benchmark", "car, pedestrian, cyclist"] in listed, done.stdout
    done = drivetrain("data", "taxonomies", "kitti:road_users")
    assert "  taxonomy:\n    kitti: kitti:road_users" in done.stdout and "# Tram: train" in done.stdout
    done = drivetrain("data", "taxonomies", "kitti:road_user")
    assert done.returncode == 2 and "did you mean 'kitti:road_users'" in done.stderr
