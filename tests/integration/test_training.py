"""Training through the real launcher: the micro-batch is the atom, whatever the ranks and the stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, drivetrain
from faults.crash import finish, keys, launch, losses, start

from drivetrain import open_run
from drivetrain.run import RunFolder

MIXED = ["transforms.copy_paste={p: 0.5}", "transforms.mosaic={size: [96, 144]}",
         "evaluation.tiles={grid: [1, 2], whole: true}"]  # fmt: skip
"""Pictures of several frames in training, pieces of one in evaluation."""


def trained(run: Path, ranks: int, *overrides: str, recipe: str = SMALL) -> RunFolder:
    code = finish(launch(recipe, run, list(overrides), ranks))
    assert code == 0, (run.parent / f"{run.name}.log").read_text()[-4000:]
    return open_run(run)


@pytest.fixture(scope="module")
def reference(shards, tmp_path_factory) -> RunFolder:
    """One rank, plain torch."""
    run = tmp_path_factory.mktemp("reference") / "run"
    done = drivetrain("train", SMALL, "--run", run, "parallelism={plugin: single}")
    assert done.returncode == 0, done.stderr
    return open_run(run)


def test_the_losses_are_the_golden_ones(reference):
    """A change that should not change numerics must not. Write them anew only with a reason: print(losses(reference))."""
    golden = {int(step): loss for step, loss in json.loads((ROOT / "tests" / "golden" / "small.json").read_text()).items()}
    assert {step: losses(reference)[step] for step in golden} == pytest.approx(golden, abs=1e-3)


FSDP = "parallelism={plugin: fsdp, unit_parameters: 100000}"
ENGINES = {**{f"z{stage}": f"parallelism.zero_stage={stage}" for stage in range(4)}, "ddp": "parallelism={plugin: ddp}",
           "fsdp": FSDP}  # fmt: skip


@pytest.mark.parametrize(("engine", "ranks"), [(e, n) for e in ENGINES for n in (1, 2) if n > 1 or e not in ("ddp", "fsdp")])
def test_the_first_losses_agree_under_every_engine_and_number_of_ranks(reference, tmp_path, engine, ranks):
    run = trained(tmp_path / "run", ranks, ENGINES[engine])
    assert keys(run) == keys(reference)
    expected, found = losses(reference), losses(run)
    assert list(found) == list(range(1, 11))
    assert {step: found[step] for step in expected} == pytest.approx(expected, abs=1e-4)
    assert expected[10] < expected[1]
    [loading] = [r["loading"] for r in run.records() if r["kind"] == "training" and r["step"] == 10]
    assert loading["samples"] == run.resolved_recipe()["batch"]["global"], "of all ranks, since the last record"
    assert sum(value for name, value in loading.items() if name.startswith("root/") and name.endswith("/bytes")) > 0


def test_the_first_losses_agree_in_bf16(reference, shards, tmp_path):
    one = trained(tmp_path / "one", 1, "precision=bf16", "train.steps=6")
    two = trained(tmp_path / "two", 2, "precision=bf16", "train.steps=6")
    assert losses(two) == pytest.approx(losses(one), abs=2e-2)
    assert losses(two) == pytest.approx({s: v for s, v in losses(reference).items() if s <= 6}, abs=5e-2)
    assert losses(two) != losses(reference)  # it really was another precision


def test_clipping_and_its_norm_are_those_of_plain_torch(shards, tmp_path):
    overrides = ["train.clip=0.05", "train.steps=4"]
    one = tmp_path / "one"
    assert drivetrain("train", SMALL, "--run", one, "parallelism={plugin: single}", *overrides).returncode == 0
    norms = [r["grad_norm"] for r in open_run(one).records()]
    assert min(norms) > 0.05
    for stage in (0, 2):
        run = trained(tmp_path / f"z{stage}", 2, f"parallelism.zero_stage={stage}", *overrides)
        assert [r["grad_norm"] for r in run.records()] == pytest.approx(norms, rel=1e-3)
        assert losses(run) == pytest.approx(losses(open_run(one)), abs=1e-4)


def test_eval_gives_the_number_of_the_training_run(shards, tmp_path):
    run = trained(tmp_path / "run", 2, "train.steps=3", "evaluation.at_end=true", "checkpoint.best=miou")
    [told] = [r for r in run.records() if r["kind"] == "evaluation"]
    assert told["miou"]["frames"] == 7  # each frame once, although 7 is no multiple of anything here
    for which in ("newest", "best"):
        done = drivetrain("eval", run.path, "--checkpoint", which, "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["miou"]["miou"] == pytest.approx(told["miou"]["miou"], abs=1e-6)
    assert len(list((run.path / "pictures" / "step-00000003").glob("*.png"))) > 0
    assert (run.path / "predictions" / "step-00000003-val" / "overlay.json").is_file()


def test_gates_on_slices_and_against_a_reference_over_two_ranks(shards, tmp_path):
    one = "scene == 'train-00000'"
    done = drivetrain(
        "train", SMALL, "--run", tmp_path / "run", "parallelism={plugin: single}", "train.steps=2", "checkpoint.every=1",
        "evaluation.at_end=true", f"data.val.small.shards={shards}/train", f"evaluation.slices={{one: \"{one}\"}}",
        "gates={miou: {min: 0}, part: {metric: miou, slice: one, min: 0, min_n: 9}, drop: {metric: miou, max_drop: 0.9}}",
    )  # fmt: skip
    assert done.returncode == 0 and "8 frames, min_n is 9" in done.stderr, done.stderr
    run = open_run(tmp_path / "run")
    [told] = [r for r in run.records() if r["kind"] == "evaluation"]
    words = ["--module", "drivetrain", "eval", str(run.path), "--against", str(run.path), "--against-checkpoint", "1",
             "--where", "scene != 'train-00000'", "--draws", "20", "--json"]  # fmt: skip
    assert finish(start(words, run.path, 2)) == 0, (tmp_path / "run.log").read_text()[-4000:]
    [line] = [line for line in (tmp_path / "run.log").read_text().splitlines() if '{"miou"' in line]
    got = json.loads(line[line.index("{") :])
    seen, now = (results["slices"]["one"]["miou"] for results in (told, got))  # by one rank in training, by two now
    assert now["iou"] == pytest.approx(seen["iou"]) and now["miou"] == pytest.approx(seen["miou"])
    assert [part["miou"]["frames"] for part in got["slices"].values()] == [8, 16]
    first = next(iter(got["difference"]["miou"]["iou"].values()))
    assert set(first) == {"value", "low", "high"} and got["against"]["miou"]["frames"] == 24
    gates = {gate["gate"]: gate for gate in got["gates"]}
    assert {name: gate["verdict"] for name, gate in gates.items()} == {"miou": "passed", "part": "undecided", "drop": "passed"}
    assert gates["drop"]["change"] == pytest.approx(got["miou"]["miou"] - got["against"]["miou"]["miou"])
    assert gates["drop"]["change_interval"][0] <= gates["drop"]["change"] <= gates["drop"]["change_interval"][1]


def test_a_run_goes_on_where_it_stopped_and_with_fewer_ranks(shards, tmp_path):
    whole = trained(tmp_path / "whole", 2, "train.steps=6", "checkpoint.every=3")
    trained(tmp_path / "stopped", 2, "train.steps=6", "checkpoint.every=3", "train.stop_at=3")
    stopped = trained(tmp_path / "stopped", 1, "train.steps=6", "checkpoint.every=3")
    assert keys(stopped) == keys(whole)
    assert losses(stopped) == pytest.approx(losses(whole), abs=1e-4)
    again = drivetrain("train", SMALL, "--run", stopped.path, "train.steps=6", "batch.global=4")
    assert again.returncode == 2 and "batch.global" in again.stderr and "--allow batch.global" in again.stderr


def test_a_run_goes_on_under_other_engines(reference, tmp_path):
    """Weights and AdamW's state, saved by fsdp, go on under ZeRO-2 and back."""
    for engine, until in (("fsdp", 2), ("z2", 4), ("fsdp", 6)):
        run = trained(tmp_path / "run", 2, ENGINES[engine], f"train.stop_at={until}")
    assert losses(run) == pytest.approx({s: v for s, v in losses(reference).items() if s <= 6}, abs=1e-4)


