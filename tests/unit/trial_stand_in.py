"""In place of `drivetrain train` or `launch`: a job of a trial that writes what those write, and ends as its recipe says."""

import json
import os
import signal
import sys
import time
from pathlib import Path

words = sys.argv[1:]
run = Path(words[words.index("--run") + 1])
until = int(next(w for w in words if w.startswith("train.stop_at=")).partition("=")[2])
values = json.loads(Path(next(w for w in words if w.endswith("recipe.yaml"))).read_text())
what = values["do"]
signal.signal(signal.SIGUSR1, lambda *_: (run / "stop").write_text("75 SIGUSR1"))


def steps_done():
    return max((int(p.name[5:]) for p in (run / "checkpoints").glob("step-*")), default=0)


def save(step):
    (run / "checkpoints" / f"step-{step:08d}").mkdir(parents=True, exist_ok=True)


def dies(state):
    """Once, as if Slurm had ended it."""
    if (run / "died").exists():
        return
    (run / "died").touch()
    (Path(os.environ["STAND_IN_HOME"]) / f"{os.environ['SLURM_JOB_ID']}.becomes").write_text(state)
    os._exit(143)


with (run / "began").open("a") as file:
    file.write(f"{os.getpid()}\n")
ends = {"out of memory": 5, "diverged": 4, "infeasible": 2}
for step in range(steps_done() + 1, until + 1):
    time.sleep(float(values.get("seconds", 0.02)))
    if what in ends:
        print(f"error: it is {what}", file=sys.stderr)
        sys.exit(ends[what])
    if what == "crashes once" and not (run / "died").exists():
        (run / "died").touch()
        sys.exit(1)
    if (run / "stop").exists() and what != "hangs":
        save(step)
        sys.exit(75)
    if what.isupper() and step == 2:
        save(step)
        dies(what)
with (run / "metrics.jsonl").open("a") as file:
    file.write(json.dumps({"kind": "evaluation", "step": until, "loss": {"loss": 1 / until}}) + "\n")
save(until)
