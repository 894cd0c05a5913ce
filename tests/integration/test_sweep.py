"""`wandb agent` starts `drivetrain train`: the command line and the environment are those that its own code makes."""

from __future__ import annotations

import os
import sys

from conftest import SMALL, drivetrain
from integration.test_search import PLUGIN, tracked
from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args
from wandb.sdk.lib.config_util import save_config_file_from_dict

from drivetrain import open_run
from drivetrain.sweep import SWEEP, leave_sweep, sweep_run


def test_an_agent_drives_train(shards, tmp_path, monkeypatch):
    """Its parameters reach the recipe, the one run that it waits for is the tracker's, and its run id names the folder."""
    parameters = {name: {"value": v} for name, v in {"optimizer.lr": 1e-05, "model": {"plugin": "diverging", "task": "semantic_"
                  "segmentation", "steps": []}, "train.record_samples": False}.items()}  # fmt: skip
    given = {**create_sweep_command_args({"args": parameters}), "env": [], "interpreter": [sys.executable]}
    fixed = ["train.steps=1", "parallelism={plugin: single}", "tracker={wandb: {project: mine}}"]
    words = create_sweep_command(["-m", "drivetrain", "train", SMALL, "--plugin", str(PLUGIN), *fixed, "${args_no_hyphens}"])
    line = [one for word in words for one in (given[word[2:-1]] if word.startswith("${") else [word])]
    config = tmp_path / "wandb" / "sweep-s1" / "config-r1.yaml"
    save_config_file_from_dict(str(config), parameters)
    named = {"WANDB_SWEEP_ID": "s1", "WANDB_RUN_ID": "r1", "WANDB_SWEEP_PARAM_PATH": "wandb/sweep-s1/config-r1.yaml"}
    done = drivetrain(*line[2:], cwd=tmp_path, **named)
    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "small-r1"
    recipe = open_run(run).resolved_recipe()
    assert recipe["optimizer"]["lr"] == 1e-5 and recipe["train"]["record_samples"] is False
    start = tracked(run)["run"][0]
    assert (start["run_id"], start["sweep_id"]) == ("r1", "s1")


def test_no_other_process_is_the_sweeps(monkeypatch):
    monkeypatch.delenv("WANDB_SWEEP_ID", raising=False)
    monkeypatch.setenv("WANDB_RUN_ID", "mine")
    leave_sweep()
    assert sweep_run() is None and os.environ["WANDB_RUN_ID"] == "mine", "no sweep: it is the user's own"
    monkeypatch.setenv("WANDB_SWEEP_ID", "s1")
    assert sweep_run() == "mine"
    leave_sweep()
    assert not set(SWEEP) & set(os.environ)
