"""Kill a rank in the middle of a run, resume, and compare with a run that nothing happened to.

    python tests/faults/crash.py RECIPE [KEY=VALUE]...

prints whether the sample keys are identical and the losses equal, and exits with 1 if not.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from drivetrain import open_run
from drivetrain.run import RunFolder, read_records

STEPS, CHECKPOINT_EVERY, KILL_AFTER = 8, 4, 5
SETTINGS = [f"train.steps={STEPS}", f"checkpoint.every={CHECKPOINT_EVERY}", "train.record_samples=true", "train.log_every=1",
            "evaluation.every=null", "evaluation.at_end=false", "tracker=null", "gates=null"]  # fmt: skip


def launch(recipe: str, run: Path, overrides: list[str], ranks: int = 2) -> subprocess.Popen:
    """A run under the ``deepspeed`` launcher."""
    return start(["--module", "drivetrain", "train", recipe, "--run", str(run), *overrides], run, ranks)


def start(words: list[str], run: Path, ranks: int) -> subprocess.Popen:
    """Ranks under the ``deepspeed`` launcher, in a process group of its own, on a port of its own; what they print is in
    ``RUN.log``."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [str(Path(sys.executable).parent / "deepspeed"), "--num_accelerators", str(ranks), "--master_port", str(port),
               "--no_local_rank", *words]  # fmt: skip
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    run.parent.mkdir(parents=True, exist_ok=True)
    log = (run.parent / f"{run.name}.log").open("a")
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment, start_new_session=True)


def finish(process: subprocess.Popen, timeout_s: float = 600) -> int:
    """The launcher's exit code; nothing that it started is left."""
    try:
        return process.wait(timeout_s)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def rank_pid(launcher: subprocess.Popen, rank: int) -> int | None:
    """The process of a rank: a descendant of the launcher with ``RANK`` in its environment."""
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            environment = (folder / "environ").read_bytes().split(b"\0")
            session = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[3])
        except (OSError, ValueError):
            continue
        if session == launcher.pid and f"RANK={rank}".encode() in environment:
            return int(folder.name)
    return None


def run_and_kill(recipe: str, run: Path, overrides: list[str], rank: int, after_step: int, timeout_s: float = 600) -> int:
    """Start a run and kill -9 a rank once a step is recorded. Returns the launcher's exit code."""
    process = launch(recipe, run, overrides)
    end = time.monotonic() + timeout_s
    try:
        while max((r["step"] for r in read_records(run / "metrics.jsonl")), default=0) < after_step:
            if process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"the run ended before step {after_step}: see {run.parent / run.name}.log")
            time.sleep(0.02)
        pid = rank_pid(process, rank)
        assert pid is not None, "no process of that rank"
        os.kill(pid, signal.SIGKILL)
        return process.wait(timeout_s)
    finally:
        finish(process, 5)


def losses(run: RunFolder) -> dict[int, float]:
    return {r["step"]: r["loss"] for r in run.records() if r["kind"] == "training"}


def keys(run: RunFolder) -> dict[tuple[int, int], list[str]]:
    """(step, slot) -> keys that were read, of all ranks, without what was done again."""
    out: dict[tuple[int, int], list[str]] = {}
    for path in sorted((run.path / "samples").glob("*.jsonl")):
        for record in read_records(path):
            if not record.get("superseded"):
                assert (record["step"], record["slot"]) not in out, "a slot was read twice"
                out[record["step"], record["slot"]] = record["keys"]
    return out


def main() -> int:
    recipe, overrides = sys.argv[1], [*SETTINGS, *sys.argv[2:]]
    folder = Path(tempfile.mkdtemp(prefix="drivetrain-crash-"))
    print(f"1. {STEPS} steps that nothing happens to")
    if finish(launch(recipe, folder / "whole", overrides)):
        raise SystemExit(f"it failed: see {folder / 'whole.log'}")
    print(f"2. the same; rank 1 is killed with -9 after step {KILL_AFTER}")
    code = run_and_kill(recipe, folder / "killed", overrides, rank=1, after_step=KILL_AFTER)
    done = max(losses(open_run(folder / "killed")))
    print(f"   the launcher ended with {code} after step {done}; checkpoints are written every {CHECKPOINT_EVERY} steps")
    print("3. the same command again: it resumes")
    if finish(launch(recipe, folder / "killed", overrides)):
        raise SystemExit(f"it failed: see {folder / 'killed.log'}")
    return report(open_run(folder / "whole"), open_run(folder / "killed"), folder)


def report(whole: RunFolder, killed: RunFolder, folder: Path) -> int:
    a, b = losses(whole), losses(killed)
    print("\nstep   whole run            killed and resumed")
    for step in sorted(a):
        verdict = "equal" if a[step] == b.get(step) else "DIFFERS"
        print(f"{step:>4}   {a[step]:<18.12g}   {b.get(step, float('nan')):<18.12g}   {verdict}")
    same_keys, same_losses = keys(whole) == keys(killed), a == b
    count = sum(len(k) for k in keys(whole).values())
    print(f"\nsample keys: {'identical' if same_keys else 'DIFFERENT'} ({count} samples)")
    print(f"losses: {'equal, bitwise' if same_losses else 'DIFFERENT'}")
    if same_keys and same_losses:
        shutil.rmtree(folder)
        return 0
    print(f"see {folder}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
