"""RT-DETR, whose denoising queries and number of boxes leave other ranks waiting where a rank has no objects: not ours."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import BIN

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def told() -> dict[str, dict]:
    script = Path(__file__).with_name("rt_detr_ranks.py")
    command = [BIN / "deepspeed", "--quiet", "--num_accelerators", "2", "--master_port", "29619", "--no_local_rank", script]
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, timeout=300)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return {one["engine"]: one for one in lines}


@pytest.mark.parametrize("engine", ["z2", "z3"])
def test_a_rank_without_objects_trains_as_in_one_process(told, engine):
    """With the check of the first steps on: ranks call the same modules and use the same parameters."""
    found = told[engine]
    with_objects, without = found["losses"]
    assert all(loss > 0 for loss in with_objects + without)
    assert found["losses_apart"] < 1e-3 and found["apart"] < 1e-4, found
    still = [name for name in found["still"] if not name.endswith("k_proj.bias")]  # which attention does not depend on
    assert not still, f"nothing moved {still[:4]}"
