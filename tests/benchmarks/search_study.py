"""A study over rate, augmentation, width and backbone, each trial a `deepspeed` job of two ranks: `make search-study`.

``study_best_vs_default``   mIoU in points that the best trial has more than the recipe as it stands, both after all steps, by
                            `drivetrain eval` on the same frames; the ends of its 95 % interval beside it
``study_steps_vs_random``   the steps of all trials / those of as many trials that all run to their end

What is done is not done again: the data, the study and the runs lie under ``--build``, and go on where they were cut off.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from drivetrain.search.folder import StudyFolder
from drivetrain.search.ledger import Ledger
from drivetrain.search.trials import COMPLETE, Trial

HERE = Path(__file__).resolve().parent
RECIPE = HERE / "search_study.yaml"
RANKS = 2


class Bench:
    """``steps`` of a whole trial, ``trials`` of the study, all files under ``build``."""

    def __init__(self, build: Path, trials: int, steps: int):
        self.build, self.trials, self.steps = build, trials, steps
        self.study = StudyFolder(build / f"study-{trials}-{steps}")
        self.default, self.best = (build / f"{name}-{trials}-{steps}" for name in ("default", "best"))
        self.whole = [f"train.steps={steps}", f"lr_schedule.warmup_steps={max(1, steps // 24)}"]

    def drivetrain(self, *words: object, stdout: Any = None) -> str:
        """What the command prints to standard output, where ``stdout`` is a pipe."""
        own = {"OMP_NUM_THREADS": "1", "DRIVETRAIN_THREADS": "1", "DRIVETRAIN_DATA": str(self.build / "data"),
               "PYTHONWARNINGS": "ignore"}  # fmt: skip
        command = [sys.executable, "-m", "drivetrain", *map(str, words)]
        return subprocess.run(command, check=True, stdout=stdout, text=True, env={**os.environ, **own}).stdout

    def make_data(self) -> None:
        data = self.build / "data"
        if not (data / "val" / "dataset.json").is_file():
            self.drivetrain("data", "synth", data, "--train", 240, "--val", 64, "--size", "448x256", "--labels", "semantic")

    def search(self) -> Ledger:
        """The study, whole."""
        rungs = f"search.scheduler.first={max(1, self.steps // 12)}"
        if self.study.journal.is_file():
            self.drivetrain("search", "resume", self.study.path)
        else:
            self.drivetrain("search", RECIPE, "--study", self.study.path, "--trials", self.trials, *self.whole, rungs)
        return self.study.read()[1]

    def train(self, recipe: Path, run: Path, *overrides: str) -> Path:
        """A run of all steps on as many ranks as a trial's."""
        if not (run / "checkpoints" / f"step-{self.steps:08d}").is_dir():
            self.drivetrain("launch", recipe, "--ranks", RANKS, "--run", run, *overrides)
        return run

    def run_of(self, trial: Trial) -> Path:
        """Of the best trial; where it waits at a rung, its recipe is trained to the end."""
        recipe = self.best.with_suffix(".yaml")
        recipe.unlink(missing_ok=True)
        self.drivetrain("search", "best", self.study.path, "--out", recipe)
        return self.study.trial(trial.number) / "run" if trial.state == COMPLETE else self.train(recipe, self.best)


def tell(figure: str, value: float, unit: str, **more: Any) -> None:
    print(json.dumps({"figure": figure, "value": round(value, 4), "unit": unit, **more}), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=HERE.parents[1] / "build" / "search-study")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--steps", type=int, default=720, help="of a whole trial")
    wanted = parser.parse_args()
    bench = Bench(wanted.build.resolve(), wanted.trials, wanted.steps)
    bench.make_data()
    ledger = bench.search()
    best = ledger.best
    if best is None:
        sys.exit(f"no trial has figures: see {bench.study.path}")
    run, default = bench.run_of(best), bench.train(RECIPE, bench.default, "search=null", *bench.whole)
    found = json.loads(bench.drivetrain("eval", run, "--against", default, "--json", stdout=subprocess.PIPE))
    ours, theirs, difference = (of["miou"]["miou"] for of in (found, found["against"], found["difference"]))
    interval = [round(100 * difference[end], 2) for end in ("low", "high")]
    tell("study_best_vs_default", 100 * difference["value"], "points of mIoU", interval=interval, best=ours, default=theirs,
         trial=best.number, values=dict(best.values), steps=wanted.steps)  # fmt: skip
    spent, whole = sum(trial.step for trial in ledger.trials), len(ledger.trials) * wanted.steps
    tell("study_steps_vs_random", spent / whole, "ratio", steps=spent, random=whole, trials=dict(+ledger.counts),
         seconds=round(ledger.spent))  # fmt: skip


if __name__ == "__main__":
    main()
