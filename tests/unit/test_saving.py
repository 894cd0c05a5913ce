"""Saving behind the training: what is taken over, when it counts, and what is told when it cannot be written."""

from __future__ import annotations

import errno
import os
import resource
from contextlib import contextmanager
from threading import Timer

import pytest
import torch

from drivetrain import saving
from drivetrain.checkpoint import Checkpoint, all_checkpoints, checkpoint_path, newest_checkpoint
from drivetrain.comm import Comm
from drivetrain.errors import CheckpointError, DiskFullError, OutageError
from drivetrain.recipe_schema import CheckpointSection
from drivetrain.saving import Saver


class OneProcess(Comm):
    """Ranks that live in one process: all that a saver asks of the others is the token."""

    def broadcast(self, value):
        return "0123abcd"


class Ranks:
    """Savers of two ranks, each of which owns half of one tensor, and what they said and announced."""

    def __init__(self, folder, **settings):
        self.folder, self.values = folder, torch.arange(200_000.0)
        self.said: list[str] = []
        self.announced: list[int] = []
        section = CheckpointSection.model_validate(settings)
        comms = [OneProcess(rank, 2, rank, 2, torch.device("cpu"), 1) for rank in range(2)]
        self.savers = [Saver(folder, comm, section, self._announce, self.said.append) for comm in comms]

    def _announce(self, path, step):
        assert path == checkpoint_path(self.folder, step) and (path / "manifest.json").is_file()
        self.announced.append(step)

    def begin(self, rank, step, best=None):
        half = len(self.values) // 2
        self.savers[rank].begin(
            step,
            lambda writer: writer.add("weight", "w", self.values.shape, rank * half, self.values[rank * half :][:half]),
            {"step": step, "best": best and {"step": best}},
        )

    def save(self, step, best=None):
        for rank in (1, 0):
            self.begin(rank, step, best)


@contextmanager
def largest_file(size: int):
    """No file may grow beyond ``size`` bytes: a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_values_are_those_of_the_step_and_count_once_every_rank_is_done(tmp_path):
    ranks = Ranks(tmp_path)
    expected = ranks.values.clone()
    ranks.begin(0, 5)
    ranks.values[:100_000] += 1  # the next step
    ranks.savers[0].poll()
    assert ranks.announced == [] and all_checkpoints(tmp_path) == [], "rank 1 has not begun"
    ranks.begin(1, 5)
    ranks.values[100_000:] += 1
    ranks.savers[1].wait()
    ranks.savers[0].wait()
    assert ranks.announced == [5]
    assert torch.equal(Checkpoint(checkpoint_path(tmp_path, 5)).tensor("weight", "w"), expected)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000005"]


def test_host_memory_is_used_again(tmp_path):
    ranks = Ranks(tmp_path)
    places = []
    for step in (1, 2, 3):
        ranks.save(step)
        places.append([saver._memory._bytes.data_ptr() for saver in ranks.savers])
    ranks.savers[0].wait()
    assert places[0] == places[1] == places[2]
    assert ranks.announced == [1, 2, 3]


def test_without_asynchronous_a_save_is_whole_when_it_returns(tmp_path):
    ranks = Ranks(tmp_path, asynchronous=False)
    ranks.save(1)
    assert ranks.announced == [1] and ranks.said == []


def test_a_save_waits_for_the_one_before_and_says_so_once(tmp_path):
    ranks = Ranks(tmp_path)
    ranks.begin(0, 1)
    for step in (1, 2):
        late = Timer(0.2, ranks.begin, (1, step))
        late.start()
        ranks.begin(0, step + 1)
        late.join()
    ranks.begin(1, 3)
    ranks.savers[0].finish(None)
    assert ranks.announced == [1, 2, 3]
    [said] = ranks.said
    assert "step 2: the checkpoint of step 1 is still being written" in said


@pytest.mark.parametrize("full", [0, 1])
def test_a_full_disk_is_named_and_the_newest_checkpoint_stays(tmp_path, full):
    ranks = Ranks(tmp_path)
    ranks.save(1)
    for saver in ranks.savers:
        saver.wait()
    with largest_file(100_000):
        ranks.begin(full, 2)
        while not ranks.savers[full]._running[1].done():
            pass
        with pytest.raises(DiskFullError) as caught:
            ranks.savers[full].poll()
    assert "step 2 could not be written" in str(caught.value) and "File too large" in str(caught.value)
    assert f"the newest whole one is {checkpoint_path(tmp_path, 1)}" in str(caught.value)
    assert newest_checkpoint(tmp_path, pytest.fail).step == 1
    assert [p.name for p in tmp_path.glob("**/*") if p.name.startswith(".rank")] == [], "nothing half-written takes up room"
    ranks.savers[full].finish(caught.value)
    assert ranks.announced == [1]


def test_a_disk_that_fails_is_a_crash_which_another_try_may_find_mended(tmp_path, monkeypatch):
    def lost(*_):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))

    ranks = Ranks(tmp_path)
    monkeypatch.setattr(saving, "write_hashed", lost)
    ranks.begin(0, 1)
    with pytest.raises(OutageError, match=r"step 1 could not be written: .*Stale") as caught:
        ranks.savers[0].wait()
    assert caught.value.code == 1


def test_after_an_error_a_rank_that_is_gone_is_not_waited_for_long(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "_GRACE_S", 0.2)
    ranks = Ranks(tmp_path)
    ranks.begin(0, 1)
    ranks.savers[0].finish(RuntimeError("rank 1 is gone"))
    assert ranks.announced == [] and all_checkpoints(tmp_path) == []
    assert "the last checkpoint does not count" in ranks.said[0]


def test_retention_follows_the_commit_and_keeps_the_best(tmp_path):
    ranks = Ranks(tmp_path, keep=2)
    for step, best in ((1, None), (2, 2), (3, 2), (4, 2), (5, 2)):
        ranks.save(step, best)
    ranks.savers[0].wait()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["step-00000002", "step-00000004", "step-00000005"]


def test_what_a_killed_save_left_goes_and_a_damaged_one_is_written_anew(tmp_path):
    ranks = Ranks(tmp_path)
    ranks.save(1)
    ranks.savers[0].wait()
    ranks.begin(0, 2)  # and is killed before rank 1 has begun
    file = checkpoint_path(tmp_path, 1) / "rank-00001.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    told: list[str] = []
    assert newest_checkpoint(tmp_path, told.append) is None and len(told) == 1
    while not list(tmp_path.glob(".step-*/rank-00000.done")):
        pass
    again = Ranks(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    again.save(1)
    again.savers[0].wait()
    assert newest_checkpoint(tmp_path, pytest.fail).step == 1
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_state_that_is_no_element_of_the_weights_is_refused(tmp_path):
    from drivetrain.checkpoint import whole_pieces

    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    optimizer.state[model.weight]["row"] = torch.zeros(2)
    with pytest.raises(CheckpointError, match="'row' of 'weight' has shape"):
        saving.FragmentWriter(tmp_path, 0).add_pieces(whole_pieces(model), optimizer)
