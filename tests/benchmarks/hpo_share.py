"""What a study on local slots makes of their time: real trainings of uneven length, some of which stop at rungs.

    python tests/benchmarks/hpo_share.py [--seconds N]

``productive_step_share``: what went into training steps and the trials' own start-up, of the time of two slots from the first
trial's start to the last one's end, by the journal. ``startup_share`` tells the start-up apart, and ``wasted`` the rest:
``evaluation`` and ``saving`` at rungs, ``leaving`` (from the save to the end of the run), ``between`` (a process is not yet, or
no longer, a run, or the controller has not yet seen that it is gone).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

from drivetrain.run import read_records
from drivetrain.search.journal import read_journal

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[1] / "build" / "bench-hpo"
SECONDS = 170.0
SLOTS = 2
RECIPE = """
data:
  train: {{synthetic: {{shards: {data}/train}}}}
  val: {{synthetic: {{shards: {data}/val}}}}
  classes: [road, lane_marking, pavement, terrain, building, vegetation, pole, traffic_sign, sky, car, truck, pedestrian,
            cyclist]
transforms: {{resize: {{size: [96, 160]}}, flip: {{p: 0.5}}}}
model: {{plugin: road_multitask, tasks: [semantic_segmentation]}}
batch: {{global: 8, micro: 4}}
parallelism: {{plugin: single}}
optimizer: {{plugin: adamw, lr: 2e-3}}
train: {{steps: 1800, log_every: 1}}
metrics: {{miou: {{}}}}
search:
  space:
    optimizer.lr: {{low: 1e-4, high: 1e-2, log: true}}
    model.width: [0.125, 0.25, 0.5]
  scheduler: {{plugin: asha, eta: 3, first: 200}}
  budget: {seconds}s
"""


def slot_shares(build: Path, seconds: float) -> tuple[dict[str, float], dict[str, Any]]:
    """The shares of slot time by what it went into; and what there was."""
    study, trials = _study(build, seconds), build / "study" / "trials"
    times = [record["t"] for record in study if record["kind"] in ("started", "ended")]
    slot_time = SLOTS * (times[-1] - times[0])
    spent = Counter[str]()
    for marks in sorted(trials.glob("*/run/marks.jsonl")):
        for what, span in _spans(list(read_records(marks))):
            spent[what] += span
    ends = Counter(record["how"] for record in study if record["kind"] == "ended")
    if not ends["reached"]:
        sys.exit(f"no trial came to a rung: see {trials}/*/log")
    shares = {what: span / slot_time for what, span in spent.items()}
    return {**shares, "between": 1 - sum(shares.values())}, {"jobs": ends, "slot_seconds": round(slot_time, 1)}


def _study(build: Path, seconds: float) -> list[dict[str, Any]]:
    """The records of a study of so many seconds."""
    drivetrain = [sys.executable, "-m", "drivetrain"]
    data, recipe, study = build / "data", build / "recipe.yaml", build / "study"
    if not (data / "val" / "dataset.json").is_file():
        made = ["data", "synth", str(data), "--train", "64", "--val", "4", "--size", "320x192", "--labels", "semantic"]
        subprocess.run([*drivetrain, *made], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    recipe.write_text(RECIPE.format(data=json.dumps(str(data))[1:-1], seconds=round(seconds)))
    shutil.rmtree(study, ignore_errors=True)
    words = ["search", str(recipe), "--study", str(study), "--parallel", str(SLOTS), "--plugin", str(HERE / "hpo_marks.py")]
    subprocess.run([*drivetrain, *words], check=True)
    return read_journal(study / "journal")


def _spans(marks: list[dict[str, Any]]) -> Iterator[tuple[str, float]]:
    """(what it went into, seconds) of each stretch of a trial's jobs, from the start of their processes on."""
    for before, of_job in groupby(marks, key=lambda mark: mark["born"]):
        for mark in of_job:
            yield mark["what"], mark["at"] - before
            before = mark["at"]


def figures(seconds: float = SECONDS, build: Path = BUILD) -> list[dict[str, Any]]:
    """``productive_step_share`` and, of it, ``startup_share``, as they are printed."""
    build.mkdir(parents=True, exist_ok=True)
    shares, more = slot_shares(build, seconds)
    wasted = {what: round(share, 4) for what, share in shares.items() if what not in ("startup", "steps")}
    values = {"productive_step_share": shares["startup"] + shares["steps"], "startup_share": shares["startup"]}
    return [{"figure": name, "value": round(value, 4), "unit": "share of slot time", **more, "wasted": wasted}
            for name, value in values.items()]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=SECONDS)
    for figure in figures(parser.parse_args().seconds):
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