def test_dry_run_does_every_kind_of_step_once(shards, tmp_path):
    done = drivetrain("train", SMALL, "--run", tmp_path / "dry", "--dry-run", "evaluation.at_end=true")
    assert done.returncode == 0, done.stderr
    assert {r["kind"] for r in open_run(tmp_path / "dry").records()} == {"training", "evaluation"}
    assert (tmp_path / "dry" / "checkpoints" / "step-00000001" / "manifest.json").is_file()


def test_overfitting_one_batch_reads_it_again_and_again(shards, tmp_path):
    done = drivetrain("train", SMALL, "--run", tmp_path / "run", "--overfit-batches", 1, "train.steps=12",
                      "lr_schedule=null", "optimizer.lr=3e-3")  # fmt: skip
    assert done.returncode == 0, done.stderr
    run = open_run(tmp_path / "run")
    assert len({tuple(k) for k in keys(run).values()}) == 4
    found = losses(run)
    assert found[12] < 0.75 * found[1]


@pytest.mark.parametrize("stage, settings", [(2, []), (3, MIXED)])
def test_a_detector_trains_on_two_ranks_and_is_scored(shards, tmp_path, stage, settings):
    recipe = tmp_path / "detection.yaml"
    recipe.write_text(
        Path(SMALL).read_text().replace("semantic_segmentation", "object_detection")
        .replace("lraspp_mobilenet_v3_large", "ssdlite320_mobilenet_v3_large").replace("miou: {}", "coco_map: {}")
        .replace("[road, lane_marking, pavement, terrain, building, vegetation, pole, traffic_sign, sky, "
                 "car, truck, pedestrian, cyclist]",
                 "[car, truck, pedestrian, cyclist, traffic_sign]")
    )  # fmt: skip
    run = trained(
        tmp_path / "run", 2, "train.steps=3", "evaluation.at_end=true", f"parallelism.zero_stage={stage}", *settings,
        recipe=str(recipe),
    )  # fmt: skip
    [told] = [r for r in run.records() if r["kind"] == "evaluation"]
    assert told["coco_map"]["frames"] == 7 and 0 <= told["coco_map"]["coco_map"] <= 1
    assert set(run.records()[0]["losses"]) >= {"classification", "bbox_regression"}
    if settings:
        alone = drivetrain("eval", run.path, "--json")
        assert json.loads(alone.stdout)["coco_map"]["coco_map"] == pytest.approx(told["coco_map"]["coco_map"], abs=1e-6)
