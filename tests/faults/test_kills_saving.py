"""kill -9 of ranks at random moments, in the middle of saves and between them, resumed with another number of ranks: every
checkpoint that has its name is whole and holds the values of its step, and none that was announced is lost.
`make kills` does it 100 times."""

from __future__ import annotations

import multiprocessing
import os
import random
import time
from pathlib import Path

import torch
from faults.saving_ranks import EVERY, do_step, model_and_optimizer, rank_process

from drivetrain.checkpoint import Checkpoint, all_checkpoints, newest_checkpoint

KILLS = int(os.environ.get("DRIVETRAIN_KILLS", "6"))
PATIENCE = 120
FOREVER = 10**6


def lines(path: Path) -> list[str]:
    text = path.read_text() if path.exists() else ""
    return [line.strip() for line in text.splitlines(keepends=True) if line.endswith("\n")]


def is_saving(folder: Path) -> bool:
    return any(folder.glob("checkpoints/.step-*"))


def await_(is_so, what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.0005)


class Reference:
    """Weights after any step, by doing the steps."""

    def __init__(self):
        self.model, self.optimizer = model_and_optimizer()
        self.step = 0

    def check(self, checkpoint: Checkpoint) -> None:
        """Steps never go back: the newest checkpoint is never older than one before."""
        while self.step < checkpoint.step:
            self.step += 1
            do_step(self.model, self.optimizer, self.step)
        assert self.step == checkpoint.step, "a checkpoint was lost"
        for name, parameter in self.model.named_parameters():
            assert torch.equal(checkpoint.tensor("weight", name), parameter)
            for kind in ("exp_avg", "exp_avg_sq"):
                assert torch.equal(checkpoint.tensor(f"optimizer.{kind}", name), self.optimizer.state[parameter][kind])


def start_ranks(context, folder: Path, attempt: int, world: int, steps: int) -> list:
    ranks = [context.Process(target=rank_process, args=(folder, attempt, r, world, steps), daemon=True) for r in range(world)]
    for rank in ranks:
        rank.start()
    return ranks


def kill_some_time(folder: Path, attempt: int, ranks: list) -> bool:
    """Kill one rank, and the others a moment later, as a launcher does. Returns whether a save was cut short by it; every
    fourth time all are killed as soon as one begins, since on a quick disk a moment later it has ended."""
    at_once = attempt % 4 == 1
    await_(lambda: len(lines(folder / f"started-{attempt}")) == len(ranks), "ranks do not start")
    wanted = len(lines(folder / "announced")) + random.randrange(3)
    await_(lambda: len(lines(folder / "announced")) >= wanted, "nothing is saved")
    if attempt % 2:
        await_(lambda: is_saving(folder), "no save begins")
        time.sleep(0 if at_once else random.choice([0, random.uniform(0, 0.02)]))
    else:
        time.sleep(random.uniform(0, 0.3))
        await_(lambda: not is_saving(folder), "saves do not end")
    ranks[random.randrange(len(ranks))].kill()
    time.sleep(0 if at_once else random.choice([0, random.uniform(0, 0.1)]))
    for rank in ranks:
        rank.kill()
    for rank in ranks:
        rank.join(PATIENCE)
    return is_saving(folder)


def test_killed_ranks_leave_no_checkpoint_that_fails_and_lose_none_that_was_announced(tmp_path):
    random.seed(KILLS)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "drivetrain.saving"])  # what takes a rank most of its start
    reference, during = Reference(), 0
    for attempt in range(KILLS):
        during += kill_some_time(
            tmp_path, attempt, start_ranks(context, tmp_path, attempt, random.choice([1, 2, 2, 3]), FOREVER)
        )
        found = newest_checkpoint(tmp_path / "checkpoints", lambda line: None)
        announced = max(map(int, lines(tmp_path / "announced")), default=0)
        assert announced <= (found.step if found else 0)
        if found:
            reference.check(found)
        assert all(Checkpoint(path).step for path in all_checkpoints(tmp_path / "checkpoints"))
    last = (reference.step // EVERY + 2) * EVERY
    ranks = start_ranks(context, tmp_path, KILLS, 2, last)
    for rank in ranks:
        rank.join(PATIENCE)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    found = newest_checkpoint(tmp_path / "checkpoints", lambda line: None)
    assert found is not None and found.step == last
    reference.check(found)
    assert lines(tmp_path / "passed-over") == []
    assert not is_saving(tmp_path), "what killed saves left is gone"
    assert during > 0
    print(
        f"{KILLS} kills, {during} of them in the middle of a save; {len(lines(tmp_path / 'announced'))} checkpoints announced"
    )
