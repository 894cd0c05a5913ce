"""A rank for tests of the watch: steps that end once all ranks have come, and something that goes wrong; no torch.

python watched.py FOLDER RANK WORLD STEPS '{"fault": "kill", "rank": 1, "step": 3, "timeout_s": 60}'
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

from drivetrain import DataError, watch, watch_hub

watch_hub.SILENT_S = watch.SILENT_S = 5.0
watch_hub.BEAT_S = watch.BEAT_S = 0.2
watch_hub.SYMPTOM_S, watch.AGAIN_S = 1.0, 1.0


def fail():
    raise DataError("too many samples are damaged", remedy="look at the disk")


def crash():
    raise KeyError("a bug")


FAULTS = {
    "mistake": fail,
    "crash": crash,
    "hang": lambda: time.sleep(60),
    "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
}


def meet(folder: Path, rank: int, world: int, step: int) -> None:
    """As a collective does: wait for all, and notice a rank that has ended."""
    (folder / f"{step}-{rank}").touch()
    while not all((folder / f"{step}-{other}").exists() for other in range(world)):
        for other in range(world):
            if is_gone(int((folder / f"pid-{other}").read_text())):
                raise RuntimeError("Connection closed by peer")
        time.sleep(0.002)


def is_gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def broadcast(folder: Path, value):
    if value is not None:
        (folder / "aside").write_text(json.dumps(value))
        (folder / "aside").rename(folder / "value")
    while not (folder / "value").exists():
        time.sleep(0.002)
    return json.loads((folder / "value").read_text())


def main() -> None:
    folder, rank, world, steps, fault = Path(sys.argv[1]), *map(int, sys.argv[2:5]), json.loads(sys.argv[5])
    (folder / f"aside-{rank}").write_text(str(os.getpid()))
    (folder / f"aside-{rank}").rename(folder / f"pid-{rank}")
    while len(list(folder.glob("pid-*"))) < world:
        time.sleep(0.01)
    own = watch.Watch(rank, world)
    own.join(lambda value: broadcast(folder, value), f"host{rank}", "localhost")
    own.heed(folder / "stop", grace_s=2, timeout_s=fault.get("timeout_s", 60))
    step = 0
    try:
        while step < steps and own.begin(step + 1):
            step += 1
            own.mark("computing")
            if (step, rank) == (fault.get("step"), fault.get("rank")):
                FAULTS[fault["fault"]]()
            meet(folder, rank, world, step)
            time.sleep(0.01)
    except Exception as error:
        own.fail(error)
    own.close()
    meet(folder, rank, world, steps + 1)
    print(f"left after {step}")
    sys.exit(own.stop.code if own.stop and step < steps else 0)


if __name__ == "__main__":
    main()
