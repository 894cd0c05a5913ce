"""What our engines cost beside loops that one would write by hand: `make bench-parallelism`.

Two ranks under the launcher, in which our engine, the same library by hand and a DDP loop take their steps in turn, on the
same batches, from the same weights. Figures are medians over rounds; ``low`` and ``high`` are the middle half, ``cpu`` the same
ratio of CPU seconds. ``--table FILE`` writes them between the two marks of a page.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from parallelism_bytes import formula

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
ENGINES = ("z0", "z1", "z2", "z3", "ddp", "fsdp")
RANKS = 2
# A small rate and a large eps: at the usual ones a network amplifies rounding until losses cannot be compared.
COMMON = ["optimizer.lr=2e-4", "optimizer.eps=1e-5", "tracker=null", "evaluation.at_end=false", "evaluation.every=null",
          "checkpoint.at_end=false", "checkpoint.every=null", "train.log_every=1", "train.clip=10.0"]  # fmt: skip
MODELS = {
    "segmentation": ["recipes/demo.yaml", "batch.global=8", "batch.micro=4"],
    "detection": ["recipes/synthetic-detection.yaml", "batch.global=4", "batch.micro=2",
                  "model.plugin=fasterrcnn_mobilenet_v3_large_320_fpn"],
}  # fmt: skip
NAMES = {"z0": "ZeRO 0", "z1": "ZeRO 1", "z2": "ZeRO 2", "z3": "ZeRO 3", "ddp": "ddp", "fsdp": "fsdp"}
BEGIN, END = "<!-- bench-parallelism: begin -->", "<!-- bench-parallelism: end -->"


def job(build: Path, model: str, engines: list[str], bf16: list[str], rounds: int) -> Iterator[dict[str, Any]]:
    """The figures of a model under some engines, and the losses under bf16, as they come; they are kept in a file as well."""
    recipe, *overrides = MODELS[model]
    for engine in engines:
        shutil.rmtree(build / f"{model}-{engine}", ignore_errors=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "deepspeed"), "--num_accelerators", str(RANKS), "--master_port", str(port),
               "--no_local_rank", str(HERE / "parallelism_job.py"), "--recipe", str(ROOT / recipe),
               "--engines", *engines, "--bf16", *bf16, "--build", str(build / model), "--rounds", str(rounds),
               "--overrides", *COMMON, *overrides]  # fmt: skip
    log = build / f"{model}.log"
    with log.open("w") as into, (build / f"{model}.jsonl").open("a") as kept:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=into, text=True, env=environment(build))
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith('{"engine"'):
                kept.write(line)
                kept.flush()
                yield {"model": model, **with_formula(json.loads(line))}
    if process.wait():
        sys.exit(f"{model} failed:\n{log.read_text()[-3000:]}")


def environment(build: Path) -> dict[str, str]:
    """One thread a rank: two ranks share the machine's cores."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    threads = {"OMP_NUM_THREADS": "1", "DRIVETRAIN_THREADS": "1"}
    return {**os.environ, **threads, "PATH": path, "DRIVETRAIN_DATA": str(build), "PYTHONWARNINGS": "ignore"}


