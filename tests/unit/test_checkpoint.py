"""Checkpoints: whole or not there, by name, joined from whatever fragments were written."""

from __future__ import annotations

import json
import threading
import time
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from drivetrain import checkpoint
from drivetrain.checkpoint import (
    Checkpoint,
    Piece,
    all_checkpoints,
    checkpoint_path,
    newest_checkpoint,
    whole_pieces,
)
from drivetrain.errors import CheckpointError, OutageError
from drivetrain.saving import FragmentWriter, commit, retire
from drivetrain.weights import restore


def model_and_optimizer(seed: int = 0):
    torch.manual_seed(seed)
    model = torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    return model, optimizer


def train_steps(model, optimizer, count: int, seed: int = 1) -> list[float]:
    generator = torch.Generator().manual_seed(seed)
    losses = []
    for _ in range(count):
        loss = model(torch.randn(4, 3, generator=generator)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def save(folder, model, optimizer, step=7, world=2):
    for rank in range(world):
        writer = FragmentWriter(folder, rank)
        writer.add_pieces(whole_pieces(model, rank, world), optimizer)
        if rank == 0:
            writer.add_buffers(model)
        writer.close()
    commit(folder, world, {"step": step})
    return folder


def test_training_goes_on_bitwise_from_a_checkpoint(tmp_path):
    model, optimizer = model_and_optimizer()
    train_steps(model, optimizer, 3)
    path = save(tmp_path / "step-00000003", model, optimizer)
    expected = train_steps(model, optimizer, 4, seed=2)

    other, its_optimizer = model_and_optimizer(seed=99)
    checkpoint = Checkpoint(path)
    restore(other, checkpoint)
    checkpoint.load_pieces(whole_pieces(other), its_optimizer)
    assert train_steps(other, its_optimizer, 4, seed=2) == expected


@settings(max_examples=60)
@given(st.lists(st.integers(0, 40), min_size=0, max_size=5), st.integers(0, 40), st.integers(0, 40))
def test_any_stretch_is_joined_from_any_cut(tmp_path_factory, cuts, first, second):
    folder = tmp_path_factory.mktemp("c") / "step-00000001"
    values = torch.arange(40.0)
    borders = sorted({0, 40, *cuts})
    for rank, (lo, hi) in enumerate(pairwise(borders)):
        writer = FragmentWriter(folder, rank)
        writer.add("weight", "w", (5, 8), lo, values[lo:hi])
        writer.close()
    commit(folder, len(borders) - 1, {"step": 1})
    lo, hi = sorted((first, second))
    if lo < hi:
        assert torch.equal(Checkpoint(folder).fragment("weight", "w", lo, hi - lo), values[lo:hi])
    assert torch.equal(Checkpoint(folder).tensor("weight", "w"), values.view(5, 8))


def test_a_piece_of_a_flat_partition_is_saved_and_loaded(tmp_path):
    flat = torch.nn.Parameter(torch.arange(10.0))
    optimizer = torch.optim.AdamW([flat], lr=0.1)
    flat.grad = torch.ones(10)
    optimizer.step()
    pieces = [Piece("a", (2, 3), 2, 4, flat, 0), Piece("b", (9,), 0, 6, flat, 4)]
    writer = FragmentWriter(tmp_path / "step-00000001", 0)
    writer.add_pieces(pieces, optimizer)
    writer.close()
    commit(tmp_path / "step-00000001", 1, {"step": 1})
    fresh = torch.nn.Parameter(torch.zeros(10))
    other = torch.optim.AdamW([fresh], lr=0.1)
    pieces = [Piece("a", (2, 3), 2, 4, fresh, 0), Piece("b", (9,), 0, 6, fresh, 4)]
    Checkpoint(tmp_path / "step-00000001").load_pieces(pieces, other)
    assert torch.equal(fresh, flat)
    assert torch.equal(other.state[fresh]["exp_avg"], optimizer.state[flat]["exp_avg"])
    assert float(other.state[fresh]["step"]) == 1.0


def test_nothing_counts_before_the_manifest_and_the_newest_whole_one_wins(tmp_path):
    model, optimizer = model_and_optimizer()
    save(checkpoint_path(tmp_path, 5), model, optimizer, 5)
    save(checkpoint_path(tmp_path, 10), model, optimizer, 10)
    save(checkpoint_path(tmp_path, 15), model, optimizer, 15)
    (checkpoint_path(tmp_path, 15) / "manifest.json").unlink()
    file = checkpoint_path(tmp_path, 10) / "rank-00001.safetensors"
    damaged = bytearray(file.read_bytes())
    damaged[-3] ^= 1
    file.write_bytes(damaged)
    told: list[str] = []
    found = newest_checkpoint(tmp_path, told.append)
    assert found is not None and found.step == 5
    assert "no manifest.json" in told[0] and "rank-00001.safetensors is damaged" in told[1]


@pytest.mark.parametrize("of", ["read_manifest", "hash_file"])
def test_where_a_run_retires_it_as_it_is_opened_the_newer_one_is_taken(tmp_path, monkeypatch, of):
    model, optimizer = model_and_optimizer()
    save(checkpoint_path(tmp_path, 5), model, optimizer, 5)
    read = getattr(checkpoint, of)

    def meanwhile(path):
        if checkpoint_path(tmp_path, 5).exists():
            save(checkpoint_path(tmp_path, 10), model, optimizer, 10)
            retire(tmp_path, keep=1, best=None)
        return read(path)

    monkeypatch.setattr(checkpoint, of, meanwhile)
    found = newest_checkpoint(tmp_path, pytest.fail)
    assert found is not None and found.step == 10


@pytest.mark.parametrize("file", ["rank-00000.json", "state.json", "rank-00001.safetensors"])
def test_every_file_is_checked(tmp_path, file):
    model, optimizer = model_and_optimizer()
    path = save(checkpoint_path(tmp_path, 5), model, optimizer)
    (path / file).write_bytes((path / file).read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=file):
        Checkpoint(path)
    (path / file).unlink()
    with pytest.raises(CheckpointError, match=f"{file} is missing"):
        Checkpoint(path)


def test_a_rank_that_never_writes_is_named_within_the_deadline(tmp_path):
    folder = tmp_path / "step-00000001"
    FragmentWriter(folder, 0).close()
    began = time.monotonic()
    with pytest.raises(OutageError, match=r"ranks \[1, 2\] have not written"):
        commit(folder, 3, {"step": 1}, deadline_s=0.2)
    assert time.monotonic() - began < 5 and not (folder / "manifest.json").exists()


def test_commit_waits_for_a_slow_rank(tmp_path):
    folder = tmp_path / "step-00000001"
    FragmentWriter(folder, 0).close()
    slow = threading.Timer(0.3, FragmentWriter(folder, 1).close)
    slow.start()
    commit(folder, 2, {"step": 1}, deadline_s=20)
    slow.join()
    assert Checkpoint(folder).manifest["world"] == 2


def test_retention_keeps_the_newest_and_the_best_and_leaves_strangers_alone(tmp_path):
    model, optimizer = model_and_optimizer()
    for step in range(1, 7):
        save(checkpoint_path(tmp_path, step), model, optimizer, step, world=1)
    (tmp_path / "step-00000099").mkdir()
    retire(tmp_path, keep=2, best=3)
    assert [p.name for p in all_checkpoints(tmp_path)] == [f"step-{n:08d}" for n in (99, 6, 5, 3)]


def test_another_model_is_refused_with_what_differs(tmp_path):
    model, optimizer = model_and_optimizer()
    path = save(checkpoint_path(tmp_path, 1), model, optimizer)
    other = torch.nn.Sequential(torch.nn.Linear(3, 6), torch.nn.BatchNorm1d(6))
    with pytest.raises(CheckpointError) as caught:
        restore(other, Checkpoint(path))
    assert "0.weight: [5, 3] saved, [6, 3] here" in str(caught.value) and "2.bias: not in the model" in str(caught.value)


def test_what_is_saved_is_fp32_safetensors_and_json(tmp_path):
    model, optimizer = model_and_optimizer()
    train_steps(model, optimizer, 1)
    path = save(checkpoint_path(tmp_path, 1), model, optimizer)
    assert {p.suffix for p in path.iterdir()} == {".safetensors", ".json", ".done"}
    assert json.loads((path / "manifest.json").read_text())["step"] == 7
    weights = Checkpoint(path).weights()
    assert set(weights) == set(model.state_dict())
    assert all(torch.equal(weights[n], t) for n, t in model.state_dict().items())
