"""How long a step is held up by a save: asynchronous against synchronous, in the same run, interleaved.

Two ranks under the ``deepspeed`` launcher, ZeRO-1, AdamW, a model of 30 M parameters whose forward pass costs little. Prints
JSON lines; medians over ROUNDS saves of each kind, of the slowest rank's times:

``async_save_stall_vs_sync``   time in which an asynchronous save keeps the loop (the copy to host memory, and the announcing
                               at a later step) / the same of a synchronous one (which also writes, hashes and syncs)
``async_block_cost_vs_sync``   the same of whole blocks of a save and the STEPS steps after it, less a block without a save:
                               what writing behind the steps takes from them is in it
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS, STEPS = 12, 4
LAYERS, WIDTH = 30, 1000  # 30 M parameters, 3.6e8 bytes with Adam's state


def rank_main(folder: Path) -> None:
    from drivetrain.comm import Comm
    from drivetrain.recipe_schema import CheckpointSection
    from drivetrain.saving import Saver

    comm = Comm.start()
    engine = build_engine(comm)
    savers = {
        kind: Saver(folder / kind, comm, CheckpointSection.model_validate({"asynchronous": kind == "async", "keep": 1}),
                    lambda path, step: None, print)
        for kind in ("sync", "async")
    }  # fmt: skip
    held: dict[str, list[float]] = {"sync": [], "async": []}
    blocks: dict[str, list[float]] = {"none": [], "sync": [], "async": []}
    for number in range(1, ROUNDS + 2):
        for kind in blocks:
            stall, seconds = run_block(engine, comm, savers.get(kind), number)
            if number > 1:  # the first one allocates
                blocks[kind].append(seconds)
                held.get(kind, []).append(stall)
    if comm.is_main:
        files = sum(path.stat().st_size for path in (folder / "async").glob("step-*/*"))
        report(held, blocks, files)
    comm.close()


def run_block(engine, comm, saver, number: int) -> tuple[float, float]:
    """Seconds that the save held up the loop, and that the block took: of the slowest rank."""
    comm.barrier()
    began = time.monotonic()
    stall = 0.0
    if saver is not None:
        saver.begin(number, engine.save, {"step": number})
        stall = time.monotonic() - began
    for _ in range(STEPS):
        at = time.monotonic()
        if saver is not None:
            saver.poll()
        stall += time.monotonic() - at
        engine.step([Numbers()])
    seconds = time.monotonic() - began
    if saver is not None:
        saver.wait()  # not timed: the next block is another's
    return max(comm.all_gather(stall)), max(comm.all_gather(seconds))


def report(held: dict[str, list[float]], blocks: dict[str, list[float]], files: int) -> None:
    median = {kind: statistics.median(values) for kind, values in held.items()}
    block = {kind: statistics.median(values) for kind, values in blocks.items()}
    cost = {kind: block[kind] - block["none"] for kind in held}
    for figure, value, unit in (
        ("checkpoint_size", files / 1e6, "MB"), ("step", block["none"] / STEPS, "s"),
        ("sync_save_stall", median["sync"], "s"), ("async_save_stall", median["async"], "s"),
        ("async_save_stall_vs_sync", median["async"] / median["sync"], "ratio"),
        ("sync_block_cost", cost["sync"], "s"), ("async_block_cost", cost["async"], "s"),
        ("async_block_cost_vs_sync", cost["async"] / cost["sync"], "ratio"),
    ):  # fmt: skip
        print(json.dumps({"figure": figure, "value": round(value, 4), "unit": unit, "saves": ROUNDS}), flush=True)


class Numbers:
    def __init__(self):
        import torch

        self.values = torch.ones(1, WIDTH)

    def to(self, device):
        return self

    def release(self) -> None:
        pass


def build_engine(comm):
    import torch

    from drivetrain import EngineContext, Model
    from drivetrain.manager import get_manager

    class Deep(Model):
        def __init__(self):
            super().__init__()
            self.layers = torch.nn.Sequential(*[torch.nn.Linear(WIDTH, WIDTH) for _ in range(LAYERS)])

        def losses(self, batch):
            return {"squares": (self.layers(batch.values).square().sum(), torch.tensor(1.0))}

    found = get_manager().resolve("parallelism", "deepspeed")
    context = EngineContext(
        comm, Deep, lambda model: torch.optim.AdamW(model.parameters()), lambda step: 1.0, "fp32", 1, 1, None
    )
    return found.load_factory()(found.load_config()(zero_stage=1), context)


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="drivetrain-saving-", dir=os.environ.get("DRIVETRAIN_BENCH_DIR")) as folder:
        binaries = Path(sys.executable).parent
        words = [binaries / "deepspeed", "--num_accelerators", "2", "--no_local_rank", __file__, folder]
        environment = {"DRIVETRAIN_THREADS": "1", **os.environ, "PATH": f"{binaries}:{os.environ['PATH']}"}
        done = subprocess.run(list(map(str, words)), stdout=subprocess.PIPE, text=True, env=environment)
        print("\n".join(line for line in done.stdout.splitlines() if line.startswith('{"figure"')))
        sys.exit(done.returncode)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        rank_main(Path(sys.argv[1]))
    else:
        main()
