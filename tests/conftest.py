"""What tests share: a small shard set, the command line, runs under the real launcher."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
SMALL = str(ROOT / "tests" / "small.yaml")
BIN = Path(sys.executable).parent

# Two ranks share the machine's two cores: one thread each, and the same in every process that is compared.
os.environ["OMP_NUM_THREADS"] = os.environ["DRIVETRAIN_THREADS"] = "1"
os.environ["WANDB_MODE"] = "offline"

settings.register_profile("untimed", deadline=None)  # the machine may be busy
settings.load_profile("untimed")


def drivetrain(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line, in a process of its own."""
    command = [sys.executable, "-m", "drivetrain", *(str(a) for a in arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env={**os.environ, **environment}, timeout=600)


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Path:
    """A train set of 24 and a val set of 7 synthetic frames, in shards of 8."""
    out = tmp_path_factory.mktemp("shards")
    for split, frames in (("train", 24), ("val", 7)):
        options = [f"--option={k}={v}" for k, v in (("frames", frames), ("width", 192), ("height", 128))]
        done = drivetrain("data", "shard", "synthetic", "-", out / split, "--split", split, "--samples-per-shard", 8, *options)
        assert done.returncode == 0, done.stderr
    os.environ["SMALL_SHARDS"] = str(out)
    return out


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data beside the checkout; tests that need it are skipped where it is absent."""
    folder = Path(os.environ.get("DRIVETRAIN_SHARED", ROOT.parent / "shared"))
    if not (folder / "data").is_dir():
        pytest.skip("shared/data is absent")
    return folder


@pytest.fixture(scope="session")
def synthetic_frames():
    """Four frames of two synthetic drives, 192x128, to be written in others' layouts."""
    from drivetrain.data import open_dataset

    _, world = open_dataset("synthetic", {"frames": 4, "frames_per_scene": 2, "width": 192, "height": 128})
    return [world.load(ref) for ref in world.index(Path("-"), "train")]