def prepare(build: Path) -> None:
    if not (build / "demo" / "val" / "dataset.json").is_file():
        command = [sys.executable, "-m", "drivetrain", "data", "synth", str(build / "demo"), "--train", "96", "--val", "8"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def with_formula(figure: dict[str, Any]) -> dict[str, Any]:
    """Bytes counted over bytes that the stage implies, on the rank that is farthest off."""
    if figure["figure"] != "zero_bytes":
        return figure
    count = figure["parameters"]
    implied = formula(figure["engine"], RANKS, figure["persistent"] / count)
    per_parameter = max((held / count for held in figure["ranks"]), key=lambda held: abs(held / implied - 1))
    return {
        "engine": figure["engine"], "figure": "zero_bytes_vs_formula", "value": round(per_parameter / implied, 4),
        "unit": "ratio", "bytes_a_parameter": round(per_parameter, 3), "formula": round(implied, 3), "parameters": count,
    }  # fmt: skip


def measure(build: Path, model: str, wanted: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of a model, those that an earlier run left first; an engine that has its last one is not measured again."""
    path = build / f"{model}.jsonl"
    lines = path.read_text().splitlines() if wanted.go_on and path.is_file() else []
    kept = [json.loads(line) for line in lines]
    in_bf16 = {figure["engine"] for figure in kept if figure.get("precision") == "bf16"}
    done = {figure["engine"] for figure in kept if figure["figure"] in ("own_python_share_of_training", "rounding_amplified")}
    kept = [figure for figure in kept if figure["engine"] in done or figure.get("precision") == "bf16"]
    path.write_text("".join(f"{json.dumps(figure)}\n" for figure in kept))
    yield from ({"model": model, **with_formula(figure)} for figure in kept)
    missing, missing_bf16 = ([engine for engine in wanted.engines if engine not in found] for found in (done, in_bf16))
    if missing or missing_bf16:
        yield from job(build, model, missing, missing_bf16, wanted.rounds)


def row(values: dict[str, Any]) -> str:
    """A line of the table; a dash where a figure is missing."""
    hand = next((v for name, v in values.items() if name.startswith("step_vs_handwritten")), None)
    cells = [
        _cell(hand, lambda f: f"{f['ms']['ours']:.0f} ms"), _cell(hand, _ratio),
        _cell(values.get("step_vs_ddp_loop"), _ratio),
        _cell(values.get("own_python_share_of_step"), _percent), _cell(values.get("own_python_share_of_training"), _percent),
        _cell(values.get("zero_bytes_vs_formula"), lambda f: f"{f['bytes_a_parameter']:.2f} / {f['formula']:.2f}"),
        _cell(values.get("losses_vs_single fp32"), lambda f: f"{f['value']:.0e}"),
        _cell(values.get("losses_vs_single bf16"), lambda f: f"{f['value']:.0e}"),
    ]  # fmt: skip
    return " | ".join(cells)


def _cell(figure: dict[str, Any] | None, text: Callable[[dict[str, Any]], str]) -> str:
    return "-" if figure is None else text(figure)


def _percent(figure: dict[str, Any]) -> str:
    return f"{100 * figure['value']:.2f} %"


def _ratio(figure: dict[str, Any]) -> str:
    return f"{figure['value']:.3f} ({figure['low']:.2f} to {figure['high']:.2f}), CPU {figure['cpu']:.3f}"


def table(figures: list[dict[str, Any]]) -> str:
    """The figures as a page shows them."""
    found: dict[tuple[str, str], dict[str, Any]] = defaultdict(dict)
    rounds = sorted({figure["rounds"] for figure in figures if "rounds" in figure})
    for figure in sorted(figures, key=lambda f: ["single", *ENGINES].index(f["engine"])):
        found[figure["model"], figure["engine"]][f"{figure['figure']} {figure.get('precision', '')}".strip()] = figure
    rows = sorted(found.items(), key=lambda entry: list(MODELS).index(entry[0][0]))
    versions = ", ".join(f"{name} {version(name)}" for name in ("torch", "torchvision", "deepspeed"))
    lines = [
        f"{date.today()}, {RANKS} ranks on {os.cpu_count()} CPU cores ({platform.machine()}), one thread each, gloo, float32, "
        f"{versions}; {' or '.join(map(str, rounds))} rounds.", "",
        "| model, engine | step | vs the library by hand | vs a DDP loop by hand | own Python | own Python, whole loop | "
        "bytes a parameter: counted / formula | losses vs single, fp32 | bf16 |",
        "|---|---|---|---|---|---|---|---|---|",
        *(f"| {model}, {NAMES[engine]} | {row(values)} |" for (model, engine), values in rows if engine in NAMES), "",
        *(f"What {model} makes of rounding: one process whose weights were changed by 1e-7 of each has losses that are up to "
          f"{values['rounding_amplified']['value']:.0e} apart from those of one whose weights were not."
          for (model, _), values in rows if "rounding_amplified" in values),
    ]  # fmt: skip
    return "\n".join(lines)


def write_table(page: Path, text: str) -> None:
    before, after = re.escape(BEGIN), re.escape(END)
    page.write_text(re.sub(f"{before}.*?{after}", lambda _: f"{BEGIN}\n{text}\n{END}", page.read_text(), flags=re.DOTALL))


def summary(figures: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The worst of each figure, over all models and engines."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for figure in figures:
        by_name[f"{figure['figure']} {figure.get('precision', '')}".strip()].append(figure)
    for name, found in by_name.items():
        worst = max(found, key=lambda f: abs(f["value"] - 1) if name == "zero_bytes_vs_formula" else f["value"])
        middle = statistics.median(f["value"] for f in found)
        yield {"worst": name, "value": worst["value"], "of": f"{worst['model']}, {worst['engine']}", "median": round(middle, 5)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=Path("build/bench-parallelism"), help="where data, runs and logs go")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--engines", nargs="+", choices=ENGINES, default=list(ENGINES))
    parser.add_argument("--rounds", type=int, default=16)
    parser.add_argument("--go-on", action="store_true", help="keep the figures that an earlier run left in the build folder")
    parser.add_argument("--table", type=Path, help="the page whose table is written anew")
    wanted = parser.parse_args()
    build = wanted.build.resolve()
    build.mkdir(parents=True, exist_ok=True)
    prepare(build)
    for earlier in [] if wanted.go_on else build.glob("*-single-*.json"):
        earlier.unlink()
    figures = []
    for model in wanted.models:
        for figure in measure(build, model, wanted):
            print(json.dumps(figure), flush=True)
            figures.append(figure)
    for line in summary(figures):
        print(json.dumps(line))
    if wanted.table:
        write_table(wanted.table, table(figures))


if __name__ == "__main__":
    main()
