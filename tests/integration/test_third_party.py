"""Plugins of third parties: a package that works, a package that is broken, and every example of docs/plugins.md."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, SMALL, drivetrain
from faults.crash import finish, launch, losses

from drivetrain import open_run
from drivetrain.hookspecs import hookimpl
from drivetrain.manager import KINDS, Controls, PluginManager

DOCS = (ROOT / "docs" / "plugins.md").read_text()
EXAMPLES = re.findall(r'```python\n("""(\w+)\.py""".*?)```', DOCS, re.S)


def install(package: str, target: Path) -> None:
    """As a user's pip would, into a folder of its own; built from a copy, since building leaves files behind."""
    source = target.parent / package
    shutil.copytree(ROOT / "tests" / "plugins" / package, source)
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(target), str(source)], check=True, capture_output=True)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    for package in ("acme_crosswalk", "acme_broken"):
        install(package, tmp_path / "site")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))


def test_a_strangers_model_and_optimizer_train_through_the_launcher_beside_a_broken_plugin(installed, shards, tmp_path):
    listed = drivetrain("plugins", "list")
    assert listed.returncode == 0
    assert re.search(r"model +crosswalk +acme-crosswalk 1\.2\.0", listed.stdout)
    assert re.search(
        r"failed: acme-broken:no-import 0\.0\.1: ModuleNotFoundError.*a_package_that_is_not_installed", listed.stdout
    )
    assert "did you mean 'drivetrain_models'" in listed.stdout
    overrides = ["model={plugin: crosswalk, task: semantic_segmentation, width: 8}", "train.steps=2",
                 "optimizer={plugin: signs, lr_scale: {'net\\.5': 2}}", "parallelism={zero_stage: 2}"]  # fmt: skip
    run = tmp_path / "run"
    assert finish(launch(SMALL, run, overrides)) == 0, (tmp_path / "run.log").read_text()[-3000:]
    assert len(losses(open_run(run))) == 2
    recipe = open_run(run).resolved_recipe()
    assert recipe["model"]["plugin"] == "acme-crosswalk:crosswalk"
    assert recipe["optimizer"]["plugin"] == "acme-crosswalk:signs"
    evaluated = drivetrain("eval", run)
    assert evaluated.returncode == 0 and evaluated.stdout.startswith("miou 0.")


def test_the_strangers_model_passes_the_conformance_kit(installed, tmp_path):
    code = (
        "from drivetrain.testing import check_model; from acme_crosswalk.model import build;"
        "from acme_crosswalk.config import CrosswalkConfig;"
        "check_model(lambda context: build(CrosswalkConfig(), context), 'semantic_segmentation', ('road', 'car'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ))
    assert done.returncode == 0, done.stderr


def test_ranks_with_other_plugins_are_refused_naming_rank_and_difference(installed, shards, tmp_path):
    plugin = tmp_path / "only_here.py"
    plugin.write_text("import os\nif os.environ.get('RANK') == '1': raise ImportError('not on this host')\n")
    run = tmp_path / "run"
    assert finish(launch(SMALL, run, ["--plugin", str(plugin)])) == 2
    log = (tmp_path / "run.log").read_text()
    assert re.search(r"rank 1 on \S+ has other plugins", log) and "only_here" in log and "Traceback" not in log


@pytest.mark.parametrize(("code", "name"), EXAMPLES, ids=[name for _, name in EXAMPLES])
def test_every_example_of_the_documentation_loads(tmp_path, code, name, monkeypatch):
    (tmp_path / f"{name}.py").write_text(code)
    manager = PluginManager(Controls.of(files=[str(tmp_path / f"{name}.py")]))
    try:
        [entry] = [e for e in manager.entries if e.distribution == name]
        assert entry.status == "loaded", entry.error
        for found in entry.found:
            assert callable(found.load_factory())
            found.load_config()
    finally:
        sys.modules.pop(name, None)


def test_every_hook_has_an_example():
    shown = {hook for code, _ in EXAMPLES for hook in re.findall(r"def (drivetrain_\w+)", code)}
    hooks = {f"drivetrain_{kind}s" for kind in KINDS} | set(
        re.findall(r"drivetrain_\w+", DOCS.rpartition("\n## ")[2].split("\n")[0])
    )
    assert shown == hooks and hookimpl is not None


def test_the_examples_train_together(shards, tmp_path):
    files = []
    for code, name in EXAMPLES:
        (tmp_path / f"{name}.py").write_text(code)
        files += ["--plugin", tmp_path / f"{name}.py"]
    run = tmp_path / "run"
    done = drivetrain("train", SMALL, "--run", run, *files, "train.steps=2", "model={plugin: one_convolution}",
                      "loader={plugin: chatty}", "parallelism={plugin: timed}", "optimizer={plugin: 'lion:adagrad'}",
                      "lr_schedule={plugin: triangle}", "transforms.dim={}", "tracker={printer: {}}",
                      "metrics={first_class_share: {}}", "evaluation.at_end=true")  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert re.search(r"\d\.\d{3} s\n1 2\.\d+", done.stdout) and "opening" in done.stdout and "ended None" in done.stdout
    diary = (run / "diary.txt").read_text().splitlines()
    assert diary[0] == "started at step 0" and diary[-1] == "ended well" and "step 2: saved step-00000002" in diary
    assert drivetrain("hello", "--name", "Ada", *files).stdout == "hello Ada\n"
    assert "GiB free on /" in drivetrain("doctor", *files).stdout
