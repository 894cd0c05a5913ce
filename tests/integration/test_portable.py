"""A checkpoint knows nothing of the engine, the ZeRO stage and the number of ranks that wrote it: through the real launcher
from any to any other and back, weights and optimizer state bitwise equal; at the same ones the run goes on bitwise equal."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from faults.crash import finish, start

from drivetrain import Checkpoint

STAGES, OPTIMIZERS = (0, 1, 2, 3), ("adamw", "sgd")


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


def job(name: str, stage: int | None, optimizer: str, load: str | None = None, steps: int = 0, then: int = 0) -> dict:
    """``stage`` None: the engine of one rank."""
    engine = "single" if stage is None else "deepspeed"
    return {"name": name, "engine": engine, "stage": stage, "optimizer": optimizer, "load": load, "steps": steps, "then": then}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("portable")


@pytest.fixture(scope="module")
def origins(folder) -> list[dict]:
    """Three steps on two ranks, at every stage; two more, and the same two from the checkpoint."""
    whole = [job(f"z{stage}-{kind}", stage, kind, steps=3, then=2) for kind in OPTIMIZERS for stage in STAGES]
    again = [job(f"{w['name']}-again", w["stage"], w["optimizer"], load=w["name"], steps=2) for w in whole]
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


def test_any_world_stage_and_engine_loads_any_other_and_back(folder, origins):
    one = [moved(o, 1, (o["stage"] + 1) % 4) for o in origins] + [moved(o, 1, None) for o in origins if o["stage"] in (1, 3)]
    four = [moved(o, 4, (o["stage"] - 1) % 4) for o in origins]
    back = [moved(m, 2, int(m["name"][1])) for m in one + four]
    for ranks, jobs in ((1, one), (4, four), (2, back)):
        run_jobs(folder, ranks, jobs)
    for done in one + four + back:
        origin = contents(folder / done["name"].split("-r")[0])
        assert_bitwise_equal(contents(folder / done["name"]), origin, done["name"])


def moved(origin: dict, ranks: int, stage: int | None) -> dict:
    """Loaded on other ranks at another stage, and saved as it is."""
    return job(f"{origin['name']}-r{ranks}-z{stage}", stage, origin["optimizer"], load=origin["name"])
