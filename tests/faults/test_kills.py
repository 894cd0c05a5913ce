"""kill -9 of a rank at random moments, resumed with other numbers of ranks, threads and workers: by what the ranks recorded,
each sample of an epoch was read exactly once. `make kills` does it 20 times."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from loader_toy import Toy, convert, loader, spec

KILLS = int(os.environ.get("DRIVETRAIN_KILLS", "3"))
SAMPLES, SLOTS, MICRO, STEPS = 1400, 4, 4, 100  # an epoch is 87.5 steps
PATIENCE = 120  # seconds in which an attempt has opened the set, has come to where it is killed, or has ended


def rank_process(folder: Path, attempt: int, rank: int, world: int, step: int, threads: int, workers: int) -> None:
    """What a rank does: go on from the saved state, and record the keys of each micro-batch before the next one."""
    stream = loader(window=3, workers=workers).training(
        spec(folder / "set"), batch_global=SLOTS * MICRO, batch_micro=MICRO, rank=rank, world=world, threads=threads, pin=False
    )
    if (folder / "state.json").exists():
        assert stream.resume(json.loads((folder / "state.json").read_text())) == []
    records = os.open(folder / f"{attempt}-{rank}.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    while not (folder / f"{attempt}.go").exists():  # as in training, no rank is far ahead of the others
        time.sleep(0.005)
    for batch in stream.batches(step):
        if batch.step == STEPS:
            break
        record = {"step": batch.step, "slot": batch.slot, "positions": batch.positions.tolist(), "keys": batch.keys}
        os.write(records, (json.dumps(record) + "\n").encode())
        batch.release()
        time.sleep(0.01)
    stream.close()


def read(path: Path) -> list[dict]:
    """Whole lines: a kill may leave half of one."""
    text = path.read_text() if path.exists() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def run_attempt(folder: Path, attempt: int, step: int, target: int | None) -> list[dict]:
    """The records of some ranks that start at ``step``; one of them is killed soon after it recorded step ``target``, and the
    others after it. None: all go on to the end."""
    world, threads, workers = random.choice([1, 2, 4]), random.choice([0, 1, 3]), random.choice([0, 0, 1])
    words = [[folder, attempt, rank, world, step, threads, workers] for rank in range(world)]
    paths = [folder / f"{attempt}-{rank}.jsonl" for rank in range(world)]
    ranks = [subprocess.Popen([sys.executable, __file__, *map(str, w)]) for w in words]
    try:
        await_(lambda: all(path.exists() for path in paths), ranks)
        (folder / f"{attempt}.go").touch()
        if target is None:
            assert [rank.wait(PATIENCE) for rank in ranks] == [0] * world
        else:
            victim = random.randrange(world)
            await_(lambda: any(record["step"] >= target for record in read(paths[victim])), ranks[victim : victim + 1])
            time.sleep(random.uniform(0, 0.02))
            ranks[victim].kill()
            assert ranks[victim].wait() == -signal.SIGKILL, "it had ended before"
            time.sleep(random.uniform(0, 0.05))
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
    return [record for path in paths for record in read(path)]


def await_(is_so: Callable[[], bool], ranks: list[subprocess.Popen]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline and all(rank.poll() is None for rank in ranks)
        time.sleep(0.005)


def whole_steps(records: list[dict], step: int) -> int:
    """The step up to which every slot was recorded: where a checkpoint can have been."""
    done = {(record["step"], record["slot"]) for record in records}
    while all((step, slot) in done for slot in range(SLOTS)):
        step += 1
    return step


def test_killed_ranks_lose_and_double_nothing(tmp_path):
    random.seed(KILLS)
    convert(Toy(SAMPLES), tmp_path / "set", samples_per_shard=10)
    stream = loader(window=3).training(
        spec(tmp_path / "set"), batch_global=SLOTS * MICRO, batch_micro=MICRO, rank=0, world=1, threads=0, pin=False
    )
    kept: list[dict] = []
    step = superseded = 0
    moments = []
    for attempt, target in enumerate([*sorted(random.sample(range(80), KILLS)), None]):
        found = run_attempt(tmp_path, attempt, step, target)
        resumed = reached = whole_steps(found, step)
        if target is not None:
            moments.append(reached)
            resumed = max(step, reached - random.randrange(3))  # the checkpoint may be older
        kept += [record for record in found if record["step"] < resumed]
        superseded += sum(record["step"] >= resumed for record in found)
        step = resumed
        (tmp_path / "state.json").write_text(json.dumps(stream.state(step)))
    stream.close()
    assert step == STEPS and max(moments) * SLOTS * MICRO < SAMPLES, "all killed within the epoch"
    drawn = sorted(
        (position, key) for record in kept for position, key in zip(record["positions"], record["keys"], strict=True)
    )
    assert [position for position, _ in drawn] == list(range(STEPS * SLOTS * MICRO)), "each position once"
    assert len({key for _, key in drawn[:SAMPLES]}) == SAMPLES, "each sample of the epoch once"
    print(f"{KILLS} kills, at steps {moments}, {superseded} micro-batches superseded, {len(drawn)} samples read once")


if __name__ == "__main__":
    rank_process(Path(sys.argv[1]), *map(int, sys.argv[2:]))
