"""Norms, groups, running means, recomputed blocks, offload and other people's optimizers, on two ranks of the real launcher."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BIN, SMALL, drivetrain

from drivetrain import open_run
from drivetrain.checkpoint import newest_checkpoint

Told = dict[tuple[str, str], dict]
ENGINES = ("z0", "z1", "z2", "z3", "ddp")


@pytest.fixture(scope="module")
def told(tmp_path_factory) -> Told:
    script, folder = Path(__file__).with_name("features.py"), tmp_path_factory.mktemp("features")
    command = [
        BIN / "deepspeed",
        "--quiet",
        "--num_accelerators",
        "2",
        "--master_port",
        "29613",
        "--no_local_rank",
        script,
        folder,
    ]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=500)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return {(one["case"], one["engine"]): one for one in lines}


def test_a_synchronised_norm_is_a_batch_norm_of_the_joined_batch(told):
    """Of shares of 3 and 5 pictures whose values lie around 100, where a one-pass variance loses its digits."""
    found = told["norms", "-"]
    for kind in ("fp32", "cumulative"):
        assert max(found[kind].values()) < 1e-4, found
    assert found["bf16"]["output"] <= 2e-2 and found["bf16"]["mean"] < 1e-4, found


@pytest.mark.parametrize("engine", ["z0", "z2", "z3", "ddp"])
def test_training_with_synchronised_norms_is_training_on_larger_micro_batches(told, engine):
    assert told["sync", engine]["apart"] < 2e-5


def test_ranks_that_part_before_a_synchronised_norm_are_named(told):
    """Rank 0 would wait for ever."""
    error = told["parting", "z2"]["error"]
    assert "rank 0 calls body.2.1\n  rank 1 is at its end" in error and "take model.norm=batch" in error


@pytest.mark.parametrize("engine", ENGINES)
def test_groups_train_as_in_one_process(told, engine):
    """Frozen, slower towards the input, faster in the head, norms without decay, all scaled by the root of 2."""
    found = told["groups_and_mean", engine]
    assert found["rates"] == pytest.approx([0.01 * 2**0.5 * factor for factor in (0.25, 0.5, 1.0, 2.0)], abs=1e-6)
    assert found["apart"] < 1e-6, found
    assert found["frozen"] and found["moved"] and found["frozen_statistics"], found


@pytest.mark.parametrize("engine", ENGINES)
def test_a_running_mean_follows_what_ranks_own_and_is_evaluated(told, engine):
    found = told["groups_and_mean", engine]
    assert found["mean_apart"] < 1e-6 and found["statistics_apart"] < 1e-6, found
    assert found["exchanged"] and found["predicted_apart"] < 1e-6, found


@pytest.mark.parametrize("engine", ENGINES)
def test_groups_and_means_go_through_a_checkpoint_to_the_next_engine(told, engine):
    found = told["groups_and_mean", engine]
    assert found["resumed_apart"] < 1e-6 and found["resumed_mean_apart"] < 1e-6, found


@pytest.mark.parametrize("engine", ENGINES)
def test_blocks_that_are_computed_again_change_nothing_bitwise(told, engine):
    found = told["computed_again", engine]
    assert found["same"] and found["calls"] == [4, 8, 8], found


@pytest.mark.parametrize(
    "case",
    [("offload_optimizer", "z1"), ("offload_optimizer", "z2"), ("offload_optimizer", "z3"), ("offload_parameters", "z3")],
)
def test_offload_changes_nothing_and_resumes(told, case):
    found = told[case]
    assert found["losses_apart"] < 1e-6 and found["apart"] < 1e-6 and found["resumed_apart"] < 1e-6, found


@pytest.mark.parametrize("case", [("a_strangers_optimizer", "z2"), ("adagrad", "z2"), ("adagrad", "z3")])
def test_other_optimizers_keep_their_groups_and_their_state(told, case):
    assert told[case]["apart"] < 1e-6 and told[case]["resumed_apart"] < 1e-6, told[case]


def test_a_parameter_without_dimensions_trains_or_is_named(told):
    for engine in ("z0", "z1", "z2"):
        assert told["scalar", engine]["apart"] < 1e-6 and told["scalar", engine]["moved"], told["scalar", engine]
    assert "cannot cut parameters without dimensions: temperature" in told["scalar", "z3"]["error"]


def test_a_compiled_model_does_not_go_with_stage_3(told):
    assert "stage 3" in told["compiled", "z3"]["error"]


def test_a_run_is_evaluated_with_its_running_mean(shards, tmp_path):
    """Training says the figure that eval says, and ``--raw`` another; a run that begins with this one begins with the mean."""
    run = tmp_path / "run"
    settings = ["parallelism={plugin: single}", "train.steps=3", "lr_schedule=null", "optimizer.lr=2e-2", "ema={decay: 0.6}",
                "optimizer.lr_scaling=linear", "optimizer.reference_batch=4", "model.norm=group", "evaluation.at_end=true",
                'optimizer.freeze=["backbone\\\\.[0-3]\\\\."]', "train.activation_checkpointing=true"]  # fmt: skip
    done = drivetrain("train", SMALL, "--run", run, *settings)
    assert done.returncode == 0, done.stderr
    assert "optimizer.lr is multiplied by 2: linear scaling from a batch of 4 to batch.global 8" in done.stdout + done.stderr
    records = open_run(run).records()
    assert records[0]["lr"] == pytest.approx(4e-2)
    [told] = [r for r in records if r["kind"] == "evaluation"]
    figures = [json.loads(drivetrain("eval", run, "--json", *raw).stdout)["miou"]["miou"] for raw in ((), ("--raw",))]
    assert figures[0] == pytest.approx(told["miou"]["miou"], abs=1e-6) and figures[1] != figures[0]
    checkpoint = newest_checkpoint(run / "checkpoints", print)
    raw, mean = checkpoint.weights(), checkpoint.weights("ema")
    assert {n for n in raw if not raw[n].equal(mean[n])} == {n for n in raw if not re.search(r"backbone\.[0-3]\.", n)}


def test_a_pattern_that_is_found_nowhere_is_named(shards, tmp_path):
    done = drivetrain("train", SMALL, "--run", tmp_path / "run", "parallelism={plugin: single}", 'optimizer.freeze=["bakbone"]')
    assert done.returncode == 2 and "Traceback" not in done.stderr
    assert "optimizer.freeze: 'bakbone' is found in the name of no parameter" in done.stderr, done.stderr
    assert "did you mean 'net.backbone'" in done.stderr
