"""Megatron-Energon prepares and reads our shard sets unchanged. Run by `make peers`, where the package is installed."""

import subprocess
import sys
from pathlib import Path

import pytest

from drivetrain import encode_key, frame_to_parts

energon = pytest.importorskip("megatron.energon", reason="megatron-energon is not installed")

sys.path.append(str(Path(__file__).parents[1] / "unit"))
from loader_toy import Toy, convert  # noqa: E402


def test_energon_prepares_and_reads_a_shard_set(tmp_path):
    toy, out = Toy(12), tmp_path / "set"
    convert(toy, out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    command = [Path(sys.executable).parent / "energon", "prepare", out, "--non-interactive", "--split-ratio", "1,0,0",
               "--sample-type", "CrudeWebdataset", "--num-workers", "1"]  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    after = {path.name: path.read_bytes() for path in out.iterdir() if path.is_file()}
    assert {name: after[name] for name in before} == before
    read = {sample["__key__"].rpartition("/")[2]: sample for sample in samples(out)}
    assert set(read) == {encode_key(toy.load(number).key) for number in range(12)}
    for number in range(12):
        frame = toy.load(number)
        sample = read[encode_key(frame.key)]
        for suffix, content in frame_to_parts(frame).items():
            assert sample[suffix] == content, suffix


def samples(out: Path) -> list[dict]:
    """Every sample, as Energon hands it to a cooker."""
    seen: list[dict] = []

    @energon.stateless
    def cook(sample: dict) -> energon.TextSample:
        seen.append(dict(sample))
        return energon.TextSample(**energon.basic_sample_keys(sample), text=sample["__key__"])

    class Raw(energon.DefaultTaskEncoder):
        decoder = None
        cookers = [energon.Cooker(cook)]

    workers = energon.WorkerConfig(rank=0, world_size=1, num_workers=0)
    dataset = energon.get_train_dataset(
        out, worker_config=workers, batch_size=None, shuffle_buffer_size=None, max_samples_per_sequence=None,
        task_encoder=Raw(), repeat=False,
    )  # fmt: skip
    assert len(list(energon.get_loader(dataset))) == len(seen)
    return seen
