"""``drivetrain checkpoint``: inspect, verify, export."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from drivetrain.__main__ import main
from drivetrain.checkpoint import Checkpoint, checkpoint_path, whole_pieces
from drivetrain.saving import FragmentWriter, commit
from drivetrain.weights import initialise, read_weights


def model_of(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    return torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.BatchNorm1d(5))


def save(run: Path, step: int, averaged: bool = False) -> torch.nn.Module:
    model, folder = model_of(step), checkpoint_path(run / "checkpoints", step)
    writer = FragmentWriter(folder, 0)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.randn(4, 3)).square().mean().backward()
    optimizer.step()
    writer.add_pieces(whole_pieces(model), optimizer)
    writer.add_buffers(model)
    for name, values in model.named_parameters() if averaged else ():
        writer.add("ema", name, values.shape, 0, values.reshape(-1) / 2)
    writer.close()
    state = {"step": step, "tasks": ["semantic_segmentation"], "classes": {"semantic_segmentation": ["road", "car"]},
             "recipe": {"parallelism": {"plugin": "drivetrain:deepspeed", "zero_stage": 2}},
             "best": {"metric": "miou", "value": 0.5, "step": 2}, "loader": {"order_id": "abc", "step": step}}  # fmt: skip
    commit(folder, 1, state)
    return model


@pytest.fixture
def run(tmp_path) -> Path:
    folder = tmp_path / "runs" / "mine"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text('{"layout": 1}')
    for step in (2, 4):
        save(folder, step, averaged=step == 4)
    return folder


def test_inspect_tells_what_is_in_the_newest_or_another(run, capsys):
    assert main(["checkpoint", "inspect", str(run), "--json"]) == 0
    about = json.loads(capsys.readouterr().out)
    assert (about["step"], about["world"], about["stage"], about["parameters"]) == (4, 1, 2, 3 * 5 + 5 + 5 + 5)
    assert about["kinds"]["weight"] == about["kinds"]["ema"] == about["kinds"]["optimizer.exp_avg"]
    assert about["kinds"]["buffer"] == {"tensors": 3, "values": 11} and about["loader"] == {"order_id": "abc", "step": 4}
    assert about["bytes"] > 4 * 4 * about["parameters"]
    for words in (["--checkpoint", "best"], ["--checkpoint", "2"]):
        assert main(["checkpoint", "inspect", str(run), *words]) == 0
        said = capsys.readouterr().out
        assert "step        2\n" in said and "ZeRO stage 2" in said and "miou 0.5000 at step 2" in said and "road, car" in said


def test_verify_names_what_is_damaged_and_ends_with_2(run, capsys):
    assert main(["checkpoint", "verify", str(run)]) == 0
    assert capsys.readouterr().out.count("all as they were written") == 2
    older = run / "checkpoints" / "step-00000002"
    file = older / "rank-00000.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    (older / "state.json").unlink()
    for what in (run, older):
        assert main(["checkpoint", "verify", str(what)]) == 2
        said = capsys.readouterr().out
        assert "rank-00000.safetensors is damaged" in said and "state.json is missing" in said
    (older / "manifest.json").write_text("{}")
    assert main(["checkpoint", "verify", str(older)]) == 2
    assert "its manifest cannot be read" in capsys.readouterr().out


@pytest.mark.parametrize(("words", "averaged"), [([], True), (["--ema"], True), (["--raw"], False)])
def test_export_writes_plain_weights_that_load_anywhere(run, tmp_path, words, averaged):
    out = tmp_path / "out" / "weights.safetensors"
    assert main(["checkpoint", "export", str(run), str(out), *words]) == 0
    with safe_open(out, "pt") as file:
        said = {key: json.loads(value) for key, value in file.metadata().items()}
    assert said == {"step": 4, "weights": "ema" if averaged else "raw", "tasks": ["semantic_segmentation"],
                    "classes": {"semantic_segmentation": ["road", "car"]}}  # fmt: skip
    other = model_of(99)
    assert initialise(other, read_weights(str(out))).missing == []
    original = Checkpoint(checkpoint_path(run / "checkpoints", 4)).weights()
    parameters = {name for name, _ in other.named_parameters()}
    for name, value in other.state_dict().items():
        assert torch.equal(value, original[name] / 2 if averaged and name in parameters else original[name])


def test_wrong_words_are_answered_with_what_may_have_been_meant(run, tmp_path, capsys):
    out = tmp_path / "a.safetensors"
    out.write_bytes(b"mine")
    for words, *patterns in [
        (["inspect", run.parent / "mene"], "no such checkpoint or run", f"did you mean '{run}'"),
        (["verify", run / "checkpoints" / "step-00000003"], "did you mean", "step-00000002"),
        (["inspect", tmp_path], "neither a checkpoint nor a run"),
        (["inspect", run, "--checkpoint", "5"], "no checkpoint of step 5", "steps that are kept: 4, 2"),
        (["inspect", run, "--checkpoint", "newst"], "expected newest, best"),
        (["export", run, out], "there already"),
        (["export", run, tmp_path / "b.pth"], "b.safetensors"),
        (["export", run, tmp_path / "c.safetensors", "--raw", "--ema"], "exclude each other"),
        (["export", run, tmp_path / "c.safetensors", "--ema", "--checkpoint", "2"], "no averaged weights", "--raw"),
    ]:
        assert main(["checkpoint", *map(str, words)]) == 2
        said = capsys.readouterr().err
        assert all(pattern in said for pattern in patterns), said
    assert out.read_bytes() == b"mine" and len(list(tmp_path.iterdir())) == 2
