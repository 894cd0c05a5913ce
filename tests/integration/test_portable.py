"""A checkpoint knows nothing of the engine, the ZeRO stage and the number of ranks that wrote it: through the real launcher
from any to any other and back, weights, running means and optimizer state bitwise equal; under the same ones the run goes on
bitwise equal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from faults.crash import finish, start

from drivetrain import Checkpoint

ENGINES, OPTIMIZERS = ("z0", "z1", "z2", "z3", "ddp"), ("adamw", "sgd")
ON_ONE = {"z0": "z1", "z1": "single", "z2": "z3", "z3": "z0", "ddp": "z2"}
ON_FOUR = {"z0": "z3", "z1": "z0", "z2": "ddp", "z3": "z2", "ddp": "z1"}


def run_jobs(folder: Path, ranks: int, jobs: list[dict]) -> list[dict]:
    file = folder / f"jobs-{ranks}-{len(list(folder.iterdir()))}.json"
    file.write_text(json.dumps(jobs))
    words = [str(Path(__file__).with_name("portable.py")), str(folder), str(file)]
    if ranks == 1:  # alone, as a run without a launcher
        subprocess.run([sys.executable, *words], check=True, timeout=600)
        return jobs
    code = finish(start(words, folder / file.stem, ranks))
    assert code == 0, (folder / f"{file.stem}.log").read_text()[-4000:]
    return jobs


def job(name: str, engine: str, optimizer: str, load: str | None = None, steps: int = 0, then: int = 0) -> dict:
    return {"name": name, "engine": engine, "optimizer": optimizer, "load": load, "steps": steps, "then": then}


def moved(origin: dict, ranks: int, engine: str) -> dict:
    """Loaded on other ranks by another engine, and saved as it is."""
    return job(f"{origin['name']}-r{ranks}-{engine}", engine, origin["optimizer"], load=origin["name"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("portable")


@pytest.fixture(scope="module")
def origins(folder) -> list[dict]:
    """Three steps on two ranks, under every engine; two more, and the same two from the checkpoint."""
    whole = [job(f"{engine}-{kind}", engine, kind, steps=3, then=2) for kind in OPTIMIZERS for engine in ENGINES]
    again = [job(f"{w['name']}-again", w["engine"], w["optimizer"], load=w["name"], steps=2) for w in whole]
    run_jobs(folder, 2, whole + again)
    return whole


def contents(path: Path) -> dict[str, torch.Tensor]:
    """Everything in a checkpoint, joined by name."""
    checkpoint = Checkpoint(path)
    out = {
        f"{kind}|{name}": checkpoint.tensor(kind, name) for kind in checkpoint.all_kinds() for name in checkpoint.names(kind)
    }
    scalars = {name: checkpoint.scalars(name) for name in checkpoint.names()}
    return out | {f"{key}|{n}": torch.tensor(v) for n, values in scalars.items() for key, v in values.items()}


def assert_bitwise_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor], what: str) -> None:
    assert found.keys() == expected.keys(), what
    assert [key for key, value in expected.items() if not torch.equal(found[key], value)] == [], what


def test_the_same_world_and_stage_goes_on_bitwise(folder, origins):
    for origin in origins:
        losses, again = (json.loads((folder / f"{origin['name']}{end}.losses").read_text()) for end in ("", "-again"))
        assert len(losses) == 5 and len(set(losses)) == 5
        assert again == losses[3:], origin


def test_everything_that_is_trained_is_in_it(folder, origins):
    for origin in origins:
        found = contents(folder / origin["name"])
        kind = "exp_avg_sq" if origin["optimizer"] == "adamw" else "momentum_buffer"
        trained = [key.partition("|")[2] for key in found if key.startswith("weight|") and "frozen" not in key]
        assert len(trained) == 6 and all(found[f"optimizer.{kind}|{name}"].abs().sum() > 0 for name in trained), origin
        assert {"weight|frozen.weight", "buffer|norm.running_mean", "buffer|norm.num_batches_tracked"} <= found.keys()
        assert all(not torch.equal(found[f"ema|{name}"], found[f"weight|{name}"]) for name in trained), origin


def test_any_world_stage_and_engine_loads_any_other_and_back(folder, origins):
    one, four = ([moved(o, ranks, to[o["engine"]]) for o in origins] for ranks, to in ((1, ON_ONE), (4, ON_FOUR)))
    back = [moved(m, 2, m["name"].split("-")[0]) for m in one + four]
    for ranks, jobs in ((1, one), (4, four), (2, back)):
        run_jobs(folder, ranks, jobs)
    for done in one + four + back:
        origin = contents(folder / done["name"].split("-r")[0])
        assert_bitwise_equal(contents(folder / done["name"]), origin, done["name"])
