"""Draws batches from shard sets, named on standard input, and answers each with a line of JSON: in a process of its own.

``said``: the error for the user, or null; ``crash``: the traceback of anything else, or null; ``replaced`` samples, and
``missing`` ones in evaluation; ``seconds``; ``peak``: the most memory meanwhile, in MB. A set that takes too long ends the
process.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
from loader_toy import loader, spec

from drivetrain import UserError

_SECONDS = 30
BATCHES = 16  # of two frames


def draw(folder: Path) -> tuple[int, int]:
    """Some training batches and an evaluation of the front camera, and of the lidar where there is one."""
    lidars = ("lidar_top",) if "lidar" in folder.name else ()
    data = replace(spec(folder, cameras=("cam_front",)), lidars=lidars)
    made = loader(max_damaged_share=1, storage={"retry_s": 0.2})
    stream = made.training(data, batch_global=4, batch_micro=2, rank=0, world=1, threads=2, pin=False)
    stream.quarantine_path = Path("quarantine.jsonl")
    try:
        for _, batch in zip(range(BATCHES), stream.batches(0)):
            assert batch.camera.images.shape == (2, 24, 32, 3) and len(batch.keys) == 2
            batch.release()
        replaced = int(stream.counters()["replaced"])
    finally:
        stream.close()
    evaluation = made.evaluation(data, batch_micro=2, rank=0, world=1, threads=2, pin=False)
    try:
        for batch in evaluation:
            batch.release()
    finally:
        evaluation.close()
    return replaced, len(evaluation.missing)


def answer(folder: Path) -> dict[str, object]:
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that of this set
    began, said, crash, counts = time.monotonic(), None, None, (0, 0)
    try:
        counts = draw(folder)
    except UserError as error:
        said = str(error)
    except Exception:
        crash = traceback.format_exc()
    counted = dict(zip(("replaced", "missing"), counts))
    return {"said": said, "crash": crash, **counted, "seconds": time.monotonic() - began, "peak": peak()}


def peak() -> float:
    [line] = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) / 1024


if __name__ == "__main__":
    for line in sys.stdin:
        faulthandler.dump_traceback_later(_SECONDS, exit=True)
        print(json.dumps(answer(Path(line.rstrip("\n")))), flush=True)
        faulthandler.cancel_dump_traceback_later()
    os._exit(0)
