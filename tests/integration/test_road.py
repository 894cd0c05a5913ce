"""Our detector on two ranks of the real launcher, where weights are gathered module by module: as in one process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BIN, SMALL, drivetrain

from drivetrain import open_run

OVERRIDES = ["data.classes=[car,truck,pedestrian,cyclist,traffic_sign]", "evaluation.at_end=true", "train.steps=3",
             "train.clip=10.0", "ema.decay=0.9"]  # fmt: skip


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory) -> dict[str, list[dict]]:
    """Engine -> records."""
    folder = tmp_path_factory.mktemp("road")
    text = Path(SMALL).read_text().replace("lraspp_mobilenet_v3_large", "road_detector")
    recipe = folder / "small.yaml"
    recipe.write_text(text.replace("semantic_segmentation", "object_detection").replace("miou: {}", "coco_map: {}"))
    alone = drivetrain("train", recipe, "--run", folder / "single", *OVERRIDES, "parallelism.plugin=single")
    assert alone.returncode == 0, alone.stderr
    command = [BIN / "deepspeed", "--quiet", "--num_accelerators", "2", "--master_port", "29617", "--no_local_rank", "--module",
               "drivetrain", "train", recipe, "--run", folder / "z3", *OVERRIDES, "parallelism.zero_stage=3"]  # fmt: skip
    path = f"{Path(BIN)}:{os.environ['PATH']}"
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=300,
                          env={**os.environ, "PATH": path})  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return {name: open_run(folder / name).records() for name in ("single", "z3")}


def test_losses_of_zero_3_on_two_ranks_are_those_of_one_process(runs):
    """With the check of the first steps on: ranks call the same modules and use the same parameters."""
    alone, together = ([r for r in runs[name] if r["kind"] == "training"] for name in ("single", "z3"))
    assert len(alone) == len(together) == 3
    for one, other in zip(alone, together):
        assert one["samples"] == other["samples"] and other["skipped"] == 0
        assert other["losses"] == pytest.approx(one["losses"], rel=1e-3)


def test_every_frame_is_evaluated_once_under_the_running_mean(runs):
    assert [runs[name][-1]["coco_map"]["frames"] for name in ("single", "z3")] == [7, 7]
