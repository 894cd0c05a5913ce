"""Weights from elsewhere: read without executing anything, loaded where they fit, told what was not."""

from __future__ import annotations

import pickle

import pytest
import torch

from drivetrain.checkpoint import whole_pieces
from drivetrain.errors import CheckpointError
from drivetrain.saving import FragmentWriter, commit
from drivetrain.weights import import_weights, initialise, read_weights


class Wrapped(torch.nn.Module):
    """A model that holds its network as ours do."""

    def __init__(self, classes: int = 2):
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, classes))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("DRIVETRAIN_WEIGHTS", str(tmp_path / "weights"))


def plain(classes: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(5)
    return Wrapped(classes).net.state_dict()


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}, lambda s: {"model": s}])
def test_a_plain_state_dict_is_imported_and_found_by_name(tmp_path, wrap):
    torch.save(wrap(plain()), tmp_path / "theirs.v1.pth")
    assert import_weights(tmp_path / "theirs.v1.pth", "theirs").name == "theirs.safetensors"
    model = Wrapped()
    done = initialise(model, read_weights("theirs"))
    assert not done.missing and not done.mismatched and len(done.loaded) == len(plain())
    assert torch.equal(model.net[0].weight, plain()["0.weight"])


def test_a_prefix_of_data_parallel_training_does_no_harm(tmp_path):
    torch.save({f"module.{k}": v for k, v in plain().items()}, tmp_path / "a.pth")
    model = torch.nn.Sequential(*Wrapped().net)
    assert not initialise(model, read_weights(str(tmp_path / "a.pth"))).missing


def test_what_does_not_fit_is_told_and_left(tmp_path):
    model = Wrapped(classes=7)
    before = model.net[2].weight.clone()
    done = initialise(model, plain(), exclude=["running_"], rename={"0.": "net.0."})
    assert done.mismatched == ["net.2.weight [2, 4] for [7, 4]", "net.2.bias [2] for [7]"]
    assert done.skipped == ["1.running_mean", "1.running_var"]
    assert torch.equal(model.net[2].weight, before) and "2 mismatched" in str(done)
    assert initialise(model, plain(), include=["^0"]).loaded == ["net.0.weight", "net.0.bias"]


def test_nothing_that_fits_is_an_error():
    with pytest.raises(CheckpointError, match="nothing fits"):
        initialise(Wrapped(), {"encoder.weight": torch.zeros(1)})


def test_a_checkpoint_is_weights_too(tmp_path):
    source = Wrapped()
    writer = FragmentWriter(tmp_path / "step-00000001", 0)
    writer.add_pieces(whole_pieces(source), torch.optim.SGD(source.parameters(), 0.1))
    writer.add_buffers(source)
    writer.close()
    commit(tmp_path / "step-00000001", 1, {"step": 1})
    model = Wrapped()
    assert not initialise(model, read_weights(str(tmp_path / "step-00000001"))).missing
    assert torch.equal(model.net[2].weight, source.net[2].weight)


def test_code_in_a_file_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    (tmp_path / "evil.pth").write_bytes(pickle.dumps({"state_dict": Evil()}))
    with pytest.raises(CheckpointError):
        import_weights(tmp_path / "evil.pth")
    torch.save({"state_dict": Evil()}, tmp_path / "evil2.pth")
    with pytest.raises(CheckpointError, match="is not executed"):
        import_weights(tmp_path / "evil2.pth")
    assert not (tmp_path / "executed").exists()


def test_a_name_that_is_not_there_lists_near_ones(tmp_path):
    torch.save(plain(), tmp_path / "resnet.pth")
    import_weights(tmp_path / "resnet.pth")
    with pytest.raises(CheckpointError) as caught:
        read_weights("resnot")
    assert "did you mean 'resnet'" in str(caught.value) and "drivetrain weights import" in str(caught.value)
